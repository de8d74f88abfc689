//! Object lock (AWS: "Locking objects with Object Lock"): what must not be deleted, and for how long. Versions are what is
//! locked, so a bucket with locks always keeps versions, and what is deleted without a version id stays behind a marker.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use super::documents::{self, Document};
use super::options;
use super::record::{Head, Kind};
use super::space::Bucket;
use super::versions::{self, Mode};
use super::xml;
use crate::backend::BackendError;
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::created::{self, moment};
use crate::s3::timestamp::iso_millis;
use crate::s3::xml::reader;

/// Names of the headers, under which locks are stored with their objects.
pub(crate) use crate::s3::headers::created::{HOLD, MODE, UNTIL};
const NAMES: [&str; 3] = [MODE, UNTIL, HOLD];
const GOVERNANCE: &str = "GOVERNANCE";
const COMPLIANCE: &str = "COMPLIANCE";
/// The longest default retention: 100 years.
const MOST_DAYS: i64 = 36_500;
const MOST_YEARS: i64 = 100;

/// The retention that new objects get.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    mode: String,
    period: Period,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Days(i64),
    Years(i64),
}

impl Period {
    fn after(self, millis: u64) -> Option<i64> {
        let from = OffsetDateTime::from_unix_timestamp(i64::try_from(millis / 1000).ok()?).ok()?;
        let until = match self {
            Self::Days(days) => from.checked_add(Duration::days(days))?,
            Self::Years(years) => {
                let year = from.year().checked_add(i32::try_from(years).ok()?)?;
                // The 29th of February becomes the 28th.
                let date = from.replace_year(year).or_else(|_| from.replace_day(28)?.replace_year(year));
                date.ok()?
            }
        };
        Some(until.unix_timestamp() * 1000)
    }
}

fn invalid(code: &str, text: &str) -> BackendError {
    BackendError::s3(400, code, text)
}

fn denied() -> BackendError {
    BackendError::s3(403, "AccessDenied", "Access Denied because object protected by object lock.")
}

fn no_lock_here() -> BackendError {
    invalid("InvalidRequest", "Bucket is missing ObjectLockConfiguration")
}

fn now() -> i64 {
    i64::try_from(options::now()).unwrap_or(i64::MAX)
}

/// Holds the lock headers of a write to S3's rules, and spells their date one way.
pub(crate) fn check_headers(headers: &mut BTreeMap<String, String>) -> Result<(), BackendError> {
    let text = |name| headers.get(name).map(String::as_str);
    if let Some(until) = created::lock(text(MODE), text(UNTIL), text(HOLD), now()).map_err(xml::refused)? {
        headers.insert(UNTIL.to_owned(), iso_millis(until));
    }
    Ok(())
}

fn in_future(until: i64) -> Result<(), BackendError> {
    if until > now() {
        return Ok(());
    }
    Err(invalid("InvalidArgument", "The retain until date must be in the future!"))
}

/// Gives a new object the lock that its bucket wants. Locks in a bucket that has none are refused.
pub(crate) fn complete(bucket: &Bucket, head: &mut Head, mode: Mode) -> Result<(), BackendError> {
    if head.kind != Kind::Object {
        return Ok(());
    }
    let asked = NAMES.iter().any(|name| head.headers.contains_key(*name));
    if mode != Mode::Enabled {
        return if asked { Err(no_lock_here()) } else { Ok(()) };
    }
    let Some(stored) = documents::read(bucket, Document::ObjectLock)? else {
        return if asked { Err(no_lock_here()) } else { Ok(()) };
    };
    if !head.headers.contains_key(MODE)
        && let Some(rule) = parse_configuration(stored.as_bytes())?
        && let Some(until) = rule.period.after(head.modified)
    {
        head.headers.insert(MODE.to_owned(), rule.mode);
        head.headers.insert(UNTIL.to_owned(), iso_millis(until));
    }
    Ok(())
}

/// Refuses lock headers where they could not be kept, before anything is received.
pub(crate) fn check_early(bucket: &Bucket, head: &Head) -> Result<(), BackendError> {
    let asked = NAMES.iter().any(|name| head.headers.contains_key(*name));
    if asked && documents::read(bucket, Document::ObjectLock)?.is_none() {
        return Err(no_lock_here());
    }
    Ok(())
}

