//! The `portwatch` binary.

fn main() {}
