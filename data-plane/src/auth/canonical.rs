//! SigV4's canonical request, as S3 forms it (AWS: "Create a signed AWS API request", "Signature Version 4 for S3"):
//! the path is encoded once and not normalised, query pairs are sorted by their encoded form, header values are trimmed
//! and inner runs of blanks folded.

use crate::s3::error::{Code, S3Error};
use crate::s3::request::{Query, host};
use crate::s3::uri::{Plus, decode, encode, encode_into};
use http::request::Parts;

/// The most headers that a signature may name.
const MAX_SIGNED_HEADERS: usize = 128;

/// The canonical path. Each segment is decoded and encoded anew, so that clients that leave, say, `(` as it is match what
/// they signed; an escaped slash stays escaped, since that is how its sender signed it.
pub(super) fn path(raw: &str) -> Result<String, S3Error> {
    let mut out = String::with_capacity(raw.len() + 16);
    for (at, segment) in raw.split('/').enumerate() {
        if at > 0 {
            out.push('/');
        }
        let bytes =
            decode(segment.as_bytes(), Plus::Literal).ok_or_else(|| S3Error::new(Code::InvalidURI))?;
        encode_into(&mut out, &bytes, false);
    }
    Ok(out)
}

/// The canonical query, without the signature itself.
pub(super) fn query(query: &Query) -> String {
    let mut pairs: Vec<(String, String)> = query
        .pairs()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("X-Amz-Signature"))
        .map(|(name, value)| (encode(name.as_bytes(), false), encode(value.as_bytes(), false)))
        .collect();
    pairs.sort();
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&name);
        out.push('=');
        out.push_str(&value);
    }
    out
}

/// The canonical headers of those that `signed` (`a;b;c`) names. A header that is named but not there counts as empty:
/// nothing can be gained by that, and some clients name one that their HTTP library then drops.
///
/// # Errors
/// AccessDenied with `HeadersNotSigned` when Host or an `x-amz-*` header that the request carries is not among them.
pub(super) fn headers(parts: &Parts, signed: &str) -> Result<Vec<u8>, S3Error> {
    let names: Vec<&str> = signed.split(';').collect();
    let valid = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':' && !b.is_ascii_uppercase())
    };
    if names.len() > MAX_SIGNED_HEADERS || !names.iter().all(valid) {
        return Err(S3Error::with(Code::AuthorizationHeaderMalformed, "The SignedHeaders are malformed."));
    }
    let unsigned: Vec<&str> = parts
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-"))
        .chain(["host"])
        .filter(|name| !names.contains(name))
        .collect();
    if !unsigned.is_empty() {
        return Err(S3Error::with(
            Code::AccessDenied,
            "There were headers present in the request which were not signed",
        )
        .field("HeadersNotSigned", unsigned.join(", ")));
    }
    let mut out = Vec::with_capacity(512);
    for name in names {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        let mut values = parts.headers.get_all(name).iter().peekable();
        if values.peek().is_none() && name == "host" {
            folded(&mut out, host(parts).unwrap_or("").as_bytes());
        }
        for (at, value) in values.enumerate() {
            if at > 0 {
                out.push(b',');
            }
            folded(&mut out, value.as_bytes());
        }
        out.push(b'\n');
    }
    Ok(out)
}

/// Appends a value without blanks at its ends and with inner runs of blanks as one space.
fn folded(out: &mut Vec<u8>, value: &[u8]) {
    let mut first = true;
    for word in value.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty()) {
        if !first {
            out.push(b' ');
        }
        first = false;
        out.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{headers, path, query};
    use crate::s3::error::Code;
    use crate::s3::request::Query;

    #[test]
    fn paths_are_encoded_once() {
        assert_eq!(path("/b/a%20b(c)").unwrap(), "/b/a%20b%28c%29");
        assert_eq!(path("/b//x/../y/").unwrap(), "/b//x/../y/");
        assert_eq!(path("/b/a%2fb~%7E+").unwrap(), "/b/a%2Fb~~%2B");
        assert_eq!(path("/b/%e2%82%ac").unwrap(), "/b/%E2%82%AC");
    }

    #[test]
    fn queries_are_sorted_and_lose_the_signature() {
        let parsed = Query::parse("b=2&a=%2F&B=1&uploads&a=%20&X-Amz-Signature=zz").unwrap();
        assert_eq!(query(&parsed), "B=1&a=%20&a=%2F&b=2&uploads=");
    }

    #[test]
    fn values_are_folded_and_joined() {
        let (parts, ()) = http::Request::builder()
            .uri("/")
            .header("host", "h")
            .header("x-amz-meta-a", "  a   b\t c ")
            .header("x-amz-meta-a", "d")
            .body(())
            .unwrap()
            .into_parts();
        assert_eq!(headers(&parts, "host;x-amz-meta-a").unwrap(), b"host:h\nx-amz-meta-a:a b c,d\n");
        let error = headers(&parts, "host").unwrap_err();
        assert_eq!((error.code(), error.get("HeadersNotSigned")), (Code::AccessDenied, Some("x-amz-meta-a")));
        assert_eq!(headers(&parts, "x-amz-meta-a").unwrap_err().get("HeadersNotSigned"), Some("host"));
        assert_eq!(headers(&parts, "Host").unwrap_err().code(), Code::AuthorizationHeaderMalformed);
    }
}
