//! Against servers that behave, and servers that do not.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use hyper::body::Bytes;

use super::{Outcome, post_within};
use crate::webhook::{AllowList, Target};

/// Reads a request's head and body as far as it has come, then does `answer` with the connection.
fn server(
    answer: impl FnOnce(std::net::TcpStream) + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"}") && matches!(stream.read(&mut byte), Ok(1)) {
            request.push(byte[0]);
        }
        answer(stream);
        String::from_utf8_lossy(&request).into_owned()
    });
    (at, thread)
}

fn send(url: &str, allowed: &AllowList, patience: Duration) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let target = Target::parse(url).unwrap();
    let headers = [("portwatch-test", "yes".to_owned())];
    runtime.block_on(post_within(&target, allowed, &headers, Bytes::from_static(b"{}"), patience))
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn only_the_status_counts_and_redirects_are_not_followed() {
    for (answer, status, problem) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Some(200), None),
        ("HTTP/1.1 204 No Content\r\n\r\n", Some(204), None),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", Some(500), Some("it answered 500")),
        ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n", Some(302), Some("is not followed")),
        ("SSH-2.0-x\r\n", None, Some("does not speak HTTP")),
        ("", None, Some("broke off before it answered")),
    ] {
        let (at, thread) = server(move |mut stream| stream.write_all(answer.as_bytes()).unwrap());
        let outcome = send(&format!("http://{at}/hook?a=b"), &AllowList::loopback(), LONG);
        assert_eq!(outcome.status, status, "{answer} {outcome:?}");
        match problem {
            None => assert_eq!(outcome.problem, None),
            Some(part) => assert!(outcome.problem.as_ref().unwrap().contains(part), "{answer} {outcome:?}"),
        }
        let request = thread.join().unwrap();
        assert!(request.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains(&format!("host: {at}\r\n")) && request.contains("portwatch-test: yes\r\n"),
            "{request}"
        );
    }
}

#[test]
fn an_address_that_is_not_allowed_is_not_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let none = AllowList::default();
    let other = AllowList::parse(["10.0.0.0/8"]).unwrap();
    for (url, allowed, part) in [
        (format!("http://127.0.0.1:{port}/"), &none, "not among the places"),
        (format!("http://localhost:{port}/"), &other, "localhost is"),
        (format!("http://[::ffff:127.0.0.1]:{port}/"), &other, "not among the places"),
        (format!("http://0.0.0.0:{port}/"), &AllowList::loopback(), "never led to"),
        (format!("http://0:{port}/"), &AllowList::loopback(), "never led to"),
        ("http://169.254.169.254/latest/".to_owned(), &AllowList::loopback(), "metadata"),
        ("http://2852039166/".to_owned(), &AllowList::loopback(), "metadata"),
    ] {
        let outcome = send(&url, allowed, LONG);
        assert!(outcome.problem.as_ref().unwrap().contains(part), "{url} {outcome:?}");
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody connected");
    // The same by other spellings of an address that is allowed.
    for url in [
        format!("http://127.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://localhost:{port}/"),
    ] {
        let outcome = send(&url, &AllowList::loopback(), Duration::from_millis(200));
        assert!(outcome.problem.unwrap().contains("no answer within"), "{url}: it accepts and never answers");
    }
}

#[test]
fn a_server_that_never_ends_is_left_in_time_and_read_with_a_bound() {
    let patience = Duration::from_millis(500);
    let lines = |line: &'static [u8], first: &'static [u8]| {
        move |mut stream: std::net::TcpStream| {
            let _ = stream.write_all(first);
            let mut written = 0_usize;
            // Ends when the other side has left.
            while stream.write_all(line).is_ok() {
                written += line.len();
                assert!(written < 64 << 20, "it is read without end");
            }
        }
    };
    for (name, line, first) in [
        ("headers", &b"x-y: z\r\n"[..], &b"HTTP/1.1 200 OK\r\n"[..]),
        ("one header", b"xxxxxxxxxxxxxxxx", b"HTTP/1.1 200 OK\r\nx: "),
        ("interim answers", b"HTTP/1.1 100 Continue\r\n\r\n", b""),
        ("no line", b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", b""),
    ] {
        let (at, thread) = server(lines(line, first));
        let begun = Instant::now();
        let outcome = send(&format!("http://{at}/"), &AllowList::loopback(), patience);
        assert!(outcome.problem.is_some(), "{name} {outcome:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{name}");
        thread.join().unwrap();
    }
    // An endless body is none of ours: the status is known before.
    let (at, thread) = server(lines(b"zzzzzzzzzzzzzzzz", b"HTTP/1.1 200 OK\r\n\r\n"));
    assert_eq!(send(&format!("http://{at}/"), &AllowList::loopback(), patience).problem, None);
    thread.join().unwrap();
    // Silence.
    let (at, thread) = server(|mut stream| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let outcome = send(&format!("http://{at}/"), &AllowList::loopback(), patience);
    assert_eq!(outcome.problem.as_deref(), Some("no answer within 500 ms"));
    thread.join().unwrap();
}

#[test]
fn nobody_there_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let outcome = send(&format!("http://{at}/"), &AllowList::loopback(), LONG);
    assert_eq!(outcome.problem, Some(format!("{at} refused the connection")));
}