/// A version's retention, while it lasts.
fn retention(head: &Head) -> Result<Option<(&str, i64)>, BackendError> {
    let (Some(mode), Some(until)) = (head.headers.get(MODE), head.headers.get(UNTIL)) else {
        return Ok(None);
    };
    // A date that cannot be read must not end a lock.
    let until = moment(until).ok_or_else(|| {
        std::io::Error::new(std::io::ErrorKind::InvalidData, "metadata file holds an impossible date")
    })?;
    Ok((until > now()).then_some((mode.as_str(), until)))
}

/// Whether a version may be deleted for good. `bypass`: x-amz-bypass-governance-retention.
pub(crate) fn check_delete(head: &Head, bypass: bool) -> Result<(), BackendError> {
    if head.headers.get(HOLD).is_some_and(|hold| hold == "ON") {
        return Err(denied());
    }
    match retention(head)? {
        Some((GOVERNANCE, _)) if bypass => Ok(()),
        Some(_) => Err(denied()),
        None => Ok(()),
    }
}

/// Reads `ObjectLockConfiguration`: the default retention.
fn parse_configuration(body: &[u8]) -> Result<Option<Rule>, BackendError> {
    let (mut enabled, mut ruled) = (false, false);
    let (mut mode, mut days, mut years) = (None, None, None);
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| reader::malformed());
    xml::parse(body, "ObjectLockConfiguration", |path, text| {
        match path {
            ["ObjectLockEnabled"] if text == "Enabled" => enabled = true,
            ["ObjectLockEnabled"] => return Err(reader::malformed()),
            ["Rule"] => ruled = true,
            ["Rule", "DefaultRetention", "Mode"] => mode = Some(known_mode(text)?),
            ["Rule", "DefaultRetention", "Days"] => days = Some(number(text)?),
            ["Rule", "DefaultRetention", "Years"] => years = Some(number(text)?),
            _ => {}
        }
        Ok(())
    })?;
    if !enabled {
        return Err(xml::malformed());
    }
    let period = match (days, years) {
        (None, None) if !ruled && mode.is_none() => return Ok(None),
        (Some(days), None) if (1..=MOST_DAYS).contains(&days) => Period::Days(days),
        (None, Some(years)) if (1..=MOST_YEARS).contains(&years) => Period::Years(years),
        (Some(_), None) | (None, Some(_)) => {
            return Err(invalid(
                "InvalidRetentionPeriod",
                "Default retention period must be a positive integer value, of at most 36500 days or 100 years.",
            ));
        }
        _ => return Err(xml::malformed()),
    };
    Ok(Some(Rule { mode: mode.ok_or_else(xml::malformed)?, period }))
}

fn known_mode(text: &str) -> Result<String, S3Error> {
    match text {
        GOVERNANCE | COMPLIANCE => Ok(text.to_owned()),
        _ => Err(reader::malformed()),
    }
}

fn configuration(rule: Option<&Rule>) -> String {
    let mut document = xml::Document::document("ObjectLockConfiguration");
    document.text("ObjectLockEnabled", "Enabled");
    if let Some(rule) = rule {
        document.nest("Rule", |xml| {
            xml.nest("DefaultRetention", |xml| {
                xml.text("Mode", &rule.mode);
                match rule.period {
                    Period::Days(days) => xml.text("Days", &days.to_string()),
                    Period::Years(years) => xml.text("Years", &years.to_string()),
                }
            });
        });
    }
    document.finish()
}

/// PutObjectLockConfiguration. There must be versions to lock.
pub(crate) fn put_configuration(bucket: &Bucket, body: &[u8]) -> Result<(), BackendError> {
    if body.is_empty() {
        return Err(xml::refused(S3Error::new(Code::MissingRequestBodyError)));
    }
    let rule = parse_configuration(body)?;
    let documents = documents::lock(bucket)?;
    if documents::read(bucket, Document::Versioning)?.as_deref() != Some("Enabled") {
        return Err(BackendError::s3(
            409,
            "InvalidBucketState",
            "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
        ));
    }
    documents.write(Document::ObjectLock, &configuration(rule.as_ref()))
}

