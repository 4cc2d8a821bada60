//! The description of the API, built from the same types that answer.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::wire::{
    self, claims,
    coordinate::{FOLLOW, FollowQuery, Followed, Method, Serve, Visit, every},
};

/// The OpenAPI 3.1 document. `docs/openapi.json` is this, compared by a test.
pub fn openapi() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths = json!({
        "/v1/who": answer("who has these?", json!([
            parameter("target", "string",
                "3100, 127.0.0.1:3100, [fe80::1%2]:3100 (the number of an interface), 53/udp, pid:812 or a claim name; may be given several times", true),
            parameter("netns", "integer", "inode of the network namespace that is meant; with all_namespaces of that of the asker", false),
            parameter("all_namespaces", "boolean", "every network namespace", false),
        ]),
            of::<wire::Who>(&mut generator)),
        "/v1/ls": answer("what is open?", list_parameters(), of::<wire::List>(&mut generator)),
        "/v1/log": answer("what happened?", log_parameters(), of::<wire::Log>(&mut generator)),
        "/v1/summary": answer("what happened, in numbers?", log_parameters(),
            of::<wire::LogSummary>(&mut generator)),
        "/v1/claims": both(
            &answer("what is claimed, and what runs there?", json!([parameter("pattern", "string",
                "myapp:*, *:api, myapp, myapp:api or :3100; may be given several times; all when absent", false)]),
                of::<claims::Claims>(&mut generator)),
            &order("claims a name for the peer's user", &of::<claims::ClaimRequest>(&mut generator), &of::<claims::Claimed>(&mut generator)),
        ),
        "/v1/claims/release": order("gives back claims of the peer's user", &of::<claims::ReleaseRequest>(&mut generator), &of::<claims::Released>(&mut generator)),
        "/v1/claims/cleanup": order("gives back claims of the peer's user on which nothing runs", &of::<claims::CleanupRequest>(&mut generator), &of::<claims::Released>(&mut generator)),
        "/v1/drift": answer("what do registry and reality disagree in?",
            json!([parameter("project", "string", "only of this project", false)]),
            of::<claims::Drift>(&mut generator)),
        "/v1/claims/health": order("tells how the program of a claim was found to be", &of::<claims::HealthReport>(&mut generator), &json!({ "type": "object" })),
        "/v1/rogue": answer("what does nothing explain?", rogue_parameters(),
            of::<claims::Rogue>(&mut generator)),
        "/v1/rogue/allowed": both(
            &answer("what is allowed?", json!([]), of::<claims::AllowList>(&mut generator)),
            &order("changes the peer's rules", &of::<claims::AllowRequest>(&mut generator), &of::<claims::AllowList>(&mut generator)),
        ),
        "/v1/alive": answer("is the daemon there? Answered at once, whatever else it is busy with", json!([]), of::<wire::Alive>(&mut generator)),
        "/v1/status": answer("how is the daemon?", json!([]), of::<wire::Status>(&mut generator)),
        "/v1/doctor": answer("what works here?", json!([]), of::<wire::Doctor>(&mut generator)),
        "/v1/metrics": metrics(of::<wire::metrics::Metrics>(&mut generator)),
        "/v1/watch": watch(&of::<wire::Event>(&mut generator)),
        (FOLLOW): stream(
            "messages as they are published: none is left out, and what is not kept any more is told as a gap",
            &fields::<FollowQuery>(),
            "the data of each is one Followed document, its id the message's number; the last, of type error, is an ErrorDocument",
            &of::<Followed>(&mut generator),
        ),
    });
    let mut bureau = Bureau { generator: &mut generator, paths: &mut paths };
    every(&mut bureau);
    let _ = of::<wire::ErrorDocument>(&mut generator);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "portwatch",
            "version": format!("{}", wire::SCHEMA),
            "description": "Answers of the portwatch daemon, over its Unix socket. Orders concern its own records \
                alone (claims, rules) and are the user's whom the socket names; it acts on nobody's behalf.",
        },
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

/// A question: parameters in, a document out.
#[expect(clippy::needless_pass_by_value, reason = "they are made for it")]
fn answer(summary: &str, parameters: Value, schema: Value) -> Value {
    json!({ "get": {
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "the answer",
                "content": { "application/json": { "schema": schema } },
            },
            "default": {
                "description": "no answer, and why",
                "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/ErrorDocument" },
                } },
            },
        },
    } })
}

/// Adds everything of coordination.
struct Bureau<'a> {
    generator: &'a mut schemars::SchemaGenerator,
    paths: &'a mut Value,
}

