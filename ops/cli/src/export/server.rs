//! To an S3 server: streamed from one to the other, under the same key, with metadata, content headers and tags. The length and a
//! checksum of every body go with it; what the server then says of the object is compared.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::HeaderValue;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sealgate_data_plane::backend::s3::S3Backend;
use sealgate_data_plane::backend::{
    Backend as _, BackendError, Conditions, GetOptions, ObjectMeta, PutOptions, StoredRange, Upload,
};
use sealgate_data_plane::body::checksum::{Algorithm, Checksum, Hasher};
use sealgate_data_plane::large::is_refusal;

use super::manifest::{Line, Of};
use super::{About, tags};
use crate::connection::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::location::Location;
use crate::migrate::retry::persist;
use crate::transfer::upload::{UNKNOWN, part_size};

/// Above this many bytes an object goes up in parts.
const ONE_PUT: u64 = 64 << 20;
/// Parts of an object on their way at a time.
const IN_FLIGHT: usize = 2;
/// How often a body is sent.
pub(super) const ATTEMPTS: u32 = 3;
/// Before the second time; each time four times as long.
pub(super) const WAIT: std::time::Duration = std::time::Duration::from_millis(200);

/// The server, and where on it.
pub struct Server {
    /// The server.
    pub backend: S3Backend,
    /// The same by connections that are used once. On one that has waited a request without a body may be sent again by the
    /// client itself, and a deletion that is done twice leaves two markers.
    pub once: S3Backend,
    /// Bucket, and what precedes the keys.
    pub to: Location,
}

impl Server {
    /// Brings an object there.
    ///
    /// # Errors
    /// The gateway's and the server's.
    pub async fn export(&self, client: &Client, from: &Location, of: Of) -> Outcome<Line> {
        let version_id = of.version_id().map(str::to_owned);
        let options = GetOptions { version_id: version_id.clone(), ..GetOptions::default() };
        let head = client.backend.head(&from.bucket, &from.key, options).await;
        let meta = head.map_err(|error| Failure::s3(from, &error))?;
        let tags = tags(client, from, &meta, &of).await?;
        let about = About::new(from, meta, tags)?;
        let to = self.place(from);
        let mut options = PutOptions {
            metadata: about.meta.metadata.clone(),
            headers: about.headers(),
            ..PutOptions::default()
        };
        if !about.tags.is_empty() {
            let value = HeaderValue::from_str(&tagging(&about.tags));
            let value =
                value.map_err(|_| Failure::new(Exit::Failure, format!("{from}: its tags are no header")))?;
            options.headers.insert("x-amz-tagging", value);
        }
        let source = Source { client, from, version_id, etag: &about.meta.etag };
        match about.meta.size {
            size if size > ONE_PUT => self.in_parts(&source, &to, size, options).await?,
            size if of.version_id().is_some() => self.as_a_version(&source, &to, size, options).await?,
            size => {
                let put = source.persist(&to, None, size, async |body| {
                    self.backend.put(&to.bucket, &to.key, options.clone(), body).await.map(drop)
                });
                put.await?;
            }
        }
        self.check(&about, &to).await?;
        Ok(about.line(&from.key, of, None))
    }

    /// Where an object goes.
    pub(super) fn place(&self, from: &Location) -> Location {
        Location { bucket: self.to.bucket.clone(), key: format!("{}{}", self.to.key, from.key) }
    }

    /// A PUT that makes a version: one whose answer was lost is not sent again when it is there.
    async fn as_a_version(
        &self,
        source: &Source<'_>,
        to: &Location,
        size: u64,
        options: PutOptions,
    ) -> Outcome<()> {
        let before = RefCell::new(None);
        let sums = Rc::new(RefCell::new(None::<Vec<Checksum>>));
        let put = source.persist(to, None, size, async |body| {
            let known = before.borrow().clone();
            match (known, sums.take()) {
                (None, _) => {
                    let seen = self.newest(to).await?;
                    before.replace(Some(seen));
                }
                (Some(before), Some(sent)) if self.came(to, &before, &options, &sent).await? => return Ok(()),
                _ => {}
            }
            let body = summed(body, Rc::clone(&sums));
            self.backend.put(&to.bucket, &to.key, options.clone(), body).await.map(drop)
        });
        put.await
    }

