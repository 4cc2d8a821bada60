//! Metrics of the real binary, read by Prometheus' own client library.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
};

use portwatch_tests::{Actor, Portwatch, Source, each_source, require_bpf, require_python};
use serde_json::Value;

/// For Debian's Python, which has the module. Reads the text as Prometheus does, and gives its samples as JSON; complains of what breaks the conventions.
const READER: &str = r#"
import json, re, sys
from prometheus_client.parser import text_string_to_metric_families
text = sys.stdin.read()
families = list(text_string_to_metric_families(text))
samples, names = [], set()
for family in families:
    assert family.documentation.strip(), family.name + " has no help"
    assert family.type in ("counter", "gauge", "histogram"), family.name + " has no type"
    assert family.name not in names, family.name + " is there twice"
    names.add(family.name)
    assert re.fullmatch("(portwatch|process)_[a-z_]+", family.name), family.name
    for sample in family.samples:
        assert (family.type == "counter") == sample.name.endswith("_total"), sample.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name
        samples.append([sample.name, sample.labels, round(sample.value)])
keys = [(name, tuple(sorted(labels.items()))) for name, labels, _ in samples]
assert len(keys) == len(set(keys)), "a series is there twice"
counted = len([l for l in text.splitlines() if l and not l.startswith(chr(35))])
assert counted == len(samples), (counted, len(samples))
json.dump(samples, sys.stdout)
"#;

struct Samples(Vec<Value>);

