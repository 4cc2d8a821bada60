//! The contract between portwatch's kernel programs and its user space: records and their one decoder.
//!
//! Everything here is built for both sides. The layout is asserted at compile time, so a record cannot
//! drift between the kernel object and the program that reads it.
#![no_std]
#![forbid(unsafe_code)]

pub mod record;
