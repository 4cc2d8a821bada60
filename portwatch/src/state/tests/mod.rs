mod build;
mod table;
