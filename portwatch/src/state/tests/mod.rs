mod account;
mod build;
mod table;