impl Samples {
    fn read(text: &str) -> Self {
        let mut reader = Command::new("/usr/bin/python3")
            .args(["-c", READER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        reader.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let read = reader.wait_with_output().unwrap();
        assert!(read.status.success(), "{}\n{text}", String::from_utf8_lossy(&read.stderr));
        Self(serde_json::from_slice::<Value>(&read.stdout).unwrap().as_array().unwrap().clone())
    }

    fn of(portwatch: &Portwatch) -> Self {
        let ran = portwatch.run(&["metrics"]).unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        Self::read(&ran.stdout)
    }

    /// The value of the one sample that has these labels.
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let has = |sample: &&Value| {
            sample[0] == name && labels.iter().all(|(label, value)| sample[1][*label] == *value)
        };
        let mut found = self.0.iter().filter(has);
        let value = found.next()?[2].as_u64();
        assert!(found.next().is_none(), "several {name} {labels:?}");
        value
    }
}

fn ask(portwatch: &Portwatch, path: &str) -> String {
    let mut stream = UnixStream::connect(portwatch.socket()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_what_prometheus_reads_and_count_what_happened() {
    if !require_python("prometheus_client") {
        return;
    }
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&["--source", "ebpf"]).unwrap();
    let before = Samples::of(&portwatch);
    assert_eq!(before.get("portwatch_up", &[]), Some(1));
    assert_eq!(before.get("portwatch_source_info", &[("source", "ebpf")]), Some(1));
    assert!(before.get("process_resident_memory_bytes", &[]).unwrap() > 1_000_000);
    let at = |name: &str, labels: &[(&str, &str)]| Samples::of(&portwatch).get(name, labels).unwrap_or(0);

    let asked =
        ("portwatch_http_requests_total", [("route", "/v1/who"), ("method", "GET"), ("status", "200")]);
    assert_eq!(before.get(asked.0, &asked.1), None);
    portwatch.run(&["who", "1"]).unwrap();
    portwatch.run(&["who", "1"]).unwrap();
    assert_eq!(at(asked.0, &asked.1), 2);
    assert_eq!(
        at("portwatch_http_request_duration_seconds_bucket", &[("route", "/v1/who"), ("le", "+Inf")]),
        2
    );

    let listened = ("portwatch_events_total", [("type", "listen")]);
    let attributed = || -> u64 {
        let known = ["kernel", "scan", "inherited", "inferred", "ambiguous", "unknown"];
        known.iter().map(|how| at("portwatch_attributions_total", &[("evidence", how)])).sum()
    };
    let before = (at(listened.0, &listened.1), attributed());
    let (_actor, port) = Actor::listener("127.77.1.1", 0).unwrap();
    portwatch.wait_for("listen", &["--port", &port.to_string()]).unwrap();
    assert!(at(listened.0, &listened.1) > before.0);
    assert!(attributed() > before.1);
    assert!(at("portwatch_sockets", &[("protocol", "tcp"), ("state", "listening")]) >= 1);
    assert!(at("portwatch_journal_commit_duration_seconds_count", &[]) >= 1);
    assert!(at("portwatch_journal_size_bytes", &[]) > 10_000);

    portwatch.run(&["claim", "myapp:api", "-q"]).unwrap();
    assert_eq!(at("portwatch_claims", &[("state", "idle")]), 1);
    portwatch.run(&["lock", "db", "--owner", "agent-x"]).unwrap();
    assert_eq!(at("portwatch_locks", &[("state", "held")]), 1);
    assert_eq!(at("portwatch_events_total", &[("type", "lock")]), 1, "what the bureau writes counts too");
    portwatch.run(&["agent", "register", "agent-x"]).unwrap();
    portwatch.run(&["session", "start", "work", "--agent", "agent-x"]).unwrap();
    assert_eq!(at("portwatch_agents", &[("state", "active")]), 1);
    assert_eq!(at("portwatch_sessions", &[]), 1);
    portwatch.run(&["pub", "builds", "green"]).unwrap();
    assert_eq!((at("portwatch_channels", &[]), at("portwatch_channels_followed", &[])), (1, 0));
}

#[test]
fn hostile_requests_make_no_series_of_their_own() {
    if !require_python("prometheus_client") {
        return;
    }
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    for path in ["/v1/nothing", "/a\"}%20x{y=\"", "/v1/metrics/../../etc", "/%0Aportwatch_up%205"] {
        ask(&portwatch, path);
    }
    ask(&portwatch, "/v1/who?target=%22%0A");
    let samples = Samples::of(&portwatch);
    assert_eq!(
        samples.get("portwatch_http_requests_total", &[("route", "other"), ("status", "404")]),
        Some(4)
    );
    assert_eq!(
        samples.get("portwatch_http_requests_total", &[("route", "/v1/who"), ("status", "400")]),
        Some(1)
    );
    assert!(samples.0.len() < 500, "{}", samples.0.len());
}

#[test]
fn the_socket_serves_text_and_the_json_document_has_the_numbers_for_people() {
    if !require_python("prometheus_client") {
        return;
    }
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let answer = ask(&portwatch, "/v1/metrics");
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert_eq!(Samples::read(text).get("portwatch_up", &[]), Some(1));
    assert!(ask(&portwatch, "/v1/metrics?format=xml").starts_with("HTTP/1.1 400"));

    let _watching = {
        let mut stream = UnixStream::connect(portwatch.socket()).unwrap();
        write!(stream, "GET /v1/watch HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        stream
    };
    let document = portwatch.run(&["metrics", "--json"]).unwrap().json().unwrap();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["activeSSE"], 1);
    assert_eq!(document["requests"], 3, "{document:#}");
    for number in ["uptime", "avgResponseMs", "peakResponseMs", "dbSizeBytes", "memoryRSS"] {
        assert!(document[number].is_number(), "{number}: {}", document[number]);
    }
    assert_eq!(document["codeHash"].as_str().unwrap().len(), 12);
    let up = document["families"].as_array().unwrap().iter().find(|f| f["name"] == "portwatch_up").unwrap();
    assert_eq!(up["samples"][0]["value"].as_f64().map(f64::to_bits), Some(1_f64.to_bits()));
}

each_source![without_a_daemon_what_can_be_counted_is_counted_and_nothing_is_made];

fn without_a_daemon_what_can_be_counted_is_counted_and_nothing_is_made(source: Source) {
    if !require_python("prometheus_client") {
        return;
    }
    let portwatch = Portwatch::on(source).unwrap();
    let _actor = Actor::listener("127.77.1.2", 0).unwrap();
    let samples = Samples::of(&portwatch);
    assert_eq!(samples.get("portwatch_up", &[]), Some(0));
    assert_eq!(samples.get("portwatch_source_info", &[("source", source.name())]), Some(1));
    let listening = [("protocol", "tcp"), ("state", "listening")];
    assert!(samples.get("portwatch_sockets", &listening).unwrap() >= 1);
    let bound = samples.get("portwatch_sockets", &[("protocol", "tcp"), ("state", "bound")]);
    assert_eq!(bound.is_some(), source.is_whole(), "what is not shown is not 0");
    assert!(samples.get("portwatch_sockets", &[("protocol", "udp")]).is_some());
    assert_eq!(samples.get("portwatch_claims", &[("state", "idle")]), None, "what is not there is not 0");
    assert!(!portwatch.database().exists());
    portwatch.run(&["claim", "myapp:api", "-q"]).unwrap();
    let samples = Samples::of(&portwatch);
    let state = source.unseen_claim("idle");
    assert_eq!(samples.get("portwatch_claims", &[("state", state)]), Some(1));
    assert_eq!(samples.get("portwatch_locks", &[("state", "held")]), Some(0));
}