impl Visit for Bureau<'_> {
    fn visit<A: Serve>(&mut self) {
        let place = A::PLACE;
        let outcome = of::<A::Answer>(self.generator);
        let operation = match place.method {
            Method::Get => answer(place.summary, fields::<A>(), outcome),
            Method::Post => order(place.summary, &of::<A>(self.generator), &outcome),
        };
        let Some(paths) = self.paths.as_object_mut() else { return };
        let known = paths.entry(place.path).or_insert_with(|| json!({}));
        *known = both(known, &operation);
    }
}

/// The fields of a question as parameters.
fn fields<A: JsonSchema>() -> Value {
    let schema = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<A>()
        .to_value();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let one = |(name, schema): (String, Value)| {
        let description = schema.get("description").cloned().unwrap_or_default();
        json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
    };
    properties.into_iter().map(one).collect()
}

/// An order: a document in, a document out.
fn order(summary: &str, body: &Value, answer: &Value) -> Value {
    json!({ "post": {
        "summary": summary,
        "requestBody": { "required": true, "content": { "application/json": { "schema": body } } },
        "responses": {
            "200": { "description": "done", "content": { "application/json": { "schema": answer } } },
            "default": {
                "description": "not done, and why",
                "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/ErrorDocument" },
                } },
            },
        },
    } })
}

/// Two methods of one path.
fn both(one: &Value, other: &Value) -> Value {
    let mut methods = one.clone();
    if let (Some(methods), Some(other)) = (methods.as_object_mut(), other.as_object()) {
        methods.extend(other.clone());
    }
    methods
}

fn rogue_parameters() -> Value {
    json!([
        parameter("since", "string", "those too that are gone, back to then, RFC 3339", false),
        parameter("user", "string", "user name or uid", false),
        parameter("from", "integer", "first port of a range", false),
        parameter("to", "integer", "last port of a range", false),
    ])
}

fn of<T: JsonSchema>(generator: &mut schemars::SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn parameter(name: &str, kind: &str, description: &str, required: bool) -> Value {
    json!({
        "name": name, "in": "query", "required": required, "description": description,
        "schema": { "type": kind },
    })
}

fn list_parameters() -> Value {
    json!([
        parameter("protocol", "string", "tcp or udp", false),
        parameter("project", "string", "project name", false),
        parameter("user", "string", "user name or uid", false),
        parameter("from", "integer", "first port of a range", false),
        parameter("to", "integer", "last port of a range", false),
        parameter("sort", "string", "port, process, project or since", false),
        parameter("all", "boolean", "noise too", false),
        parameter("time_wait", "boolean", "connections in TIME_WAIT instead of sockets", false),
        parameter("container", "string", "name or beginning of the id of a container", false),
        parameter(
            "netns",
            "integer",
            "inode of the network namespace that is meant; with all_namespaces of that of the asker",
            false
        ),
        parameter("all_namespaces", "boolean", "every network namespace", false),
    ])
}

fn log_parameters() -> Value {
    json!([
        parameter("since", "string", "not before, RFC 3339", false),
        parameter("until", "string", "before, RFC 3339", false),
        parameter("type", "string", "event types, comma-separated", false),
        parameter("port", "string", "ports, comma-separated", false),
        parameter("pid", "string", "pids, comma-separated", false),
        parameter("filter", "string", "a pattern with * over command line, comm, project and message", false),
        parameter(
            "limit",
            "integer",
            "at most so many; 1000 when absent, at most 10000 and some megabytes in one answer",
            false
        ),
        parameter("newest_first", "boolean", "order", false),
        parameter("after_id", "integer", "only rows after this id", false),
        parameter(
            "before_id",
            "integer",
            "of the last nanosecond before until only rows before this id: the next page, where an answer was truncated",
            false
        ),
        parameter("all", "boolean", "noise too", false),
    ])
}

/// The one document that is text unless asked otherwise: Prometheus asks for no format.
fn metrics(schema: Value) -> Value {
    let mut path = answer(
        "everything that is counted",
        json!([parameter("format", "string", "text (when absent) or json", false)]),
        schema,
    );
    let text = json!({ "schema": { "type": "string" } });
    if let Some(content) = path.pointer_mut("/get/responses/200/content").and_then(Value::as_object_mut) {
        content.insert(wire::metrics::CONTENT_TYPE.to_owned(), text);
    }
    path
}

fn watch(event: &Value) -> Value {
    let mut parameters = log_parameters();
    if let Some(list) = parameters.as_array_mut() {
        list.push(parameter("backlog", "boolean", "first the events of the log that match", false));
    }
    stream("events as they happen", &parameters, "the data of each is one Event document", event)
}

/// A stream of server-sent events.
fn stream(summary: &str, parameters: &Value, data: &str, schema: &Value) -> Value {
    json!({ "get": {
        "summary": summary,
        "parameters": parameters,
        "responses": { "200": {
            "description": format!("server-sent events; {data}"),
            "content": { "text/event-stream": { "schema": schema } },
        } },
    } })
}
