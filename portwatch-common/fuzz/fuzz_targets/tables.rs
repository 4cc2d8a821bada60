//! Whatever lsof and netstat print and Windows' tables hold gives rows and a count of what was not understood, whatever netsh
//! prints gives ranges that are none the wrong way round, and whatever macOS and Windows say of a command line gives words.
//!
//! The parsers are the source's own files: to link all of portwatch, SQLite included, would take minutes.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../portwatch/src/source/excluded.rs"]
pub mod excluded;
#[path = "../../../portwatch/src/source/iphelper.rs"]
pub mod iphelper;
#[path = "../../../portwatch/src/source/lsof.rs"]
pub mod lsof;
#[path = "../../../portwatch/src/model/net.rs"]
pub mod net;
#[path = "../../../portwatch/src/source/netstat/mod.rs"]
pub mod netstat;
#[path = "../../../portwatch/src/source/process/procargs.rs"]
mod procargs;
#[path = "../../../portwatch/src/source/row.rs"]
pub mod row;
#[path = "../../../portwatch/src/source/process/words.rs"]
mod words;

/// What the files above know as `crate::model`.
pub mod model {
    pub use crate::net::Protocol;
}

fuzz_target!(|bytes: &[u8]| {
    for parse in [lsof::parse, netstat::linux::parse, netstat::macos::parse, netstat::windows::parse] {
        let parsed = parse(bytes);
        assert!(parsed.rows.iter().all(|row| row.port != 0));
    }
    for kind in iphelper::Kind::ALL {
        let parsed = iphelper::parse(kind, bytes);
        assert!(parsed.rows.iter().all(|row| row.port != 0));
    }
    if let Some(arguments) = procargs::arguments(bytes) {
        assert!(arguments.len() <= bytes.len());
    }
    let line = String::from_utf8_lossy(bytes);
    assert!(words::words(&line).iter().map(String::len).sum::<usize>() <= line.len());
    if let Some(excluded) = excluded::parse(bytes) {
        assert!(excluded.refused.iter().chain(&excluded.kept).all(|range| range.start() <= range.end()));
    }
});
