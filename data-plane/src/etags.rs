//! ETags in conditions: what a client says of its ETags becomes what the backend knows, and back.

use http::HeaderMap;
use sealgate_envelope::etag;

use crate::backend::{Conditions, ObjectMeta};
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::conditions::{self as asked, ETags, Outcome};
use crate::s3::timestamp::unix_millis;

/// An ETag that no storage gives. A condition that names none is sent with it, since an empty header is no condition to
/// servers: the write that it is to prevent would be made.
const NOBODYS: &str = "00000000000000000000000000000000-0";

/// A backend's ETag as an encrypted prefix shows it, in quotes.
pub fn to_client_quoted(backend: &str) -> String {
    format!("\"{}\"", etag::to_client(etag::without_quotes(backend)))
}

/// A backend's ETag as a client sees it, in quotes.
pub fn shown(backend: &str, encrypted: bool) -> String {
    if encrypted { to_client_quoted(backend) } else { format!("\"{}\"", etag::without_quotes(backend)) }
}

/// A request's conditions, in the backend's ETags and in the one spelling that every server reads.
///
/// # Errors
/// A list that cannot be read: ignoring it would overwrite silently.
pub fn conditions(headers: &HeaderMap, encrypted: bool) -> Result<Conditions, S3Error> {
    let asked = asked::Conditions::from_headers(headers)?;
    let date = |unix: i64| {
        let since = std::time::Duration::from_secs(u64::try_from(unix).unwrap_or(0));
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
    };
    Ok(Conditions {
        if_match: asked.if_match.map(|tags| list(&tags, encrypted)),
        if_none_match: asked.if_none_match.map(|tags| list(&tags, encrypted)),
        if_modified_since: asked.if_modified_since.map(date),
        if_unmodified_since: asked.if_unmodified_since.map(date),
    })
}

/// Holds a read's conditions against what the backend answered: not every server honours all of them.
///
/// # Errors
/// NotModified or PreconditionFailed.
pub fn check_read(headers: &HeaderMap, meta: &ObjectMeta, encrypted: bool) -> Result<(), S3Error> {
    let asked = asked::Conditions::from_headers(headers)?;
    if asked.is_empty() {
        return Ok(());
    }
    let shown = shown(&meta.etag, encrypted);
    let modified = unix_millis(meta.last_modified).div_euclid(1_000);
    match asked.for_read(etag::without_quotes(&shown), modified) {
        Outcome::Proceed => Ok(()),
        Outcome::NotModified => Err(S3Error::new(Code::NotModified)
            .field("ETag", shown)
            .field("LastModified", httpdate::fmt_http_date(meta.last_modified))),
        Outcome::Failed(condition) => Err(S3Error::precondition_failed(condition)),
    }
}

/// The conditions of a write: dates count for reads only.
///
/// # Errors
/// As [`conditions`], and NotImplemented for an If-None-Match that names ETags, as S3.
pub fn write_conditions(headers: &HeaderMap, encrypted: bool) -> Result<Conditions, S3Error> {
    let all = conditions(headers, encrypted)?;
    if all.if_none_match.as_deref().is_some_and(|tags| tags != "*") {
        return Err(S3Error::new(Code::NotImplemented).field("Header", "If-None-Match"));
    }
    Ok(Conditions { if_match: all.if_match, if_none_match: all.if_none_match, ..Conditions::default() })
}

/// An ETag of a condition, without quotes, as the backend has it. An empty one is nobody's.
pub fn wanted(etag: &str, encrypted: bool) -> String {
    match (etag.is_empty(), encrypted) {
        (true, _) => NOBODYS.to_owned(),
        (false, true) => etag::to_backend(etag),
        (false, false) => etag.to_owned(),
    }
}

fn list(tags: &ETags, encrypted: bool) -> String {
    match tags {
        ETags::Any => "*".to_owned(),
        ETags::Of(tags) if tags.is_empty() => format!("\"{NOBODYS}\""),
        ETags::Of(tags) => {
            let quoted: Vec<String> =
                tags.iter().map(|tag| format!("\"{}\"", wanted(tag, encrypted))).collect();
            quoted.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{NOBODYS, conditions, shown, wanted, write_conditions};
    use http::HeaderMap;

    const HEX: &str = "0123456789abcdef0123456789abcdef";

    fn headers(list: &[(&'static str, String)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn conditions_come_back_to_the_backends_etags() {
        let seen = shown(HEX, true);
        assert_eq!(seen, format!("\"{HEX}-0\""));
        let asked = headers(&[("if-match", format!("{seen}, \"other\"")), ("if-none-match", "*".to_owned())]);
        let translated = conditions(&asked, true).unwrap();
        assert_eq!(translated.if_match.unwrap(), format!("\"{HEX}\", \"other\""));
        assert_eq!(translated.if_none_match.unwrap(), "*");
    }

    #[test]
    fn an_unquoted_etag_is_the_same_condition() {
        let asked = headers(&[("if-match", format!("{HEX}-0"))]);
        assert_eq!(conditions(&asked, true).unwrap().if_match.unwrap(), format!("\"{HEX}\""));
    }

    #[test]
    fn a_bare_digest_is_nobodys_etag() {
        let asked = headers(&[("if-match", format!("\"{HEX}\""))]);
        assert_eq!(conditions(&asked, true).unwrap().if_match.unwrap(), format!("\"{HEX}-0\""));
    }

    #[test]
    fn plain_prefixes_translate_nothing() {
        let asked = headers(&[("if-match", format!("\"{HEX}\""))]);
        assert_eq!(conditions(&asked, false).unwrap().if_match.unwrap(), format!("\"{HEX}\""));
        assert_eq!(shown(HEX, false), format!("\"{HEX}\""));
    }

    #[test]
    fn a_condition_that_names_no_etag_is_one_that_nothing_meets() {
        for value in ["", "\"\"", "W/\"\"", " , \"\" ,"] {
            for encrypted in [true, false] {
                let asked = headers(&[("if-match", value.to_owned())]);
                let sent = write_conditions(&asked, encrypted).unwrap().if_match.unwrap();
                assert_eq!(sent, format!("\"{NOBODYS}\""), "{value:?}");
                assert_ne!(sent, shown(NOBODYS, true), "it is no object's");
            }
        }
        assert_eq!((wanted("", true), wanted("", false)), (NOBODYS.to_owned(), NOBODYS.to_owned()));
    }

    #[test]
    fn a_write_with_an_etag_that_must_not_be_there_is_refused_as_s3_does() {
        assert!(write_conditions(&headers(&[("if-none-match", format!("\"{HEX}\""))]), true).is_err());
        assert!(write_conditions(&headers(&[("if-none-match", "*".to_owned())]), true).is_ok());
    }
}
