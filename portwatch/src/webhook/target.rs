//! Where a webhook leads: `http://HOST[:PORT]/PATH`.

use std::net::IpAddr;

use hyper::Uri;

use crate::model::Port;

/// Longest URL, bytes.
const LONGEST: usize = 2048;

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name, to be looked up at each delivery.
    Name(String),
}

/// A parsed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// Path and query, as they are sent.
    pub path: String,
}

/// Why it leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// TLS.
    #[error(
        "https is not supported: portwatch has no TLS in it, so nothing could be sent; lead the webhook over http:// to a \
         forwarder on this machine that speaks TLS (docs/webhooks.md shows one)"
    )]
    Https,
    /// Another scheme, or none.
    #[error("a webhook leads to http://HOST[:PORT]/PATH")]
    Scheme,
    /// Too long.
    #[error("a URL has at most {LONGEST} bytes")]
    Long,
    /// A blank, a line break, something beyond ASCII.
    #[error("a URL is visible ASCII; write anything else as %XX")]
    Characters,
    /// User and password.
    #[error(
        "a URL with a user or password in it is not taken; what is sent is signed with the secret instead"
    )]
    Credentials,
    /// `#…`
    #[error("what follows a # is never sent; leave it away")]
    Fragment,
    /// The host.
    #[error("'{0}' is not a host")]
    Host(String),
    /// The port.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// Something else.
    #[error("that is no URL: {0}")]
    Broken(String),
}

impl Target {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > LONGEST {
            return Err(TargetError::Long);
        }
        // No line break reaches a header, no control character a terminal.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TargetError::Characters);
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http") => {}
            Some("https") => return Err(TargetError::Https),
            _ => return Err(TargetError::Scheme),
        }
        if text.contains('#') {
            return Err(TargetError::Fragment);
        }
        let uri: Uri = text.parse().map_err(|error| TargetError::Broken(format!("{error}")))?;
        let authority = uri.authority().ok_or(TargetError::Scheme)?.as_str();
        if authority.contains('@') {
            return Err(TargetError::Credentials);
        }
        let name = uri.host().unwrap_or_default();
        let host = host(name).ok_or_else(|| TargetError::Host(name.to_owned()))?;
        let port = match authority.get(name.len()..).unwrap_or_default() {
            "" => 80,
            rest => {
                let port = rest.strip_prefix(':').and_then(|digits| digits.parse::<Port>().ok());
                port.ok_or(TargetError::Port)?.get()
            }
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // `http://h?x` has an empty path, which is `/` in a request (RFC 9112, section 3.2.1).
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host, port, path })
    }

    /// The value of the Host header.
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }
}

/// Without a zone: a link-local address is never led to.
fn host(text: &str) -> Option<Host> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse().ok().map(|address| Host::Address(IpAddr::V6(address)));
    }
    if let Ok(address) = text.parse() {
        return Some(Host::Address(IpAddr::V4(address)));
    }
    let named = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    named.then(|| Host::Name(text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_it_will_be_sent() {
        for (text, host, port, path, authority) in [
            ("http://127.0.0.1:9000/hook?x=1&y", "127.0.0.1", 9000, "/hook?x=1&y", "127.0.0.1:9000"),
            ("HTTP://Example.ORG", "example.org", 80, "/", "example.org"),
            ("http://example.org:80/a%0d%0ab", "example.org", 80, "/a%0d%0ab", "example.org"),
            ("http://h?x", "h", 80, "/?x", "h"),
            ("http://[::1]:8080/", "::1", 8080, "/", "[::1]:8080"),
            ("http://127.1/", "127.1", 80, "/", "127.1"),
        ] {
            let target = Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let found = match &target.host {
                Host::Address(address) => address.to_string(),
                Host::Name(name) => name.clone(),
            };
            assert_eq!((found.as_str(), target.port, target.path.as_str()), (host, port, path), "{text}");
            assert_eq!(target.authority(), authority);
        }
        assert!(
            matches!(Target::parse("http://127.1/").unwrap().host, Host::Name(_)),
            "looked up, then judged"
        );
    }

    #[test]
    fn what_is_no_plain_http_url_is_refused_with_its_reason() {
        for (text, error) in [
            ("https://example.org/", TargetError::Https),
            ("HTTPS://example.org/", TargetError::Https),
            ("ftp://example.org/", TargetError::Scheme),
            ("file:///etc/passwd", TargetError::Scheme),
            ("example.org/hook", TargetError::Scheme),
            ("", TargetError::Scheme),
            ("http://user:pw@example.org/", TargetError::Credentials),
            ("http://127.0.0.1:80@evil.example/", TargetError::Credentials),
            ("http://a/b#c", TargetError::Fragment),
            ("http://a/\r\nX-Evil: 1", TargetError::Characters),
            ("http://a/ b", TargetError::Characters),
            ("http://a/\u{e9}", TargetError::Characters),
            ("http://a:0/", TargetError::Port),
            ("http://a:+25104/", TargetError::Port),
            ("http://[::1]:+25104/", TargetError::Port),
            ("http://a:/", TargetError::Port),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
        for text in [
            "http:///x",
            "http://",
            "http://[::1",
            "http://[fe80::1%25eth0]/",
            "http://a:99999/",
            "http://a_b!/",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
        assert_eq!(Target::parse(&format!("http://a/{}", "x".repeat(2048))), Err(TargetError::Long));
    }
}
