//! Any bytes are a record or a named error, and a record survives encoding.
//!
//! From the workspace's root, with `cargo install cargo-fuzz --locked` and after
//! `mkdir -p portwatch-common/fuzz/corpus/decode`, which cargo-fuzz does not make where a folder is named:
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir portwatch-common/fuzz decode portwatch-common/fuzz/corpus/decode \
//! portwatch-common/fuzz/seeds -- -max_len=400 -max_total_time=60`
#![no_main]

use libfuzzer_sys::fuzz_target;
use portwatch_common::{decode::decode, encode::encode};

fuzz_target!(|bytes: &[u8]| {
    match decode(bytes) {
        Ok(record) => assert_eq!(decode(&encode(&record)), Ok(record)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
