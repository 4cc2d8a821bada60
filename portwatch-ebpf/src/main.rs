//! portwatch's kernel programs.
#![no_std]
#![no_main]
