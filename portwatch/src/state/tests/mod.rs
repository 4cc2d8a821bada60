mod account;
mod build;
mod left;
mod table;
