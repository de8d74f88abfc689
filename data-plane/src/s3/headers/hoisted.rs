//! Headers that presigners move into the query, so that whoever uses the URL need not send them: JS v3 moves all `x-amz-*`.
//! As with S3 they are then headers, and are merged into those before anything is decided by them.
//!
//! Only what is in the query of a request whose signature stands there may be merged: all of such a query is signed. What
//! signs stays in the query, and so does what frames the body, which only its sender knows. A name that is not known stays
//! too, and the router refuses it.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::body::checksum::{Algorithm, Checksum};
use crate::s3::error::{Code, S3Error};
use crate::s3::request::S3Request;
use crate::s3::route::{COPY_SOURCE, Operation, WITH_BUCKETS, WITH_DELETIONS, WITH_OBJECTS, route};

/// Begins the names of user metadata.
const METADATA: &str = "x-amz-meta-";

/// Known beside those that go to the storage, user metadata and the values of checksums.
const KNOWN: &[&str] = &[
    COPY_SOURCE,
    "x-amz-bucket-object-lock-token",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-mode",
    "x-amz-checksum-type",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
    "x-amz-expected-bucket-owner",
    "x-amz-if-match-initiated-time",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
    "x-amz-max-parts",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-object-attributes",
    "x-amz-part-number-marker",
    "x-amz-rename-source",
    "x-amz-request-payer",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-source-expected-bucket-owner",
    "x-amz-tagging-directive",
    "x-amz-transition-default-minimum-object-size",
    "x-amz-write-offset-bytes",
];

/// Moves the headers that stand in a presigned request's query to its headers.
///
/// # Errors
/// InvalidRequest where the same header is there with another value, InvalidArgument for a value that no header can have
/// and for a name that is there twice.
pub fn merge(request: &mut S3Request, headers: &mut HeaderMap) -> Result<(), S3Error> {
    let mut found = BTreeMap::new();
    let mut of_nothing = BTreeMap::new();
    for (name, value) in request.query.pairs() {
        let Some(header) = header(name) else { continue };
        let found = if is_of_nothing(header.as_str(), value) { &mut of_nothing } else { &mut found };
        let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes());
        let value = value.map_err(|_| unfit(&header, "The value cannot stand in a header."))?;
        if found.insert(header.as_str().to_owned(), (header.clone(), value)).is_some() {
            return Err(unfit(&header, "The parameter must be there once."));
        }
    }
    take(found, headers)?;
    request.query.retain(|name, _| header(name).is_none());
    // With other requests than these the body that was there was meant, an empty one too.
    let has_body = matches!(route(request, headers), Ok(Operation::PutObject | Operation::UploadPart));
    if has_body { Ok(()) } else { take(of_nothing, headers) }
}

/// Sets headers, unless they were sent with other values.
fn take(found: BTreeMap<String, (HeaderName, HeaderValue)>, headers: &mut HeaderMap) -> Result<(), S3Error> {
    for (header, value) in found.into_values() {
        if headers.get_all(&header).iter().any(|sent| sent.as_bytes().trim_ascii() != value.as_bytes()) {
            return Err(S3Error::with(
                Code::InvalidRequest,
                format!("The header {header} and the query parameter of that name have different values."),
            ));
        }
        headers.insert(header, value);
    }
    Ok(())
}

/// The header that a parameter stands for, in whatever case a presigner writes it.
fn header(parameter: &str) -> Option<HeaderName> {
    let name = parameter.to_ascii_lowercase();
    let own = name.strip_prefix(METADATA).is_some_and(|own| !own.is_empty());
    let lists = [KNOWN, WITH_OBJECTS, WITH_BUCKETS, WITH_DELETIONS];
    let known = own
        || lists.iter().any(|list| list.contains(&name.as_str()))
        || Algorithm::from_header(&name).is_some();
    if known { HeaderName::try_from(name).ok() } else { None }
}

/// Whether it is the CRC of no bytes: JS v3 and Go v2 make it of the body that they do not have when they presign a write. It
/// says nothing of the one that comes, and S3 passes over it. A digest was asked for, and holds.
fn is_of_nothing(header: &str, value: &str) -> bool {
    let crc = |algorithm: &Algorithm| algorithm.combines();
    Algorithm::from_header(header)
        .filter(crc)
        .is_some_and(|algorithm| value == Checksum::of(algorithm, b"").to_base64())
}

