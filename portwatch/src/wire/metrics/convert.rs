//! Answers to families.

use super::{Family, Metrics};
use crate::{
    query::{MetricsAnswer, Running},
    wire::{SCHEMA, Version, claims},
};

/// Answer of `metrics`, without what the server of the API counts.
pub fn metrics(answer: &MetricsAnswer) -> Metrics {
    let mut families = about(answer);
    if let Some(running) = &answer.running {
        families.extend(process(running, answer));
        families.extend(record(running));
    }
    families.extend(journal(answer));
    families.extend(tables(answer));
    let running = answer.running.as_ref();
    let uptime = running.and_then(|running| answer.time.duration_since(running.started).try_into().ok());
    Metrics {
        schema: SCHEMA,
        time: answer.time,
        uptime: uptime.map(|uptime: std::time::Duration| uptime.as_secs()),
        requests: None,
        average_ms: None,
        peak_ms: None,
        streams: None,
        database_bytes: answer.database_bytes,
        memory_bytes: running.and_then(|running| running.memory_bytes),
        build: running.map(|_| Version::of_this_build().build),
        families,
    }
}

fn about(answer: &MetricsAnswer) -> Vec<Family> {
    let up = Family::gauge(
        "portwatch_up",
        "Whether a daemon answers; without one these are the numbers of a look.",
    )
    .with(&[], u64::from(answer.running.is_some()));
    let build = Version::of_this_build();
    let words = [("version", build.version.as_str()), ("build", &build.build), ("object", &build.object)];
    let build = Family::gauge("portwatch_build_info", "The build that answers; always 1.").with(&words, 1);
    let source = Family::gauge("portwatch_source_info", "Where facts come from; always 1.")
        .with(&[("source", answer.about.source.as_str())], 1);
    let mut hooks = Family::gauge("portwatch_hook_info", "Which hook serves which fact; always 1.");
    for served in &answer.about.coverage {
        let fact = [("fact", served.fact.as_str()), ("hook", served.hook.as_deref().unwrap_or("none"))];
        hooks = hooks.with(&fact, 1);
    }
    let mut missing =
        Family::gauge("portwatch_degradation_info", "What is missing, by its stable name; always 1.");
    let mut names: Vec<&str> = answer.about.degradations.iter().map(|d| d.name).collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        missing = missing.with(&[("name", name)], 1);
    }
    let count = Family::gauge("portwatch_degradations", "How much is missing.")
        .with(&[], u64::try_from(names.len()).unwrap_or(u64::MAX));
    vec![up, build, source, hooks, missing, count]
}

/// Names of every process' own metrics, as Prometheus' client libraries have them.
fn process(running: &Running, answer: &MetricsAnswer) -> Vec<Family> {
    let mut all = Vec::new();
    if let Some(bytes) = running.memory_bytes {
        let family = Family::gauge("process_resident_memory_bytes", "Resident memory of the daemon.");
        all.push(family.with(&[], bytes));
    }
    if let Some(cpu) = running.cpu {
        let family = Family::counter("process_cpu_seconds_total", "Processor time of the daemon.");
        all.push(family.with_real(&[], cpu.as_secs_f64()));
    }
    let started = running.started.as_duration().as_secs_f64();
    let family = Family::gauge("process_start_time_seconds", "When the daemon started, since 1970.");
    all.push(family.with_real(&[], started));
    let uptime = answer.time.duration_since(running.started).as_secs_f64().max(0.0);
    all.push(Family::gauge("portwatch_uptime_seconds", "How long the daemon runs.").with_real(&[], uptime));
    all
}

/// What came from the machine.
fn record(running: &Running) -> Vec<Family> {
    let counters = &running.counters;
    let received = Family::counter("portwatch_records_received_total", "Records taken in from the source.")
        .with(&[], counters.received);
    let lost = Family::counter(
        "portwatch_records_lost_total",
        "Records that the source lost before they were taken in.",
    )
    .with(&[], counters.lost);
    let undecodable =
        Family::counter("portwatch_records_undecodable_total", "Records that could not be decoded.")
            .with(&[], counters.undecodable);
    let mut events =
        Family::counter("portwatch_events_total", "Events delivered to journal and watchers, by type.");
    for (kind, count) in &running.tallied.events {
        events = events.with(&[("type", kind.as_str())], *count);
    }
    let mut gaps = Family::counter("portwatch_gaps_total", "Gaps in the record, by reason.");
    for (reason, count) in &running.tallied.gaps {
        gaps = gaps.with(&[("reason", reason.as_str())], *count);
    }
    let mut missed = Family::counter(
        "portwatch_gap_records_total",
        "Records that gaps say are missing, by reason and kind.",
    );
    for (reason, kind, count) in &running.tallied.lost {
        missed = missed.with(&[("reason", reason.as_str()), ("kind", kind)], *count);
    }
    let mut attributed = Family::counter(
        "portwatch_attributions_total",
        "Binds, refused binds and listens, by how their process is known.",
    );
    for (evidence, count) in &running.tallied.attributed {
        attributed = attributed.with(&[("evidence", evidence.as_str())], *count);
    }
    let posted = &running.posted;
    let requests =
        Family::counter("portwatch_webhook_requests_total", "Requests to webhooks, by what became of them.")
            .with(&[("outcome", "delivered")], posted.delivered)
            .with(&[("outcome", "failed")], posted.failed);
    let given_up =
        Family::counter("portwatch_webhook_events_given_up_total", "Events that were tried often enough.")
            .with(&[], posted.given_up);
    let dropped = Family::counter(
        "portwatch_webhook_events_dropped_total",
        "Events that found a webhook's queue full.",
    )
    .with(&[], posted.dropped);
    vec![received, lost, undecodable, events, gaps, missed, attributed, requests, given_up, dropped]
}

