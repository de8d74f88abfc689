//! ACLs as requests say them (AWS: PutBucketAcl, PutObjectAcl, CreateBucket): a canned one, grants in headers, a document.

use http::HeaderMap;

use crate::s3::error::{Code, S3Error};

/// Demands that a request which sets an ACL says one, in one place; `document` says whether it has a body. Storages say so too,
/// with a code that would speak of the gateway's own request, and not of headers that are not sent on.
///
/// # Errors
/// MissingSecurityHeader, UnexpectedContent.
pub fn check_said(headers: &HeaderMap, document: bool) -> Result<(), S3Error> {
    let canned = headers.contains_key("x-amz-acl");
    let header = canned || headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-"));
    match (header, document) {
        (true, true) => Err(S3Error::new(Code::UnexpectedContent)),
        (false, false) => {
            Err(S3Error::new(Code::MissingSecurityHeader).field("MissingHeaderName", "x-amz-acl"))
        }
        _ => Ok(()),
    }
}

/// What nobody may grant in a bucket whose owner owns all.
const ENFORCED: &str = "BucketOwnerEnforced";
/// Canned ACLs that grant nobody anything.
const PRIVATE: [&str; 3] = ["private", "bucket-owner-full-control", "bucket-owner-read"];

/// Checks what CreateBucket says of ownership and ACLs.
///
/// # Errors
/// InvalidArgument for an ownership that S3 does not have, InvalidBucketAclWithObjectOwnership for a grant that it rules out.
pub fn check_bucket(headers: &HeaderMap) -> Result<(), S3Error> {
    const NAME: &str = "x-amz-object-ownership";
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    match text(NAME) {
        None | Some("BucketOwnerPreferred" | "ObjectWriter") => Ok(()),
        Some(ENFORCED) => {
            let opens = text("x-amz-acl").is_some_and(|canned| !PRIVATE.contains(&canned))
                || headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-"));
            match opens {
                true => Err(S3Error::new(Code::InvalidBucketAclWithObjectOwnership)),
                false => Ok(()),
            }
        }
        Some(other) => Err(S3Error::with(
            Code::InvalidArgument,
            format!("Invalid x-amz-object-ownership header: {other}"),
        )
        .field("ArgumentName", NAME)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{check_bucket, check_said};
    use crate::s3::error::Code;
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn ownership_rules_grants_out() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
            check_bucket(&pairs.collect()).map_err(|error| error.message().to_owned())
        };
        let (ownership, acl) = ("x-amz-object-ownership", "x-amz-acl");
        assert_eq!(of(&[(acl, "public-read")]), Ok(()));
        assert_eq!(of(&[(ownership, "BucketOwnerEnforced"), (acl, "private")]), Ok(()));
        assert_eq!(of(&[(ownership, "ObjectWriter"), (acl, "public-read")]), Ok(()));
        let ruled_out = Err(Code::InvalidBucketAclWithObjectOwnership.text().to_owned());
        assert_eq!(of(&[(ownership, "BucketOwnerEnforced"), (acl, "public-read")]), ruled_out);
        assert_eq!(of(&[(ownership, "BucketOwnerEnforced"), ("x-amz-grant-read", "id=1")]), ruled_out);
        let unknown = Err("Invalid x-amz-object-ownership header: mine".to_owned());
        assert_eq!(of(&[(ownership, "mine")]), unknown);
    }

    #[test]
    fn an_acl_is_said_in_one_of_three_ways() {
        let said = |names: &[&'static str], document| {
            let headers: HeaderMap = names
                .iter()
                .map(|name| (http::HeaderName::from_static(name), HeaderValue::from_static("private")))
                .collect();
            check_said(&headers, document).map_err(|error| error.code())
        };
        assert_eq!(said(&["x-amz-acl"], false), Ok(()));
        assert_eq!(said(&["x-amz-grant-read"], false), Ok(()));
        assert_eq!(said(&[], true), Ok(()));
        assert_eq!(said(&["x-amz-date"], false), Err(Code::MissingSecurityHeader));
    }
}