    /// Whether what was sent is current there, and was not before.
    async fn came(
        &self,
        to: &Location,
        before: &Newest,
        options: &PutOptions,
        sent: &[Checksum],
    ) -> Result<bool, BackendError> {
        let now = self.newest(to).await?;
        Ok(before.became(&now).is_some_and(|there| there.metadata == options.metadata && is_of(there, sent)))
    }

    /// What is current there.
    async fn newest(&self, to: &Location) -> Result<Newest, BackendError> {
        let options = GetOptions { checksums: true, ..GetOptions::default() };
        match self.backend.head(&to.bucket, &to.key, options).await {
            Ok(meta) => Ok(Newest::Is(Box::new(meta))),
            Err(error) if error.is("NoSuchKey") || error.is("NotFound") => Ok(Newest::Nothing),
            // S3 says so of what is not there, too, to those who may not list.
            Err(BackendError::S3 { status: 403, .. }) => Ok(Newest::Hidden),
            Err(error) => Err(error),
        }
    }

    /// An upload. One that may have become the object is never aborted: some servers destroy the object with it.
    async fn in_parts(
        &self,
        source: &Source<'_>,
        to: &Location,
        size: u64,
        options: PutOptions,
    ) -> Outcome<()> {
        let failed = |error| Failure::s3(to, &error);
        let before = self.newest(to).await.map_err(failed)?;
        let metadata = options.metadata.clone();
        let part =
            part_size(size).ok_or_else(|| Failure::usage(format!("{to}: larger than any object may be")))?;
        let count = u16::try_from(size.div_ceil(part)).unwrap_or(u16::MAX);
        let id = self.backend.create_upload(&to.bucket, &to.key, options).await.map_err(failed)?;
        let sent = stream::iter(1..=count).map(|number| {
            let id = id.as_str();
            async move {
                let first = u64::from(number - 1) * part;
                let length = part.min(size - first);
                let range = StoredRange::Inclusive(first, first + length - 1);
                let sent = source.persist(to, Some(range), length, async |body| {
                    self.backend.upload_part(&to.bucket, &to.key, id, number, body).await
                });
                Ok::<_, Failure>((number, sent.await?.etag))
            }
        });
        // The first failure is the one to report. Parts that stay are for the server's lifecycle rules.
        let abort = async |failure: Failure| -> Outcome<()> {
            let _ = self.backend.abort_upload(&to.bucket, &to.key, &id).await;
            Err(failure)
        };
        let parts: Vec<_> = match sent.buffered(IN_FLIGHT).try_collect().await {
            Ok(parts) => parts,
            Err(failure) => return abort(failure).await,
        };
        let made =
            self.backend.complete_upload(&to.bucket, &to.key, &id, &parts, Conditions::default()).await;
        let Err(error) = made else { return Ok(()) };
        if is_refusal(&error) {
            return abort(failed(error)).await;
        }
        let whole = |there: &ObjectMeta| {
            there.size == size && there.metadata == metadata && are_parts_of(&there.etag, &parts)
        };
        match persist(async || self.newest(to).await).await {
            Ok(now) if before.became(&now).is_some_and(whole) => Ok(()),
            _ => Err(failed(error).hint_instead(UNKNOWN)),
        }
    }

    /// What the server says of it is what went there.
    async fn check(&self, about: &About, to: &Location) -> Outcome<()> {
        let head = self.backend.head(&to.bucket, &to.key, GetOptions::default()).await;
        let there = head.map_err(|error| Failure::s3(to, &error).hint(UNCHECKED))?;
        if there.size != about.meta.size || there.metadata != about.meta.metadata {
            return Err(Failure::integrity(to, &"the server has another size or metadata than went there"));
        }
        Ok(())
    }
}

/// What to do about an object that was sent and that nobody could look at afterwards.
const UNCHECKED: &str = "it was sent, and what is there could not be checked: let the credential read there (s3:GetObject), and run \
                         the command again";

