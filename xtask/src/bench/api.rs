//! Just enough HTTP to ask the daemon: one connection a question, as a command does, or one that is kept.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Where the daemon is asked.
#[derive(Debug)]
pub(super) struct Api(PathBuf);

impl Api {
    pub(super) fn new(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    /// The document at `path`.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        let stream = UnixStream::connect(&self.0).context("connecting to the daemon")?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let mut stream = BufReader::new(stream);
        let request = format!("GET {path} HTTP/1.1\r\nHost: portwatch\r\nConnection: close\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes()).context("asking the daemon")?;
        let (status, body) = response(&mut stream)?;
        ensure!(status == 200, "GET {path}: HTTP {status}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).with_context(|| format!("GET {path}: no JSON"))
    }
}

/// A connection that is kept for one order after the other.
#[derive(Debug)]
pub(super) struct Kept(BufReader<UnixStream>);

impl Kept {
    pub(super) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("connecting to the daemon")?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The answer to an order.
    pub(super) fn post(&mut self, path: &str, order: &Value) -> Result<Value> {
        let order = order.to_string();
        let length = order.len();
        let head = "Host: portwatch\r\nContent-Type: application/json\r\nContent-Length";
        let request = format!("POST {path} HTTP/1.1\r\n{head}: {length}\r\n\r\n{order}");
        self.0.get_mut().write_all(request.as_bytes()).context("asking the daemon")?;
        let (status, body) = response(&mut self.0)?;
        ensure!(status == 200, "POST {path}: HTTP {status}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).with_context(|| format!("POST {path}: no JSON"))
    }
}

fn response(stream: &mut impl BufRead) -> Result<(u16, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).context("no answer")?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("not HTTP: {line:?}"))?;
    let mut length = None;
    loop {
        line.clear();
        stream.read_line(&mut line).context("an answer broken off")?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
    let mut body = vec![0; length.context("an answer without its length")?];
    stream.read_exact(&mut body).context("an answer broken off")?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_length_and_not_beyond() {
        let mut bytes: &[u8] =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\r\n{}HTTP";
        assert_eq!(response(&mut bytes).unwrap(), (200, b"{}".to_vec()));
        assert_eq!(bytes, b"HTTP");
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        for broken in
            ["", "hello\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}"]
        {
            assert!(response(&mut broken.as_bytes()).is_err(), "{broken:?}");
        }
    }
}
