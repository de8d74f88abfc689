//! All of an object that is not its body: what goes with a copy, and whether it is the same.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sealgate_data_plane::backend::s3::S3Backend;
use sealgate_data_plane::backend::{Backend as _, BackendError, Forward, GetOptions, ObjectMeta, PutOptions};
use sealgate_data_plane::s3::headers::metadata::SYSTEM;
use sealgate_data_plane::s3::xml::tags::parse_tags;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What the client said of the content: all that S3 stores with an object and gives back.
const CONTENT: &[&str] = SYSTEM;
const CLASS: &str = "x-amz-storage-class";
const TAGGING: &str = "x-amz-tagging";
const HOLD: &str = "x-amz-object-lock-legal-hold";
const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";

/// See the module.
#[derive(Clone, Debug)]
pub struct About {
    content: HeaderMap,
    metadata: BTreeMap<String, String>,
    /// Storage class, tags, locks.
    settings: HeaderMap,
}

impl About {
    /// Of what HEAD or GET tell, and the tags.
    pub fn new(meta: &ObjectMeta, tags: Option<&str>) -> Self {
        let take = |names: &[&'static str]| {
            let mut taken = HeaderMap::new();
            for name in names {
                if let Some(value) = meta.headers.get(*name) {
                    taken.insert(*name, value.clone());
                }
            }
            taken
        };
        let mut settings = take(&[CLASS, HOLD, MODE, UNTIL]);
        if settings.get(CLASS).is_some_and(|class| class == "STANDARD") {
            settings.remove(CLASS);
        }
        if settings.get(HOLD).is_some_and(|hold| hold == "OFF") {
            settings.remove(HOLD);
        }
        if let Some(value) = tags.and_then(|tags| tags.parse().ok()) {
            settings.insert(TAGGING, value);
        }
        let mut content = take(CONTENT);
        // Some storages keep what said how a request was framed.
        let coding = content.remove(CONTENT_ENCODING);
        let coding = coding.as_ref().and_then(|coding| coding.to_str().ok()).unwrap_or_default();
        let coding: Vec<_> =
            coding.split(',').map(str::trim).filter(|one| !matches!(*one, "" | "aws-chunked")).collect();
        if let (false, Ok(coding)) = (coding.is_empty(), coding.join(",").parse()) {
            content.insert(CONTENT_ENCODING, coding);
        }
        // What S3 takes an object for that has no type.
        content.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("binary/octet-stream"));
        Self { content, metadata: meta.metadata.clone(), settings }
    }

    /// What a PUT says of it. A retention that is over is none: no storage takes one.
    pub fn options(&self) -> PutOptions {
        let mut headers = self.content.clone();
        headers.extend(self.settings.clone());
        let until = headers.get(UNTIL).and_then(until);
        if until.is_none_or(|until| SystemTime::from(until) <= SystemTime::now()) {
            headers.remove(UNTIL);
            headers.remove(MODE);
        }
        PutOptions { metadata: self.metadata.clone(), headers, ..PutOptions::default() }
    }

    /// Whether a copy tells the same of the content.
    pub fn same_content(&self, copy: &ObjectMeta) -> bool {
        let copy = Self::new(copy, None);
        self.content == copy.content && self.metadata == copy.metadata
    }

    /// Whether there are tags, locks or a storage class.
    pub fn has_settings(&self) -> bool {
        !self.settings.is_empty()
    }

    /// Whether a copy has the tags, locks and storage class that were asked for. It may have more: a bucket's default retention.
    pub fn has_lost_nothing(&self, copy: &Self) -> bool {
        let wanted = self.options().headers;
        let same = |name: &str| match (wanted.get(name), copy.settings.get(name)) {
            (None, _) => true,
            (Some(wanted), Some(found)) if name == UNTIL => until(wanted) == until(found),
            (wanted, found) => wanted == found,
        };
        [CLASS, TAGGING, HOLD, MODE, UNTIL].into_iter().all(same)
    }

    /// A hash of all of it.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut field = |name: &[u8], value: &[u8]| {
            for part in [name, value] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        };
        let mut headers: Vec<_> = self.content.iter().chain(&self.settings).collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in headers {
            field(name.as_str().as_bytes(), value.as_bytes());
        }
        for (name, value) in &self.metadata {
            field(format!("x-amz-meta-{name}").as_bytes(), value.as_bytes());
        }
        hex::encode(hash.finalize())
    }
}

/// When a retention ends: servers write the moment in more than one way.
fn until(value: &HeaderValue) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value.to_str().ok()?, &Rfc3339).ok()
}