fn journal(answer: &MetricsAnswer) -> Vec<Family> {
    let mut all = Vec::new();
    if let Some(events) = answer.events {
        all.push(Family::gauge("portwatch_journal_events", "Events in the journal.").with(&[], events));
    }
    if let Some(bytes) = answer.database_bytes {
        let help = "Size of the database with its write-ahead log.";
        all.push(Family::gauge("portwatch_journal_size_bytes", help).with(&[], bytes));
    }
    let Some(running) = &answer.running else { return all };
    if let Some(status) = &running.journal {
        let help = "Entries that wait to be written.";
        all.push(Family::gauge("portwatch_journal_queue_entries", help).with(&[], status.waiting));
        let help = "Events that could not be written.";
        all.push(Family::counter("portwatch_journal_unwritten_total", help).with(&[], status.unwritten));
        let help = "Whether the journal takes events at the moment.";
        let writes = u64::from(status.error.is_none());
        all.push(Family::gauge("portwatch_journal_writable", help).with(&[], writes));
    }
    if let Some(commits) = &running.commits {
        let help = "Time from the beginning of a batch until it is committed.";
        all.push(
            Family::histogram("portwatch_journal_commit_duration_seconds", help).with_reading(&[], commits),
        );
    }
    all
}

/// How much of everything there is now.
fn tables(answer: &MetricsAnswer) -> Vec<Family> {
    let mut all = Vec::new();
    if let Some(sizes) = &answer.sockets {
        let mut family =
            Family::gauge("portwatch_sockets", "Sockets in the live table, by protocol and state.")
                .with(&[("protocol", "tcp"), ("state", "listening")], sizes.listening)
                .with(&[("protocol", "udp"), ("state", "bound")], sizes.udp);
        if let Some(bound) = sizes.bound {
            family = family.with(&[("protocol", "tcp"), ("state", "bound")], bound);
        }
        all.push(family);
    }
    if let Some(count) = answer.time_wait {
        let help = "TCP connections in TIME_WAIT in the observer's network namespace.";
        all.push(Family::gauge("portwatch_time_wait_connections", help).with(&[], count));
    }
    if let Some(states) = &answer.claims {
        let counts = claims::convert::counts(states);
        let mut family = Family::gauge("portwatch_claims", "Claims, by state.");
        for (state, count) in [
            ("live", counts.live),
            ("ghost", counts.ghost),
            ("squatted", counts.squatted),
            ("idle", counts.idle),
            ("unknown", counts.unknown),
        ] {
            family = family.with(&[("state", state)], count);
        }
        all.push(family);
    }
    if let Some((count, waiting)) = answer.webhooks {
        let help = "Events that wait for webhooks.";
        all.push(Family::gauge("portwatch_webhooks", "Webhooks.").with(&[], count));
        all.push(Family::gauge("portwatch_webhook_queue_events", help).with(&[], waiting));
    }
    if let Some(counts) = &answer.coordination {
        let locks = Family::gauge("portwatch_locks", "Locks, by state.")
            .with(&[("state", "held")], counts.locks_held)
            .with(&[("state", "expired")], counts.locks_expired);
        let waiters = Family::gauge("portwatch_lock_waiters", "Who waits for a lock.");
        let agents = Family::gauge("portwatch_agents", "Agents that were not unregistered, by state.")
            .with(&[("state", "active")], counts.agents_active)
            .with(&[("state", "stale")], counts.agents_stale)
            .with(&[("state", "dead")], counts.agents_dead);
        let sessions = Family::gauge("portwatch_sessions", "Sessions that have not ended.");
        let channels = Family::gauge("portwatch_channels", "Channels.");
        all.extend([
            locks,
            waiters.with(&[], counts.lock_waiters),
            agents,
            sessions.with(&[], counts.sessions_active),
            channels.with(&[], counts.channels),
        ]);
        if let Some(followed) = counts.channels_followed {
            let help = "Channels that somebody follows.";
            all.push(Family::gauge("portwatch_channels_followed", help).with(&[], followed));
        }
    }
    all
}
