//! The signature of what is sent.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// `v1=` and HMAC-SHA256 (RFC 2104) of the time, a full stop and the body, in hexadecimal. With the time in it, what was sent once
/// cannot be sent again later by somebody else.
pub fn sign(secret: &[u8], timestamp: i64, body: &[u8]) -> String {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut out = "v1=".to_owned();
    for byte in mac.finalize().into_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::sign;

    #[test]
    fn the_signature_is_the_one_that_others_compute() {
        // python3 -c 'import hmac; print(hmac.new(b"0123456789abcdef", b"1772414790.{}", "sha256").hexdigest())'
        let expected = "v1=501afd6570b82575703011947267e0ea01f0394884ebbf84bf2202c871bcfa05";
        assert_eq!(sign(b"0123456789abcdef", 1_772_414_790, b"{}"), expected);
        assert_ne!(sign(b"0123456789abcdeg", 1_772_414_790, b"{}"), expected);
        assert_ne!(sign(b"0123456789abcdef", 1_772_414_791, b"{}"), expected);
    }
}