/// An object's tags as one header, sorted; none without any, and where the storage has no tags.
///
/// # Errors
/// The storage's: a copy without them would have lost something quietly.
pub async fn tags(
    backend: &S3Backend,
    bucket: &str,
    key: &str,
    version: &str,
) -> Result<Option<String>, BackendError> {
    let told = match backend.forward(about_object(Method::GET, bucket, key, "tagging", version, "")).await {
        Ok(told) => told,
        Err(error) if error.is("NoSuchTagSet") || error.is("NotImplemented") => return Ok(None),
        Err(error) => return Err(error),
    };
    let tags = parse_tags(&told.body).map_err(|error| BackendError::Protocol(format!("tags: {error}")))?;
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut pairs: Vec<_> =
        tags.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    pairs.sort_unstable();
    Ok((!pairs.is_empty()).then(|| pairs.join("&")))
}

/// Gives a version of the target the tags and locks that a version of the source has by now.
///
/// # Errors
/// The storage's.
pub async fn set_again(
    backend: &S3Backend,
    from: (&str, &str),
    to: (&str, &str),
    key: &str,
    now: &About,
) -> Result<(), BackendError> {
    let put = |what, text: &str| backend.forward(about_object(Method::PUT, to.0, key, what, to.1, text));
    if now.settings.contains_key(TAGGING) {
        let told = backend.forward(about_object(Method::GET, from.0, key, "tagging", from.1, "")).await?;
        put("tagging", &String::from_utf8_lossy(&told.body)).await?;
    } else {
        match backend.forward(about_object(Method::DELETE, to.0, key, "tagging", to.1, "")).await {
            Err(error) if !error.is("NoSuchTagSet") && !error.is("NotImplemented") => return Err(error),
            _ => {}
        }
    }
    let wanted = now.options().headers;
    let text = |name| wanted.get(name).and_then(|value| value.to_str().ok());
    if let (Some(mode), Some(until)) = (text(MODE), text(UNTIL)) {
        let document =
            format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>");
        put("retention", &document).await?;
    }
    let options = GetOptions { version_id: Some(to.1.to_owned()), ..GetOptions::default() };
    let held = backend.head(to.0, key, options).await?.headers.get(HOLD).is_some_and(|hold| hold == "ON");
    if held != now.settings.contains_key(HOLD) {
        let status = if held { "OFF" } else { "ON" };
        put("legal-hold", &format!("<LegalHold><Status>{status}</Status></LegalHold>")).await?;
    }
    Ok(())
}

fn about_object(method: Method, bucket: &str, key: &str, what: &str, version: &str, body: &str) -> Forward {
    let mut query = vec![(what.to_owned(), String::new())];
    if !version.is_empty() {
        query.push(("versionId".to_owned(), version.to_owned()));
    }
    Forward {
        method,
        bucket: bucket.to_owned(),
        key: Some(key.to_owned()),
        query,
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn about(pairs: &[(&'static str, &'static str)], tags: Option<&str>) -> About {
        let headers = pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let meta = ObjectMeta {
            size: 0,
            etag: String::new(),
            last_modified: SystemTime::UNIX_EPOCH,
            version_id: None,
            metadata: BTreeMap::new(),
            headers: headers.collect(),
            part: None,
        };
        About::new(&meta, tags)
    }

    #[test]
    fn a_copy_without_what_was_asked_for_is_none() {
        let all = [(CLASS, "GLACIER"), (HOLD, "ON"), (MODE, "GOVERNANCE"), (UNTIL, "2999-01-01T00:00:00Z")];
        let wanted = about(&all, Some("a=b"));
        assert!(wanted.has_settings() && wanted.has_lost_nothing(&wanted));
        let other =
            [(CLASS, "GLACIER"), (HOLD, "ON"), (MODE, "GOVERNANCE"), (UNTIL, "2999-01-01T00:00:00.000Z")];
        assert!(wanted.has_lost_nothing(&about(&other, Some("a=b"))), "the same moment");
        for tags in [None, Some("a=c")] {
            assert!(!wanted.has_lost_nothing(&about(&all, tags)), "{tags:?}");
        }
        for lost in 0..all.len() {
            let mut left = all.to_vec();
            left.remove(lost);
            assert!(!wanted.has_lost_nothing(&about(&left, Some("a=b"))), "{:?}", all[lost]);
        }
        assert!(about(&[], None).has_lost_nothing(&wanted), "a default retention");
        let over = about(&[(MODE, "GOVERNANCE"), (UNTIL, "2001-01-01T00:00:00Z")], None);
        assert!(over.has_lost_nothing(&about(&[], None)), "a retention that is over");
    }
}