fn unfit(header: &HeaderName, why: &'static str) -> S3Error {
    S3Error::invalid_argument(header.as_str(), "", why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use http::{HeaderMap, HeaderValue};

    use super::merge;
    use crate::s3::error::Code;
    use crate::s3::request::S3Request;
    use crate::s3::route::{Operation, needs_configure, route};

    fn presigned(query: &str) -> S3Request {
        let (parts, ()) = http::Request::builder()
            .method("PUT")
            .uri(format!("/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&{query}"))
            .body(())
            .unwrap()
            .into_parts();
        S3Request::parse(&parts, &[]).unwrap()
    }

    fn merged(query: &str) -> (S3Request, HeaderMap) {
        let (mut request, mut headers) = (presigned(query), HeaderMap::new());
        merge(&mut request, &mut headers).unwrap();
        (request, headers)
    }

    fn refused(query: &str, sent: &'static str) -> Code {
        let (mut request, mut headers) = (presigned(query), HeaderMap::new());
        if !sent.is_empty() {
            headers.insert("x-amz-acl", HeaderValue::from_static(sent));
        }
        merge(&mut request, &mut headers).unwrap_err().code()
    }

    #[test]
    fn what_is_known_is_a_header_and_no_parameter() {
        let (request, headers) = merged(
            "x-amz-meta-a=%20b%20c%20&X-Amz-Storage-Class=STANDARD&x-amz-tagging=a%3D1&x-id=PutObject",
        );
        assert_eq!(headers.len(), 3);
        assert_eq!(
            (&headers["x-amz-meta-a"], &headers["x-amz-tagging"]),
            (&"b c".parse::<HeaderValue>().unwrap(), &"a=1".parse().unwrap())
        );
        assert_eq!(
            request.query.pairs().map(|(name, _)| name).collect::<Vec<_>>(),
            ["X-Amz-Algorithm", "x-id"]
        );
        assert_eq!(route(&request, &headers).unwrap(), Operation::PutObject);
    }

    /// Whoever may only write must not publish by a URL of their own, nor copy what they may not read.
    #[test]
    fn what_needs_more_by_header_needs_it_by_query() {
        let (_, headers) = merged("x-amz-acl=public-read");
        assert!(needs_configure(&headers));
        let (_, headers) = merged("X-Amz-Bypass-Governance-Retention=true");
        assert!(needs_configure(&headers));
        let (request, headers) = merged("X-Amz-Copy-Source=%2Fother%2Fkey");
        assert_eq!(route(&request, &headers).unwrap(), Operation::CopyObject);
        let (request, headers) = merged("x-amz-write-offset-bytes=1");
        assert!(matches!(route(&request, &headers).unwrap(), Operation::NotImplemented(_)));
    }

    #[test]
    fn what_signs_what_frames_and_what_is_unknown_stays() {
        for name in [
            "x-amz-content-sha256",
            "x-amz-credential",
            "x-amz-date",
            "x-amz-decoded-content-length",
            "x-amz-expires",
            "x-amz-meta-",
            "x-amz-meta-a%20b",
            "x-amz-new",
            "x-amz-sdk-checksum-algorithm",
            "x-amz-security-token",
            "x-amz-signature",
            "x-amz-signedheaders",
            "x-amz-te",
            "x-amz-trailer",
            "content-type",
            "if-match",
        ] {
            let (request, headers) = merged(&format!("{name}=x"));
            assert!(headers.is_empty() && request.query.pairs().count() == 2, "{name}");
        }
    }

    #[test]
    fn two_values_are_refused() {
        assert_eq!(refused("x-amz-acl=private", "public-read"), Code::InvalidRequest);
        assert_eq!(refused("x-amz-acl=private&X-Amz-Acl=private", ""), Code::InvalidArgument);
        assert_eq!(refused("x-amz-meta-a=b%0d%0ax-amz-acl:public-read", ""), Code::InvalidArgument);
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-acl", HeaderValue::from_static("private"));
        merge(&mut presigned("x-amz-acl=private"), &mut headers).unwrap();
        assert_eq!(headers.get_all("x-amz-acl").iter().count(), 1);
    }

    #[test]
    fn a_checksum_counts_unless_it_is_of_nothing() {
        let (request, headers) =
            merged("x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32");
        assert!(headers.is_empty());
        assert_eq!(route(&request, &headers).unwrap(), Operation::PutObject);
        let (_, headers) = merged("x-amz-checksum-crc32=AAAAAA%3D%3D&tagging");
        assert_eq!(headers["x-amz-checksum-crc32"], "AAAAAA==", "tags are signed with their body");
        let (_, headers) = merged("x-amz-checksum-sha1=2jmj7l5rSw0yVb%2FvlWAYkK%2FYBwk%3D");
        assert_eq!(headers.len(), 1, "no SDK makes a digest unasked");
        let (_, headers) = merged("x-amz-checksum-crc32=y%2FQ5Jg%3D%3D");
        assert_eq!(headers["x-amz-checksum-crc32"], "y/Q5Jg==");
    }
}
