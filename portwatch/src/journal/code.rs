//! The numbers behind the words of the `word` table. A number is never reused.

use crate::model::{EventKind, Evidence, GapReason, Phase, Protocol, SignalOrigin};

/// Types from here on have an index of their own (`event_rare`).
pub(super) const FIRST_RARE: i64 = 4;

pub(super) const fn kind(kind: EventKind) -> i64 {
    match kind {
        EventKind::Bind => 1,
        EventKind::Listen => 2,
        EventKind::Close => 3,
        EventKind::Unlisten => 4,
        EventKind::Exit => 5,
        EventKind::Refused => 10,
        EventKind::Noise => 11,
        EventKind::Timewait => 12,
        EventKind::Claim => 13,
        EventKind::Release => 14,
        EventKind::Auto => 15,
        EventKind::Ghost => 16,
        EventKind::Rogue => 17,
        EventKind::Health => 18,
        EventKind::Lock => 19,
        EventKind::Unlock => 20,
        EventKind::Extend => 21,
        EventKind::Session => 22,
        EventKind::Note => 23,
        EventKind::Heartbeat => 24,
        EventKind::Gap => 25,
        EventKind::Start => 26,
        EventKind::Stop => 27,
        EventKind::Error => 28,
        EventKind::Conflict => 29,
        EventKind::Message => 30,
    }
}

pub(super) fn to_kind(code: i64) -> Option<EventKind> {
    EventKind::ALL.into_iter().find(|&k| kind(k) == code)
}

pub(super) const fn evidence(evidence: Evidence) -> i64 {
    match evidence {
        Evidence::Kernel => 1,
        Evidence::Scan => 2,
        Evidence::Inherited => 3,
        Evidence::Inferred => 4,
        Evidence::Ambiguous => 5,
        Evidence::Unknown => 6,
    }
}

pub(super) fn to_evidence(code: i64) -> Option<Evidence> {
    Evidence::ALL.into_iter().find(|&e| evidence(e) == code)
}

pub(super) const fn phase(phase: Phase) -> i64 {
    match phase {
        Phase::Bound => 1,
        Phase::Listening => 2,
    }
}

pub(super) fn to_phase(code: i64) -> Option<Phase> {
    [Phase::Bound, Phase::Listening].into_iter().find(|&p| phase(p) == code)
}

pub(super) const fn gap(reason: GapReason) -> i64 {
    match reason {
        GapReason::BufferFull => 1,
        GapReason::NotRunning => 2,
        GapReason::Paused => 3,
        GapReason::SourceChanged => 4,
        GapReason::NotWritten => 5,
    }
}

pub(super) fn to_gap(code: i64) -> Option<GapReason> {
    GapReason::ALL.into_iter().find(|&r| gap(r) == code)
}

pub(super) const fn sent_by(origin: SignalOrigin) -> i64 {
    match origin {
        SignalOrigin::Process => 1,
        SignalOrigin::Kernel => 2,
        SignalOrigin::OutOfMemory => 3,
    }
}

pub(super) fn to_sent_by(code: i64) -> Option<SignalOrigin> {
    SignalOrigin::ALL.into_iter().find(|&o| sent_by(o) == code)
}

/// IANA's protocol numbers.
pub(super) const fn protocol(protocol: Protocol) -> i64 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

pub(super) fn to_protocol(code: i64) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp].into_iter().find(|&p| protocol(p) == code)
}
