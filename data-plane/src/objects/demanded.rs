//! Conditions of deletions on what an object is: its size in plaintext, and when it was last modified. Storages do not know
//! the one, and few ask for the other, so the object is looked at first and the deletion bound to what was seen: by its ETag,
//! which the storage holds the object against in one step, or by a version, which never changes. Where the storage holds to no
//! ETag and there is no version, a storage that is known to ignore conditions gets the deletion after the look, unbound.

use http::HeaderMap;

use crate::backend::{Backend, BackendError, Capabilities, GetOptions};
use crate::etags;
use crate::gate::Admitted;
use crate::s3::error::S3Error;
use crate::s3::headers::conditions::{Conditions, ETags};
use crate::s3::timestamp::{parse_http, unix_millis};
use crate::snapshot::Bucket;

/// What a client demands of an object before it is deleted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Demanded {
    /// Its ETag as clients see it.
    pub etag: Option<ETags>,
    /// Plaintext bytes.
    pub size: Option<u64>,
    /// Unix seconds.
    pub modified: Option<i64>,
}

/// Why a deletion is not bound.
pub enum Unbound {
    /// In S3's terms.
    Refused(S3Error),
    /// The storage does not say what the object is.
    Failed(BackendError),
}

impl Unbound {
    /// As the client sees it.
    pub fn told(self, admitted: &Admitted) -> S3Error {
        match self {
            Self::Refused(error) => error,
            Self::Failed(error) => admitted.backend_failed(error),
        }
    }
}

/// The condition on one ETag.
pub fn one(etag: String) -> ETags {
    if etag == "*" { ETags::Any } else { ETags::Of(vec![etag]) }
}

/// Whether a version that is looked at can be the one that is deleted: it is what it is, but for `null`, which may be written
/// again.
#[must_use]
pub fn is_fixed(version: Option<&str>) -> bool {
    version.is_some_and(|version| version != "null")
}

/// Whether conditions are held against the object by a look at it before: the storage does not hold it to an ETag itself.
#[must_use]
pub fn looked_at(capabilities: &Capabilities, version: Option<&str>) -> bool {
    !capabilities.conditional_delete && (is_fixed(version) || capabilities.delete_after_a_look)
}

