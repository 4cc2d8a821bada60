//! A pasted URL, as the place that it names.

use std::borrow::Cow;

/// Why a URL names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another kind of URL.
    #[error(
        "of URLs those of http, https, ws, wss, tcp and udp are understood, not of '{0}'; write the port or HOST:PORT"
    )]
    Scheme(String),
    /// No port, and none goes without saying.
    #[error("a URL of '{0}' without a port names no place; write {0}://HOST:PORT")]
    Port(String),
    /// No host.
    #[error("this URL names no host; write http://localhost:3100")]
    Host,
}

/// `http://localhost:3100/x?y` as `localhost:3100/tcp`; what is no URL as it is. Nothing of a path, a query or a password is kept.
///
/// # Errors
/// A URL that names no place.
pub fn without_url(text: &str) -> Result<Cow<'_, str>, UrlError> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(Cow::Borrowed(text)) };
    let scheme = scheme.to_ascii_lowercase();
    let (protocol, default) = match scheme.as_str() {
        "http" | "ws" => ("tcp", Some("80")),
        "https" | "wss" => ("tcp", Some("443")),
        "tcp" => ("tcp", None),
        "udp" => ("udp", None),
        _ => return Err(UrlError::Scheme(scheme)),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    // The colons of [::1] are those of an address.
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (place, ""),
    };
    let port = Some(port).filter(|port| !port.is_empty()).or(default);
    let port = port.ok_or_else(|| UrlError::Port(scheme.clone()))?;
    if host.is_empty() {
        return Err(UrlError::Host);
    }
    // There the sign before a zone is written as three (RFC 6874).
    let host = match host.split_once("%25") {
        Some((address, zone)) if !matches!(zone, "" | "]") => Cow::Owned(format!("{address}%{zone}")),
        _ if host.eq_ignore_ascii_case("localhost") => Cow::Borrowed("localhost"),
        _ => Cow::Borrowed(host),
    };
    Ok(Cow::Owned(format!("{host}:{port}/{protocol}")))
}

#[cfg(test)]
mod tests {
    use super::{UrlError, without_url};

    #[test]
    fn a_url_is_the_place_it_names() {
        for (url, place) in [
            ("3100", "3100"),
            ("localhost:3100/udp", "localhost:3100/udp"),
            ("http://localhost:3100/", "localhost:3100/tcp"),
            ("HTTP://LocalHost:3100", "localhost:3100/tcp"),
            ("https://127.0.0.1:8443/x?y", "127.0.0.1:8443/tcp"),
            ("https://127.0.0.1", "127.0.0.1:443/tcp"),
            ("http://localhost:?x", "localhost:80/tcp"),
            ("ws://[::1]/chat#a:b", "[::1]:80/tcp"),
            ("wss://[::1]:9443", "[::1]:9443/tcp"),
            ("tcp://0.0.0.0:5432/", "0.0.0.0:5432/tcp"),
            ("udp://127.0.0.1:53", "127.0.0.1:53/udp"),
            ("http://[fe80::1%25eth0]:3100/", "[fe80::1%eth0]:3100/tcp"),
            ("http://[fe80::1%25]", "[fe80::1%25]:80/tcp"),
            ("http://[fe80::1%7]", "[fe80::1%7]:80/tcp"),
            ("http://me:secret@localhost:3100/a@b", "localhost:3100/tcp"),
        ] {
            assert_eq!(without_url(url).unwrap(), place, "{url}");
        }
        assert_eq!(without_url("postgres://localhost:5432"), Err(UrlError::Scheme("postgres".to_owned())));
        assert_eq!(without_url("tcp://localhost"), Err(UrlError::Port("tcp".to_owned())));
        assert_eq!(without_url("http:///x"), Err(UrlError::Host));
        assert_eq!(without_url("http://:80"), Err(UrlError::Host));
    }
}