/// What is current in a place.
#[derive(Clone)]
enum Newest {
    Is(Box<ObjectMeta>),
    /// Nothing, or a delete marker.
    Nothing,
    /// Nobody may look.
    Hidden,
}

impl Newest {
    /// What has come since, if something has. Two versions in a row may be alike: only its id tells the new one, and without versions
    /// its ETag or date.
    fn became<'a>(&self, now: &'a Newest) -> Option<&'a ObjectMeta> {
        let Self::Is(there) = now else { return None };
        let new = match self {
            Self::Hidden => false,
            Self::Nothing => true,
            Self::Is(before) if there.version_id.is_some() => before.version_id != there.version_id,
            Self::Is(before) => (&before.etag, before.last_modified) != (&there.etag, there.last_modified),
        };
        new.then_some(there)
    }
}

/// Whether an ETag is that of an upload of these parts: the MD5 of their own, which are MD5s where the server has no other.
fn are_parts_of(etag: &str, parts: &[(u16, String)]) -> bool {
    let each = parts.iter().map(|(_, etag)| {
        let bytes = hex::decode(etag.trim_matches('"')).ok()?;
        Checksum::new(Algorithm::Md5, &bytes)
    });
    let Some(each) = each.collect::<Option<Vec<_>>>() else { return false };
    Checksum::composite(Algorithm::Md5, &each).is_some_and(|sum| {
        etag.trim_matches('"').eq_ignore_ascii_case(&format!("{}-{}", hex::encode(sum.bytes()), parts.len()))
    })
}

/// The checksums that servers tell of an object: those that bodies go with, and the MD5 of ETags.
const TOLD: [Algorithm; 3] = [Algorithm::Md5, Algorithm::Crc32, Algorithm::Crc64Nvme];

/// A body whose checksums are in `sums` when all of it was sent.
fn summed(body: Upload, sums: Rc<RefCell<Option<Vec<Checksum>>>>) -> Upload {
    let length = body.length;
    let mut hashers = Some(TOLD.map(Hasher::new));
    let mut seen = 0;
    let stream = body.stream.inspect_ok(move |piece| {
        seen += piece.len() as u64;
        hashers.iter_mut().flatten().for_each(|hasher| hasher.update(piece));
        if seen == length {
            sums.replace(hashers.take().map(|hashers| hashers.into_iter().map(Hasher::finish).collect()));
        }
    });
    Upload { length, stream: Box::pin(stream) }
}

/// Whether the server tells one of these checksums of an object. An ETag that is no MD5 is like none.
fn is_of(there: &ObjectMeta, sent: &[Checksum]) -> bool {
    sent.iter().any(|sum| match sum.algorithm() {
        Algorithm::Md5 => there.etag.trim_matches('"').eq_ignore_ascii_case(&hex::encode(sum.bytes())),
        other => there
            .headers
            .get(other.header())
            .is_some_and(|told| told.as_bytes() == sum.to_base64().as_bytes()),
    })
}

/// Tags as the header has them.
fn tagging(tags: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in tags {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let and = if text.is_empty() { "" } else { "&" };
        let _ = write!(text, "{and}{}={}", encode(name), encode(value));
    }
    text
}

/// The object at the gateway.
struct Source<'a> {
    client: &'a Client,
    from: &'a Location,
    version_id: Option<String>,
    etag: &'a str,
}