/// GetObjectLockConfiguration.
pub(crate) fn get_configuration(bucket: &Bucket) -> Result<String, BackendError> {
    documents::read(bucket, Document::ObjectLock)?.ok_or_else(|| {
        BackendError::s3(
            404,
            "ObjectLockConfigurationNotFoundError",
            "Object Lock configuration does not exist for this bucket.",
        )
    })
}

/// CreateBucket with x-amz-bucket-object-lock-enabled: versions from the first object on.
pub(crate) fn enable(bucket: &Bucket) -> Result<(), BackendError> {
    let documents = documents::lock(bucket)?;
    documents.write(Document::Versioning, "Enabled")?;
    documents.write(Document::ObjectLock, &configuration(None))
}

/// For the fuzzer: what is kept is read again, and says the same.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(body: &[u8]) {
    if let Ok(rule) = parse_configuration(body) {
        let kept = configuration(rule.as_ref());
        assert!(parse_configuration(kept.as_bytes()).is_ok_and(|again| again == rule));
    }
}

/// Demands a bucket with locks, for the operations on them: of headers S3 says the same in other words.
fn need_configuration(bucket: &Bucket) -> Result<(), BackendError> {
    let none = || invalid("InvalidRequest", "Bucket is missing Object Lock Configuration");
    documents::read(bucket, Document::ObjectLock)?.map(drop).ok_or_else(none)
}

fn nothing_set() -> BackendError {
    BackendError::s3(
        404,
        "NoSuchObjectLockConfiguration",
        "The specified object does not have a ObjectLock configuration",
    )
}

/// GetObjectRetention.
pub(crate) fn get_retention(bucket: &Bucket, head: &Head) -> Result<String, BackendError> {
    need_configuration(bucket)?;
    let (Some(mode), Some(until)) = (head.headers.get(MODE), head.headers.get(UNTIL)) else {
        return Err(nothing_set());
    };
    let mut document = xml::Document::document("Retention");
    document.text("Mode", mode);
    document.text("RetainUntilDate", until);
    Ok(document.finish())
}

/// GetObjectLegalHold.
pub(crate) fn get_hold(bucket: &Bucket, head: &Head) -> Result<String, BackendError> {
    need_configuration(bucket)?;
    let hold = head.headers.get(HOLD).ok_or_else(nothing_set)?;
    let mut document = xml::Document::document("LegalHold");
    document.text("Status", hold);
    Ok(document.finish())
}

/// PutObjectRetention: longer at any time, shorter or otherwise only while a governance lock is passed over.
pub(crate) fn put_retention(
    bucket: &Bucket,
    key: &str,
    version: Option<&str>,
    body: &[u8],
    bypass: bool,
) -> Result<Head, BackendError> {
    let (mut mode, mut until) = (None, None);
    xml::parse(body, "Retention", |path, text| {
        match path {
            ["Mode"] => mode = Some(known_mode(text)?),
            ["RetainUntilDate"] => until = Some(moment(text).ok_or_else(reader::malformed)?),
            _ => {}
        }
        Ok(())
    })?;
    let wanted = match (mode, until) {
        (Some(mode), Some(until)) => {
            in_future(until)?;
            Some((mode, until))
        }
        (None, None) => None,
        _ => return Err(xml::malformed()),
    };
    need_configuration(bucket)?;
    versions::revise(bucket, key, version, |head| {
        if let Some((held, ends)) = retention(head)? {
            let extends = wanted.as_ref().is_some_and(|(mode, until)| mode == held && *until >= ends);
            let passed_over = held == GOVERNANCE && bypass;
            if !extends && !passed_over {
                return Err(denied());
            }
        }
        match wanted {
            Some((mode, until)) => {
                head.headers.insert(MODE.to_owned(), mode);
                head.headers.insert(UNTIL.to_owned(), iso_millis(until));
            }
            None => {
                head.headers.remove(MODE);
                head.headers.remove(UNTIL);
            }
        }
        Ok(())
    })
}

