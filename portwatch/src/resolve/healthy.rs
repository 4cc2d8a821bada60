//! Does the server that listens at a place answer?

use std::net::SocketAddr;

use super::ResolveError;
use crate::health::{self, Check, Health, Report};

/// Asks, and waits for the answer no longer than the check allows.
pub(super) fn ask(at: SocketAddr, check: &Check) -> Result<Report, ResolveError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ResolveError::Io { operation: "start asking".to_owned(), error })?;
    Ok(runtime.block_on(health::probe(at, check)))
}

/// `503 Service Unavailable, 3 ms`
pub(super) fn in_words(report: &Report) -> String {
    let ms = report.latency.as_millis();
    match (&report.health, report.status) {
        (_, Some(status)) => {
            let reason = hyper::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
            reason.map_or_else(
                || format!("answers {status}, {ms} ms"),
                |r| format!("answers {status} {r}, {ms} ms"),
            )
        }
        (Health::Healthy | Health::WrongStatus, None) => format!("accepts connections, {ms} ms"),
        (Health::Refused, None) => "refuses connections".to_owned(),
        (Health::Timeout, None) => format!("accepts and does not answer within {ms} ms"),
        (Health::NoHttp(why), None) => format!("does not speak HTTP: {why}"),
        (Health::Unreachable(why), None) => format!("cannot be reached: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, thread, time::Duration};

    use super::{ask, in_words};
    use crate::health::{Check, Health};

    fn answered(answer: &'static [u8], path: Option<&str>) -> (bool, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Reads the request, so that closing does not reset.
            let mut buffer = [0; 1024];
            let _ = std::io::Read::read(&mut stream, &mut buffer);
            stream.write_all(answer).unwrap();
            stream
        });
        let timeout = Duration::from_millis(300);
        let check = Check { path: path.map(str::to_owned), timeout, ..Check::default() };
        let report = ask(address, &check).unwrap();
        drop(server.join().unwrap());
        let words = in_words(&report);
        (report.health == Health::Healthy, words.split(',').next().unwrap_or_default().to_owned())
    }

    #[test]
    fn the_status_decides_and_it_is_said_in_words() {
        let said = |answer, path| answered(answer, path);
        let empty = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(said(empty, Some("/up")), (true, "answers 200 OK".to_owned()));
        let busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(said(busy, None), (false, "answers 503 Service Unavailable".to_owned()));
        assert_eq!(said(b"SSH-2.0-x\r\n", None), (true, "accepts connections".to_owned()));
        assert!(said(b"", Some("/up")).1.starts_with("accepts and does not answer"));
    }
}