impl Source<'_> {
    /// Sends a stretch of it, anew as long as one of the two cannot be reached. What is sent is always of the same object.
    async fn persist<T>(
        &self,
        to: &Location,
        range: Option<StoredRange>,
        length: u64,
        send: impl AsyncFn(Upload) -> Result<T, BackendError>,
    ) -> Outcome<T> {
        let mut wait = WAIT;
        for left in (0..ATTEMPTS).rev() {
            let if_match = Some(format!("\"{}\"", self.etag));
            let conditions = Conditions { if_match, ..Conditions::default() };
            let options = GetOptions {
                range,
                conditions,
                version_id: self.version_id.clone(),
                ..GetOptions::default()
            };
            let failed = match self.client.backend.get(&self.from.bucket, &self.from.key, options).await {
                Ok(answer) => match send(Upload { length, stream: answer.body }).await {
                    Ok(done) => return Ok(done),
                    // The gateway cuts a body that it cannot prove: nothing was stored.
                    Err(BackendError::Upload(why)) => {
                        Failure::new(Exit::Integrity, format!("{}: broke off: {why}", self.from))
                    }
                    Err(error) => Failure::s3(to, &error),
                },
                Err(error) if error.is("PreconditionFailed") => {
                    return Err(Failure::new(
                        Exit::Failure,
                        format!("{}: was overwritten while it was read", self.from),
                    )
                    .hint("run the command again"));
                }
                Err(error) => Failure::s3(self.from, &error),
            };
            if left == 0 || !matches!(failed.exit(), Exit::Unavailable | Exit::Integrity) {
                return Err(failed);
            }
            tokio::time::sleep(wait).await;
            wait *= 4;
        }
        Err(Failure::new(Exit::Unavailable, format!("{to}: not stored")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::cell::RefCell;
    use std::rc::Rc;

    use bytes::Bytes;
    use futures_util::{TryStreamExt as _, stream};
    use http::{HeaderMap, HeaderValue};
    use sealgate_data_plane::backend::{ObjectMeta, Upload};

    use super::{Newest, are_parts_of, is_of, summed};

    #[actix_rt::test]
    async fn a_version_is_known_by_its_checksum() {
        let sums = Rc::new(RefCell::new(None));
        for (length, whole) in [(10, false), (9, true)] {
            let pieces = ["12345", "6789"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
            let body = Upload { length, stream: Box::pin(stream::iter(pieces)) };
            let sent: Vec<Bytes> = summed(body, Rc::clone(&sums)).stream.try_collect().await.unwrap();
            assert_eq!(sent.concat(), b"123456789");
            assert_eq!(sums.borrow().is_some(), whole, "what has not gone is not there");
        }
        let sent = sums.take().unwrap();
        let there = |etag: &str, crc: Option<&'static str>| ObjectMeta {
            size: 9,
            etag: etag.to_owned(),
            last_modified: std::time::SystemTime::UNIX_EPOCH,
            version_id: None,
            metadata: std::collections::BTreeMap::default(),
            headers: crc
                .map(|value| ("x-amz-checksum-crc32".parse().unwrap(), HeaderValue::from_static(value)))
                .into_iter()
                .collect::<HeaderMap>(),
            part: None,
        };
        let nothing = Newest::Nothing;
        let is = |etag: &str| Newest::Is(Box::new(there(etag, None)));
        assert!(nothing.became(&is("a")).is_some() && is("a").became(&is("b")).is_some());
        assert!(is("a").became(&is("a")).is_none() && Newest::Hidden.became(&is("a")).is_none());
        assert!(nothing.became(&Newest::Nothing).is_none());
        assert!(is_of(&there("25f9e794323b453885f5181f1b624d0b", None), &sent));
        assert!(is_of(&there("abc-0", Some("y/Q5Jg==")), &sent));
        assert!(!is_of(&there("25f9e794323b453885f5181f1b624d0c", Some("AAAAAA==")), &sent));
        assert!(!is_of(&there("abc-0", None), &sent), "nothing to compare: it is sent again");
    }
    #[test]
    fn an_upload_is_known_by_the_etags_of_its_parts() {
        let part = |number: u16, etag: &str| (number, etag.to_owned());
        let parts =
            [part(1, "\"9dd4e461268c8034f5c8564e155c67a6\""), part(2, "415290769594460e2e485922904f345d")];
        // MD5 of the two digests one after the other, which are those of `x` and `y`.
        let whole = "be6996cb706f34d65b9fee8745325abf-2";
        assert!(are_parts_of(whole, &parts), "{whole}");
        assert!(!are_parts_of(whole, &parts[..1]) && !are_parts_of(&whole.replace("-2", "-3"), &parts));
        assert!(!are_parts_of("-1", &[part(1, "no MD5")]), "nothing to compare");
    }
}
