//! The answer of `probe`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{answer::Verdict, parts::SourceInfo};

/// Answer of `probe`: what the kernel said to real binds, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// When it was tried.
    pub time: Timestamp,
    /// Where the causes come from; null when nobody could be asked for them.
    pub source: Option<SourceInfo>,
    /// As asked.
    pub asked: String,
    /// The port.
    pub port: u16,
    /// tcp or udp.
    pub protocol: String,
    /// Every address could be bound without any option; null when none was there to be tried.
    pub bindable: Option<bool>,
    /// The same with SO_REUSEADDR, which most servers set; null on Windows, where it means to share a port with whoever
    /// has it and is not tried.
    pub with_reuse_addr: Option<bool>,
    /// What was tried.
    pub addresses: Vec<ProbedAddress>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbedAddress {
    /// The address, one of a link with its interface as it was asked (`fe80::1%eth0`).
    pub address: String,
    /// Without SO_REUSEADDR.
    pub plain: ProbedBind,
    /// With SO_REUSEADDR.
    pub reuse_addr: ProbedBind,
    /// What is known of the cause, as `who` says it.
    pub verdict: Option<Verdict>,
}

/// One bind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbedBind {
    /// It was bound; null when it was not tried: the machine has no such family (then there is an errno), or the option
    /// means something else here.
    pub bound: Option<bool>,
    /// errno, positive.
    pub errno: Option<i32>,
    /// Its name (`EADDRINUSE`).
    pub errno_name: Option<String>,
}
