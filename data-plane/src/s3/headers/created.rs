//! Headers of a new object that S3 itself holds to its rules, whatever storage lies below: locks (AWS: "Locking objects with
//! Object Lock") and where a website would redirect to. Decided here, so that every storage's refusal is S3's.

use http::HeaderMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::s3::error::{Code, S3Error};
use crate::s3::route::Operation;

/// How an object is locked.
pub const MODE: &str = "x-amz-object-lock-mode";
/// Until when.
pub const UNTIL: &str = "x-amz-object-lock-retain-until-date";
/// Whether it is held besides.
pub const HOLD: &str = "x-amz-object-lock-legal-hold";
const REDIRECT: &str = "x-amz-website-redirect-location";

/// Checks the headers of an operation that makes an object. `now` is in Unix seconds.
///
/// # Errors
/// InvalidArgument for a lock that is none, InvalidRedirectLocation.
pub fn check(operation: &Operation, headers: &HeaderMap, now: u64) -> Result<(), S3Error> {
    let makes = matches!(
        operation,
        Operation::PutObject
            | Operation::PostObject
            | Operation::CopyObject
            | Operation::CreateMultipartUpload
    );
    if !makes {
        return Ok(());
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}").trim());
    let millis = i64::try_from(now.saturating_mul(1_000)).unwrap_or(i64::MAX);
    lock(text(MODE), text(UNTIL), text(HOLD), millis)?;
    match text(REDIRECT) {
        Some(to) if !["/", "http://", "https://"].iter().any(|start| to.starts_with(start)) => {
            Err(S3Error::new(Code::InvalidRedirectLocation))
        }
        _ => Ok(()),
    }
}

/// Holds the values of the three lock headers to S3's rules, and gives the end of the retention in Unix milliseconds. `now` is
/// in Unix milliseconds too.
///
/// # Errors
/// InvalidArgument.
pub fn lock(
    mode: Option<&str>,
    until: Option<&str>,
    hold: Option<&str>,
    now: i64,
) -> Result<Option<i64>, S3Error> {
    if let Some(hold) = hold.filter(|hold| !matches!(*hold, "ON" | "OFF")) {
        return Err(S3Error::invalid_argument(HOLD, hold, "Legal Hold must be either of 'ON' or 'OFF'"));
    }
    let both = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied.";
    match (mode, until) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(S3Error::invalid_argument(UNTIL, "", both)),
        (None, Some(_)) => Err(S3Error::invalid_argument(MODE, "", both)),
        (Some(mode), Some(_)) if !matches!(mode, "GOVERNANCE" | "COMPLIANCE") => {
            Err(S3Error::invalid_argument(MODE, mode, "Unknown wormMode directive."))
        }
        (Some(_), Some(until)) => {
            let wrong = |text: &'static str| S3Error::invalid_argument(UNTIL, until, text);
            let at = moment(until)
                .ok_or_else(|| wrong("The retain until date must be provided in ISO 8601 format"))?;
            if at > now { Ok(Some(at)) } else { Err(wrong("The retain until date must be in the future!")) }
        }
    }
}

/// Unix milliseconds of an ISO 8601 moment.
#[must_use]
pub fn moment(text: &str) -> Option<i64> {
    let nanos = OffsetDateTime::parse(text.trim(), &Rfc3339).ok()?.unix_timestamp_nanos();
    i64::try_from(nanos / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{HOLD, MODE, REDIRECT, UNTIL, check};
    use crate::s3::error::S3Error;
    use crate::s3::route::Operation;
    use http::{HeaderMap, HeaderValue};

    fn of(operation: &Operation, pairs: &[(&'static str, &'static str)]) -> Result<(), S3Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check(operation, &headers, 1_000)
    }

    #[test]
    fn locks_and_redirects_in_s3s_words() {
        let future = "2999-01-01T00:00:00Z";
        let good =
            [(MODE, "COMPLIANCE"), (UNTIL, "1970-01-01T00:16:41Z"), (HOLD, "OFF"), (REDIRECT, "https://a/b")];
        assert_eq!(of(&Operation::PutObject, &good), Ok(()));
        for (bad, text) in [
            (&[(HOLD, "on")][..], "Legal Hold must be either of 'ON' or 'OFF'"),
            (&[(MODE, "worm"), (UNTIL, future)], "Unknown wormMode directive."),
            (
                &[(MODE, "GOVERNANCE")],
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied.",
            ),
            (
                &[(UNTIL, future)],
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied.",
            ),
            (
                &[(MODE, "GOVERNANCE"), (UNTIL, "soon")],
                "The retain until date must be provided in ISO 8601 format",
            ),
            (
                &[(MODE, "GOVERNANCE"), (UNTIL, "1970-01-01T00:16:40Z")],
                "The retain until date must be in the future!",
            ),
            (
                &[(REDIRECT, "ftp://a/b")],
                "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
            ),
        ] {
            for operation in [
                Operation::PutObject,
                Operation::CopyObject,
                Operation::CreateMultipartUpload,
                Operation::PostObject,
            ] {
                assert_eq!(of(&operation, bad).unwrap_err().message(), text, "{bad:?}");
            }
            assert_eq!(of(&Operation::UploadPart, bad), Ok(()), "{bad:?}");
        }
    }
}
