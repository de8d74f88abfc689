//! ListObjects V1 and V2: the backend's pages with plaintext sizes and clients' ETags, and without what is hidden.

use http::StatusCode;
use sealgate_envelope::hidden;

use crate::backend::{ListFrom, ListOptions, ListPage};
use crate::etags;
use crate::gate::Admitted;
use crate::reply::{self, Reply};
use crate::s3::error::S3Error;
use crate::s3::xml::list::{self, Entry};

/// The most keys on a page.
const MAX_KEYS: u32 = 1_000;

/// Sorts after every hidden name (they go on with a lower-case letter), and before every key that a client can have.
fn after_hidden() -> String {
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
    let document = list::render_v1(&list::V1 {
        common: common(admitted, &asked, &page)?,
        marker,
        // Without a delimiter S3 leaves it to the client to take the last key.
        next_marker: page.next.as_deref().filter(|_| asked.delimiter.is_some()),
    });
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
    if token == Some("") {
        return Err(S3Error::invalid_argument("continuation-token", "", "The continuation token provided is incorrect"));
    }
    let start_after = query.get("start-after").filter(|key| !key.is_empty());
    let from = match (token, start_after) {
        (Some(token), _) => ListFrom::Token(token.to_owned()),
        (None, Some(key)) => ListFrom::StartAfter(key.to_owned()),
        (None, None) => ListFrom::Start,
    };
    let page = page(admitted, &asked, from, true).await?;
    let document = list::render_v2(&list::V2 {
        common: common(admitted, &asked, &page)?,
        continuation_token: token,
        next_continuation_token: page.next.as_deref(),
        start_after,
        fetch_owner: query.get("fetch-owner") == Some("true"),
    });
    Ok(reply::xml(StatusCode::OK, document))
}

struct Asked {
    prefix: String,
    delimiter: Option<String>,
    max_keys: u32,
    url: bool,
}

impl Asked {
    fn from(admitted: &Admitted) -> Result<Self, S3Error> {
        let query = &admitted.request.query;
        let max_keys = match query.get("max-keys") {
            None | Some("") => MAX_KEYS,
            Some(text) => text.parse::<u32>().map_err(|_| {
                S3Error::invalid_argument("max-keys", text, "Provided max-keys not an integer or within integer range")
            })?,
        };
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default().to_owned(),
            delimiter: query.get("delimiter").filter(|delimiter| !delimiter.is_empty()).map(str::to_owned),
            max_keys,
            url: url_encoding(admitted)?,
        })
    }
}

/// Whether keys are to be percent-encoded in the answer.
///
/// # Errors
/// InvalidArgument for another encoding.
pub fn url_encoding(admitted: &Admitted) -> Result<bool, S3Error> {
    match admitted.request.query.get("encoding-type") {
        None | Some("") => Ok(false),
        Some("url") => Ok(true),
        Some(other) => Err(S3Error::invalid_argument("encoding-type", other, "Invalid Encoding Method specified in Request")),
    }
}

async fn page(admitted: &Admitted, asked: &Asked, from: ListFrom, v2: bool) -> Result<ListPage, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    if asked.max_keys == 0 || hidden::is_hidden(asked.prefix.as_bytes()) {
        return Ok(ListPage::default());
    }
    let mut from = from;
    let mut skipped = false;
    loop {
        let options = ListOptions {
            prefix: asked.prefix.clone(),
            delimiter: asked.delimiter.clone(),
            from: from.clone(),
            max_keys: asked.max_keys.min(MAX_KEYS),
        };
        let listed = if v2 {
            backend.list_v2(&bucket.backend_bucket, options).await
        } else {
            backend.list_v1(&bucket.backend_bucket, options).await
        };
        let mut page = listed.map_err(|error| admitted.backend_failed(error))?;
        page.entries.retain(|entry| !hidden::is_hidden(entry.key.as_bytes()));
        page.common_prefixes.retain(|prefix| !hidden::is_hidden(prefix.as_bytes()));
        let empty = page.entries.is_empty() && page.common_prefixes.is_empty();
        let Some(next) = page.next.clone().filter(|_| empty) else { return Ok(page) };
        // A page of nothing but hidden names: on behind the last of them, and after that page by page.
        from = match (v2, skipped) {
            (true, false) => ListFrom::StartAfter(after_hidden()),
            (false, false) => ListFrom::Marker(after_hidden()),
            (true, true) => ListFrom::Token(next),
            (false, true) => ListFrom::Marker(next),
        };
        skipped = true;
    }
}

fn common<'a>(admitted: &'a Admitted, asked: &'a Asked, page: &'a ListPage) -> Result<list::Common<'a>, S3Error> {
    let (bucket, _) = admitted.bucket()?;
    let entries = page
        .entries
        .iter()
        .map(|entry| Entry {
            key: &entry.key,
            last_modified: entry.last_modified,
            etag: etags::shown(&entry.etag, bucket.encrypts(&entry.key)),
            size: bucket.listed_size(&entry.key, entry.size),
            storage_class: &entry.storage_class,
        })
        .collect();
    Ok(list::Common {
        bucket: admitted.request.need_bucket()?,
        prefix: &asked.prefix,
        delimiter: asked.delimiter.as_deref(),
        max_keys: asked.max_keys,
        url: asked.url,
        truncated: page.next.is_some(),
        entries,
        common_prefixes: &page.common_prefixes,
    })
}
