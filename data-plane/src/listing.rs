//! ListObjects V1 and V2: the backend's pages with plaintext sizes and clients' ETags, and without what is hidden.

use http::StatusCode;
use sealgate_envelope::{etag, hidden};

use crate::backend::{Backend, BackendError, ListEntry, ListFrom, ListOptions, ListPage};
use crate::gate::Admitted;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::request::Query;
use crate::s3::timestamp::unix_millis;
use crate::s3::xml::lists::{ObjectEntry, ObjectList, V2, list_objects_v1, list_objects_v2};
use crate::s3::xml::writer::KeyEncoding;
use crate::snapshot::Bucket;

/// The most keys on a page.
pub const MAX_KEYS: u32 = 1_000;

/// Empty pages that are passed over before a listing is given up.
pub const MAX_EMPTY_PAGES: usize = 1_000;

/// Sorts after every hidden name (they go on with a lower-case letter), and before every key that a client can have.
pub fn after_hidden() -> String {
    format!("{}~", hidden::PREFIX)
}

/// Answers ListObjects.
///
/// # Errors
/// In S3's terms.
pub async fn v1(admitted: &Admitted) -> Result<Reply, S3Error> {
    let query = &admitted.request.query;
    let asked = Asked::from(admitted)?;
    let marker = query.get("marker").unwrap_or_default();
    let from = if marker.is_empty() { ListFrom::Start } else { ListFrom::Marker(marker.to_owned()) };
    let page = page(admitted, &asked, from, false).await?;
    let next = page.next.clone().map(|next| match hidden::is_hidden(next.as_bytes()) {
        // The page ended with something hidden: the client goes on from the last name that it sees.
        true => last_visible(&page).unwrap_or(next),
        false => next,
    });
    // As S3: without a delimiter the last key is the marker, and said already. Told where it is another.
    let last = page.entries.last().map(|entry| entry.key.as_str());
    let next = next.filter(|next| asked.delimiter.is_some() || last != Some(next.as_str()));
    let document = list_objects_v1(&shown(admitted, asked, page)?, marker, next.as_deref(), &owner(admitted));
    Ok(reply::xml(StatusCode::OK, document))
}

/// Answers ListObjectsV2.
///
/// # Errors
/// In S3's terms.
pub async fn v2(admitted: &Admitted) -> Result<Reply, S3Error> {
    let query = &admitted.request.query;
    let asked = Asked::from(admitted)?;
    let token = query.get("continuation-token");
    let start_after = query.get("start-after").filter(|key| !key.is_empty());
    // An empty token is from the start, as some SDKs' first page asks for it.
    let from = match (token.filter(|token| !token.is_empty()), start_after) {
        (Some(token), _) => ListFrom::Token(token.to_owned()),
        (None, Some(key)) => ListFrom::StartAfter(key.to_owned()),
        (None, None) => ListFrom::Start,
    };
    let page = page(admitted, &asked, from, true).await?;
    let next = page.next.clone();
    let owner = owner(admitted);
    let v2 = V2 {
        continuation_token: token,
        next_continuation_token: next.as_deref(),
        start_after,
        owner: (query.get("fetch-owner") == Some("true")).then_some(owner.as_str()),
    };
    let document = list_objects_v2(&shown(admitted, asked, page)?, &v2);
    Ok(reply::xml(StatusCode::OK, document))
}

/// What every listing asks for.
pub struct Asked {
    /// Only keys with this prefix.
    pub prefix: String,
    /// Rolls keys up into common prefixes; never empty.
    pub delimiter: Option<String>,
    /// As asked, which may be more than a page has.
    pub max_keys: u32,
    /// How keys are written.
    pub encoding: KeyEncoding,
}

impl Asked {
    /// Reads the query.
    ///
    /// # Errors
    /// InvalidArgument.
    pub fn from(admitted: &Admitted) -> Result<Self, S3Error> {
        let query = &admitted.request.query;
        let max_keys = page_size(query, "max-keys", MAX_KEYS)?;
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default().to_owned(),
            delimiter: query.get("delimiter").filter(|delimiter| !delimiter.is_empty()).map(str::to_owned),
            max_keys,
            encoding: KeyEncoding::parse(query.get("encoding-type"))?,
        })
    }
}

/// The size of a page that a query asks for. S3 counts in 32 bits with a sign.
///
/// # Errors
/// InvalidArgument.
pub fn page_size(query: &Query, name: &'static str, default: u32) -> Result<u32, S3Error> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(default) };
    let wrong = |message: String| S3Error::invalid_argument(name, text, message);
    let asked: i32 =
        text.parse().map_err(|_| wrong(format!("Provided {text} not an integer or within integer range")))?;
    u32::try_from(asked).map_err(|_| {
        // Of versions S3 says it in other words.
        match query.has("versions") {
            true => wrong("max-keys cannot be negative".to_owned()),
            false => wrong(format!("Argument {text} must be an integer between 0 and {}", i32::MAX)),
        }
    })
}

