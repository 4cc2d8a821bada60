//! As much of HTTP as a test needs that stands where the daemon would, or asks it in its own name.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use anyhow::Context as _;
use serde_json::Value;

/// All of the next request on `stream`.
pub fn next_request(stream: &mut UnixStream) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        text.extend(byte);
    }
    let head = String::from_utf8_lossy(&text).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(Ok(0), str::parse)?];
    stream.read_exact(&mut body)?;
    text.extend(body);
    Ok(text)
}

/// The next order on `stream`: a client asks first whether the daemon is there, and is told so.
pub fn next_order(stream: &mut UnixStream) -> anyhow::Result<Vec<u8>> {
    loop {
        let text = next_request(stream)?;
        if !text.starts_with(b"GET /v1/alive ") {
            return Ok(text);
        }
        answer(stream, r#"{"schema":1,"pid":1}"#)?;
    }
}

/// Answers with the document `body`.
pub fn answer(stream: &mut UnixStream, body: &str) -> anyhow::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
    Ok(stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())?)
}

/// An order.
pub fn order(path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.1\r\nhost: portwatch\r\ncontent-type: application/json");
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The document that comes on `stream`.
pub fn document(stream: &mut UnixStream) -> anyhow::Result<Value> {
    let mut text = Vec::new();
    // The head and what follows of it: the body is there with its last brace, and the connection stays.
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes)?;
        anyhow::ensure!(count > 0, "no whole answer: {}", String::from_utf8_lossy(&text));
        text.extend(bytes.get(..count).context("more than was read")?);
        let whole = String::from_utf8_lossy(&text);
        let body = whole.split_once("\r\n\r\n").map(|(_, body)| serde_json::from_str(body));
        if let Some(Ok(answer)) = body {
            return Ok(answer);
        }
    }
}
