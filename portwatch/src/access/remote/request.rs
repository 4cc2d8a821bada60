//! A question as the path of a request.

use serde::Serialize;

use crate::access::AccessError;

/// `at` with the fields of `query` that are set.
pub(super) fn path(at: &str, query: &impl Serialize) -> Result<String, AccessError> {
    let value = serde_json::to_value(query).map_err(|error| AccessError::Internal(error.to_string()))?;
    let mut pairs = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        pairs.push(format!("{name}={}", escape(&text)));
    }
    Ok(if pairs.is_empty() { at.to_owned() } else { format!("{at}?{}", pairs.join("&")) })
}

/// Every byte that is not unreserved (RFC 3986) as `%XX`.
pub(super) fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::LogQuery;

    #[test]
    fn a_query_becomes_escaped_pairs_of_what_is_set() {
        let query = LogQuery { filter: Some("a b&c=*".to_owned()), limit: Some(0), ..LogQuery::default() };
        let path = path("/v1/log", &query).unwrap();
        assert_eq!(path, "/v1/log?all=false&filter=a%20b%26c%3D%2A&limit=0&newest_first=false");
    }
}