async fn page(admitted: &Admitted, asked: &Asked, from: ListFrom, v2: bool) -> Result<ListPage, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    if asked.max_keys == 0 || hidden::is_hidden(asked.prefix.as_bytes()) {
        return Ok(ListPage::default());
    }
    let mut from = from;
    let mut skipped = false;
    let mut filled = ListPage::default();
    for _ in 0..MAX_EMPTY_PAGES {
        let have = filled.entries.len() + filled.common_prefixes.len();
        let options = ListOptions {
            prefix: asked.prefix.clone(),
            delimiter: asked.delimiter.clone(),
            from: from.clone(),
            max_keys: asked.max_keys.min(MAX_KEYS).saturating_sub(u32::try_from(have).unwrap_or(u32::MAX)),
        };
        let listed = if v2 {
            backend.list_v2(&bucket.backend_bucket, options).await
        } else {
            backend.list_v1(&bucket.backend_bucket, options).await
        };
        let mut page = listed.map_err(|error| admitted.backend_failed(error))?;
        let all = page.entries.len() + page.common_prefixes.len();
        page.entries.retain(|entry| !hidden::is_hidden(entry.key.as_bytes()));
        page.common_prefixes.retain(|prefix| !hidden::is_hidden(prefix.as_bytes()));
        if let Some(at) =
            page.common_prefixes.iter().position(|prefix| hidden::RESERVED.starts_with(prefix.as_str()))
            && !has_visible(backend.as_ref(), &bucket.backend_bucket, &page.common_prefixes[at])
                .await
                .map_err(|error| admitted.backend_failed(error))?
        {
            page.common_prefixes.remove(at);
        }
        let left = page.entries.len() + page.common_prefixes.len();
        filled.entries.append(&mut page.entries);
        filled.common_prefixes.append(&mut page.common_prefixes);
        filled.next = page.next;
        // A client that asks for fewer than a full page counts on getting them, so what was hidden is made up for. A full
        // page may be some short: it costs one request to the storage, whatever lies in it.
        let full =
            filled.entries.len() + filled.common_prefixes.len() >= asked.max_keys.min(MAX_KEYS) as usize;
        let short = left == 0 || (left < all && asked.max_keys < MAX_KEYS && !full);
        let Some(next) = filled.next.clone().filter(|_| short) else { return Ok(filled) };
        if left > 0 {
            from = if v2 { ListFrom::Token(next) } else { ListFrom::Marker(next) };
            continue;
        }
        // An empty page that held nothing hidden (deleted versions make such) says nothing of where hidden names lie.
        let hid = all > 0 && !skipped;
        // A page of nothing but hidden names: on behind the last of them, and after that page by page.
        from = match (v2, hid) {
            (true, true) => ListFrom::StartAfter(after_hidden()),
            (false, true) => ListFrom::Marker(after_hidden()),
            (true, false) => ListFrom::Token(next),
            (false, false) => ListFrom::Marker(next),
        };
        skipped |= hid;
    }
    Err(S3Error::with(Code::SlowDown, "The storage gives nothing but empty pages. Please try again.")
        .retry_after(2))
}

fn last_visible(page: &ListPage) -> Option<String> {
    let key = page.entries.last().map(|entry| entry.key.as_str());
    let prefix = page.common_prefixes.last().map(String::as_str);
    key.max(prefix).map(str::to_owned)
}

/// Whether a prefix that hidden names begin with too (a delimiter within `.sealgate/` makes one) has a visible key.
async fn has_visible(backend: &dyn Backend, bucket: &str, prefix: &str) -> Result<bool, BackendError> {
    for from in [ListFrom::Start, ListFrom::StartAfter(after_hidden())] {
        let options =
            ListOptions { prefix: prefix.to_owned(), delimiter: None, from: from.clone(), max_keys: 1 };
        let page = match backend.list_v2(bucket, options).await {
            Ok(page) => page,
            // MinIO takes no `.` as a prefix, nor to start after: the first key behind all that begin with `-` tells as much.
            Err(BackendError::S3 { status: 400, .. }) if prefix == "." => {
                let before = || ListFrom::StartAfter("-\u{10ffff}".to_owned());
                let from = if from == ListFrom::Start { before() } else { from };
                let options = ListOptions { prefix: String::new(), delimiter: None, from, max_keys: 1 };
                backend.list_v2(bucket, options).await?
            }
            Err(error) => return Err(error),
        };
        let visible = |key: &str| key.starts_with(prefix) && !hidden::is_hidden(key.as_bytes());
        if page.entries.iter().any(|entry| visible(&entry.key)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn shown(admitted: &Admitted, asked: Asked, page: ListPage) -> Result<ObjectList, S3Error> {
    let (bucket, _) = admitted.bucket()?;
    let mut invalid = 0;
    let objects = page.entries.into_iter().map(|entry| object_entry(&bucket, entry, &mut invalid)).collect();
    admitted.worker.node.metrics.buckets.invalid_sizes(&bucket.label, invalid);
    Ok(ObjectList {
        bucket: bucket.name.clone(),
        prefix: asked.prefix,
        delimiter: asked.delimiter,
        max_keys: asked.max_keys.min(MAX_KEYS).into(),
        encoding: asked.encoding,
        truncated: page.next.is_some(),
        objects,
        common_prefixes: page.common_prefixes,
    })
}

/// A listed object as clients see it: with its stored size when no encrypted object can have that one, which is counted.
pub fn object_entry(bucket: &Bucket, entry: ListEntry, invalid: &mut u64) -> ObjectEntry {
    let encrypted = bucket.encrypts(&entry.key);
    let size = bucket.listed_size(&entry.key, entry.size);
    *invalid += u64::from(size.is_none());
    ObjectEntry {
        size: size.unwrap_or(entry.size),
        etag: if encrypted { etag::to_client(&entry.etag) } else { entry.etag },
        modified: unix_millis(entry.last_modified),
        storage_class: entry.storage_class,
        key: entry.key,
    }
}

/// The owner that listings name: the tenant.
pub fn owner(admitted: &Admitted) -> String {
    hex::encode(admitted.credential.tenant.as_bytes())
}
