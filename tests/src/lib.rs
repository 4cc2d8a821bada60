//! End-to-end tests of portwatch; see `e2e/`.