/// PutObjectLegalHold.
pub(crate) fn put_hold(
    bucket: &Bucket,
    key: &str,
    version: Option<&str>,
    body: &[u8],
) -> Result<Head, BackendError> {
    let mut status = None;
    xml::parse(body, "LegalHold", |path, text| {
        if let ["Status"] = path {
            status = match text {
                "ON" | "OFF" => Some(text.to_owned()),
                _ => return Err(reader::malformed()),
            };
        }
        Ok(())
    })?;
    let status = status.ok_or_else(xml::malformed)?;
    need_configuration(bucket)?;
    versions::revise(bucket, key, version, |head| {
        head.headers.insert(HOLD.to_owned(), status);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn rule(inner: &str) -> Result<Option<Rule>, BackendError> {
        let text = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{inner}</ObjectLockConfiguration>"
        );
        parse_configuration(text.as_bytes())
    }

    fn retention(inner: &str) -> Result<Option<Rule>, BackendError> {
        rule(&format!("<Rule><DefaultRetention>{inner}</DefaultRetention></Rule>"))
    }

    #[test]
    fn configurations_as_s3_takes_them() {
        assert_eq!(rule("").unwrap(), None);
        for period in ["<Days>1</Days>", "<Years>100</Years>"] {
            let rule = retention(&format!("<Mode>COMPLIANCE</Mode>{period}")).unwrap();
            assert_eq!(parse_configuration(configuration(rule.as_ref()).as_bytes()).unwrap(), rule);
        }
        for (inner, code) in [
            ("<Mode>GOVERNANCE</Mode><Days>0</Days>", "InvalidRetentionPeriod"),
            ("<Mode>GOVERNANCE</Mode><Years>-1</Years>", "InvalidRetentionPeriod"),
            ("<Mode>GOVERNANCE</Mode><Days>36501</Days>", "InvalidRetentionPeriod"),
            ("<Mode>governance</Mode><Days>1</Days>", "MalformedXML"),
            ("<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>", "MalformedXML"),
            ("<Mode>GOVERNANCE</Mode>", "MalformedXML"),
            ("<Days>1</Days>", "MalformedXML"),
            ("<Mode>GOVERNANCE</Mode><Days>x</Days>", "MalformedXML"),
        ] {
            let refused = retention(inner);
            assert!(refused.as_ref().is_err_and(|error| error.is(code)), "{inner}: {refused:?}");
        }
        let disabled = b"<ObjectLockConfiguration><ObjectLockEnabled>Disabled</ObjectLockEnabled></ObjectLockConfiguration>";
        assert!(parse_configuration(disabled).is_err_and(|error| error.is("MalformedXML")));
    }

    #[test]
    fn periods_end_on_the_same_day_of_the_calendar() {
        let leap_day = 1_709_164_800_000; // 2024-02-29
        assert_eq!(iso_millis(Period::Years(1).after(leap_day).unwrap()), "2025-02-28T00:00:00.000Z");
        assert_eq!(iso_millis(Period::Days(1).after(leap_day).unwrap()), "2024-03-01T00:00:00.000Z");
        assert_eq!(moment("2024-03-01T02:00:00+02:00"), moment("2024-03-01T00:00:00.000Z"));
        assert_eq!(moment("2024-03-01"), None);
    }

    #[test]
    fn headers_as_s3_takes_them() {
        let check = |pairs: &[(&str, &str)]| {
            let mut headers = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            check_headers(&mut headers).map(|()| headers)
        };
        let future = "2999-01-01T00:00:00Z";
        let held = check(&[(MODE, "GOVERNANCE"), (UNTIL, future), (HOLD, "ON")]).unwrap();
        assert_eq!(held[UNTIL], "2999-01-01T00:00:00.000Z");
        for bad in [
            &[(MODE, "GOVERNANCE")][..],
            &[(UNTIL, future)],
            &[(MODE, "governance"), (UNTIL, future)],
            &[(MODE, "GOVERNANCE"), (UNTIL, "2001-01-01T00:00:00Z")],
            &[(MODE, "GOVERNANCE"), (UNTIL, "soon")],
            &[(HOLD, "on")],
        ] {
            assert!(check(bad).is_err_and(|error| error.is("InvalidArgument")), "{bad:?}");
        }
    }
}