impl Demanded {
    /// Reads x-amz-if-match-size and x-amz-if-match-last-modified-time; with either of them, or `etag_too`, If-Match.
    ///
    /// # Errors
    /// InvalidArgument: a condition that cannot be read must not be dropped.
    pub fn from_headers(headers: &HeaderMap, etag_too: bool) -> Result<Demanded, S3Error> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}").trim());
        let bad = |name: &'static str, value: &str| {
            S3Error::invalid_argument(name, value, "The condition cannot be read.")
        };
        let mut demanded = Demanded::default();
        if let Some(size) = text("x-amz-if-match-size") {
            demanded.size = Some(size.parse().map_err(|_| bad("x-amz-if-match-size", size))?);
        }
        if let Some(at) = text("x-amz-if-match-last-modified-time") {
            let parsed = parse_http(at).ok_or_else(|| bad("x-amz-if-match-last-modified-time", at))?;
            demanded.modified = Some(parsed);
        }
        if etag_too || !demanded.is_empty() {
            demanded.etag = Conditions::from_headers(headers)?.if_match;
        }
        Ok(demanded)
    }

    /// Whether nothing is demanded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Demanded::default()
    }

    /// Looks at the object and gives the storage's ETag that the deletion is to be bound to; none where a version binds it,
    /// or nothing can.
    ///
    /// # Errors
    /// PreconditionFailed, NoSuchKey, and NotImplemented where the storage cannot bind a deletion and is not known to be
    /// one that the look has to do for.
    pub async fn bind(
        &self,
        bucket: &Bucket,
        backend: &dyn Backend,
        key: &str,
        version: Option<&str>,
    ) -> Result<Option<String>, Unbound> {
        let capabilities = backend.capabilities();
        let held = capabilities.conditional_delete || capabilities.delete_after_a_look;
        let unbound = |fixed: bool| match fixed || held {
            true => Ok(()),
            false => {
                Err(Unbound::Refused(S3Error::not_implemented("a conditional deletion on this storage")))
            }
        };
        unbound(is_fixed(version))?;
        let options = GetOptions { version_id: version.map(str::to_owned), ..GetOptions::default() };
        let meta = match backend.head(&bucket.backend_bucket, key, options).await {
            Ok(meta) => meta,
            Err(error) if error.is("NoSuchKey") => return Err(Unbound::Refused(S3Error::no_such_key(key))),
            Err(error) => return Err(Unbound::Failed(error)),
        };
        let shown = etags::shown(&meta.etag, bucket.encrypts(key));
        let seen = Demanded {
            etag: Some(one(shown.trim_matches('"').to_owned())),
            size: Some(bucket.listed_size(key, meta.size).unwrap_or(meta.size)),
            modified: Some(unix_millis(meta.last_modified).div_euclid(1_000)),
        };
        if let Some(condition) = self.broken(shown.trim_matches('"'), &seen) {
            return Err(Unbound::Refused(S3Error::precondition_failed(condition)));
        }
        // A storage without versions, or one that takes the id for none, shows what is current: that may be replaced.
        let fixed = is_fixed(version) && meta.version_id.as_deref() == version;
        unbound(fixed)?;
        Ok((!fixed && capabilities.conditional_delete).then_some(meta.etag))
    }

    /// The condition that an object does not meet.
    fn broken(&self, etag: &str, seen: &Demanded) -> Option<&'static str> {
        if self.etag.as_ref().is_some_and(|tags| !tags.matches(etag)) {
            return Some("If-Match");
        }
        if self.size.is_some() && self.size != seen.size {
            return Some("x-amz-if-match-size");
        }
        if self.modified.is_some() && self.modified != seen.modified {
            return Some("x-amz-if-match-last-modified-time");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Demanded, one};
    use crate::s3::error::Code;
    use http::{HeaderMap, HeaderValue};

    fn of(pairs: &[(&'static str, &'static str)]) -> Result<Demanded, Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Demanded::from_headers(&headers, false).map_err(|error| error.code())
    }

    const SIZE: &str = "x-amz-if-match-size";
    const TIME: &str = "x-amz-if-match-last-modified-time";

    #[test]
    fn conditions_that_cannot_be_read_are_not_dropped() {
        assert!(of(&[("if-match", "\"e\"")]).unwrap().is_empty());
        let all = of(&[("if-match", "\"e\""), (SIZE, "7"), (TIME, "Fri, 24 May 2013 00:00:00 GMT")]).unwrap();
        let wanted =
            Demanded { etag: Some(one("e".to_owned())), size: Some(7), modified: Some(1_369_353_600) };
        assert_eq!(all, wanted);
        for bad in [(SIZE, "-1"), (SIZE, ""), (SIZE, "x"), (TIME, "yesterday"), (TIME, "")] {
            assert_eq!(of(&[bad]), Err(Code::InvalidArgument), "{bad:?}");
        }
    }

    #[test]
    fn every_condition_must_hold() {
        let seen = Demanded { etag: None, size: Some(7), modified: Some(1000) };
        let broken = |etag: Option<&str>, size, modified| {
            Demanded { etag: etag.map(|etag| one(etag.to_owned())), size, modified }.broken("e", &seen)
        };
        assert_eq!(broken(Some("e"), Some(7), Some(1000)), None);
        assert_eq!(broken(Some("*"), None, Some(1000)), None);
        assert_eq!(broken(Some("f"), Some(7), None), Some("If-Match"));
        assert_eq!(broken(None, Some(8), None), Some(SIZE));
        assert_eq!(broken(None, None, Some(1001)), Some(TIME));
    }
}
