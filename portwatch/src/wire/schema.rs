//! The schema of every document, generated from the types. `docs/schema/portwatch-v1.json` is its committed copy.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{
    ConfigReport, Doctor, Event, Free, List, Log, LogSummary, Probe, SCHEMA, Status, VersionReport, Wait,
    Who, claims, coordinate, metrics,
};

/// JSON Schema (draft 2020-12) of what each command prints with `--json`, under `properties` by command.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let commands = [
        ("who", of::<Who>(&mut generator)),
        ("ls", of::<List>(&mut generator)),
        ("log", of::<Log>(&mut generator)),
        ("log --summary", of::<LogSummary>(&mut generator)),
        ("log --follow, watch (one a line)", of::<Event>(&mut generator)),
        ("probe", of::<Probe>(&mut generator)),
        ("free", of::<Free>(&mut generator)),
        ("wait", of::<Wait>(&mut generator)),
        ("claim", of::<claims::ClaimedAll>(&mut generator)),
        ("find, claims", of::<claims::Claims>(&mut generator)),
        ("health", of::<claims::HealthAnswer>(&mut generator)),
        ("rogue", of::<claims::Rogue>(&mut generator)),
        ("rogue allowed, allow, disallow", of::<claims::AllowList>(&mut generator)),
        ("claims --worktree", of::<claims::Worktrees>(&mut generator)),
        ("import", of::<claims::ImportAnswer>(&mut generator)),
        ("drift", of::<claims::Drift>(&mut generator)),
        ("release, cleanup", of::<claims::Released>(&mut generator)),
        ("lock", of::<coordinate::LockState>(&mut generator)),
        ("unlock", of::<coordinate::Freed>(&mut generator)),
        ("locks", of::<coordinate::Locks>(&mut generator)),
        ("agents", of::<coordinate::Agents>(&mut generator)),
        ("agent register, heartbeat, unregister", of::<coordinate::AgentState>(&mut generator)),
        ("sessions", of::<coordinate::Sessions>(&mut generator)),
        ("session start, end, abandon, claim, release", of::<coordinate::SessionState>(&mut generator)),
        ("note", of::<coordinate::Noted>(&mut generator)),
        ("notes", of::<coordinate::Notes>(&mut generator)),
        ("salvage", of::<coordinate::Salvage>(&mut generator)),
        ("salvage claim", of::<coordinate::Salvaged>(&mut generator)),
        ("webhook add, remove", of::<coordinate::WebhookState>(&mut generator)),
        ("webhook list", of::<coordinate::Webhooks>(&mut generator)),
        ("webhook test", of::<coordinate::WebhookTest>(&mut generator)),
        ("webhook log", of::<coordinate::Deliveries>(&mut generator)),
        ("pub", of::<coordinate::Published>(&mut generator)),
        ("sub", of::<coordinate::Messages>(&mut generator)),
        ("sub --follow (one a line)", of::<coordinate::Followed>(&mut generator)),
        ("channels", of::<coordinate::Channels>(&mut generator)),
        ("channels --share, --unshare, --remove", of::<coordinate::ChannelState>(&mut generator)),
        ("metrics", of::<metrics::Metrics>(&mut generator)),
        ("status", of::<Status>(&mut generator)),
        ("doctor", of::<Doctor>(&mut generator)),
        ("version", of::<VersionReport>(&mut generator)),
        ("config", of::<ConfigReport>(&mut generator)),
    ];
    let properties: serde_json::Map<String, Value> =
        commands.into_iter().map(|(command, schema)| (command.to_owned(), schema)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("portwatch --json, version {SCHEMA}"),
        "description": "Each property is the document one command prints.",
        "properties": properties,
        "$defs": generator.take_definitions(true),
    })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde::Deserialize;

    use super::schema;
    use crate::wire::{Event, Who};

    #[test]
    fn the_committed_schema_is_the_one_of_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/portwatch-v1.json");
        let mut now = serde_json::to_string_pretty(&schema()).unwrap();
        now.push('\n');
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            fs::write(&path, &now).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == now,
            "the JSON contract changed: read docs/json.md on what may, then accept with UPDATE_SCHEMA=1 cargo test \
             -p portwatch --lib schema"
        );
    }

    /// What a script of a user reads, written down by hand: renaming a field in the types breaks this.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "being there is the test")]
    struct StrictEvent {
        id: Option<i64>,
        time: String,
        r#type: String,
        evidence: String,
        protocol: Option<String>,
        address: Option<String>,
        port: Option<u16>,
        netns: Option<u32>,
        cookie: Option<u64>,
        state: Option<String>,
        asked_port: Option<u16>,
        random: Option<bool>,
        process: Option<StrictProcess>,
        other: Option<StrictProcess>,
        claim: Option<String>,
        subject: Option<String>,
        errno: Option<i32>,
        errno_name: Option<String>,
        exit: Option<serde_json::Value>,
        gap: Option<serde_json::Value>,
        since: Option<String>,
        count: u64,
        message: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "being there is the test")]
    struct StrictProcess {
        pid: u32,
        started: Option<String>,
        comm: String,
        command: Option<Vec<String>>,
        command_truncated: bool,
        exe: Option<String>,
        cwd: Option<String>,
        uid: Option<u32>,
        user: Option<String>,
        cgroup: Option<serde_json::Value>,
        unit: Option<serde_json::Value>,
        container: Option<serde_json::Value>,
        unproven_container: Option<serde_json::Value>,
        lineage: Vec<serde_json::Value>,
        project: Option<serde_json::Value>,
        evidence: String,
    }

    const PROCESS: &str = r#"{"pid":7,"started":null,"comm":"nc","command":["nc","-l"],"command_truncated":false,
        "exe":null,"cwd":null,"uid":0,"user":"root","cgroup":null,"unit":null,"container":null,"unproven_container":null,"lineage":[],"project":null,"evidence":"kernel"}"#;

    #[test]
    fn an_event_has_the_documented_fields_and_no_others() {
        let text = format!(
            r#"{{"id":1,"time":"2026-03-02T01:26:30.5Z","type":"bind","evidence":"kernel","process":{PROCESS},
                "count":1}}"#
        );
        let event: Event = serde_json::from_str(&text).unwrap();
        let value = serde_json::to_value(&event).unwrap();
        let strict: StrictEvent = serde_json::from_value(value.clone()).unwrap();
        // Times are RFC 3339 in UTC, and what is not known is null, not absent.
        assert_eq!(strict.time, "2026-03-02T01:26:30.5Z");
        assert!(value.get("port").is_some_and(serde_json::Value::is_null));
    }

    #[test]
    fn who_is_found_where_scripts_look_for_it() {
        let text = format!(
            r#"{{"schema":1,"time":"2026-03-02T01:26:30Z",
                "source":{{"source":"ebpf","daemon":true,"note":null,"degradations":[]}},
                "targets":[{{"asked":"3100","port":3100,"protocol":"tcp","state":"held","reason":null,"last":[],
                "refused":[],"verdict":{{"bindable":false,"sentence":"No."}},"sockets":[{{"protocol":"tcp",
                "address":"0.0.0.0","port":3100,"state":"listening","since":"2026-03-02T01:26:30Z",
                "holders":[{{"process":{PROCESS},"evidence":"kernel"}}],"owner":"known","evidence":"kernel"}}]}}]}}"#
        );
        let who: Who = serde_json::from_str(&text).unwrap();
        let value = serde_json::to_value(&who).unwrap();
        for (pointer, expected) in [
            ("/schema", serde_json::json!(1)),
            ("/targets/0/state", "held".into()),
            ("/targets/0/port", 3100.into()),
            ("/targets/0/sockets/0/holders/0/process/pid", 7.into()),
            ("/targets/0/sockets/0/listening_since", serde_json::Value::Null),
            ("/targets/0/verdict/bindable", false.into()),
        ] {
            assert_eq!(value.pointer(pointer), Some(&expected), "{pointer}");
        }
    }
}
