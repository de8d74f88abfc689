//! ListObjectVersions: the backend's pages with plaintext sizes and clients' ETags, and without what is hidden.

use http::StatusCode;
use sealgate_envelope::hidden;

use crate::backend::{Backend, BackendError, VersionEntry, VersionListOptions, VersionPage};
use crate::gate::Admitted;
use crate::listing::{Asked, MAX_EMPTY_PAGES, MAX_KEYS, after_hidden, object_entry, owner};
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::versions::{Entry, VersionList, list_versions};

pub mod purge;

/// Answers ListObjectVersions.
///
/// # Errors
/// In S3's terms.
pub async fn list(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, _) = admitted.bucket()?;
    let query = &admitted.request.query;
    let asked = Asked::from(admitted)?;
    let key_marker = query.get("key-marker").unwrap_or_default();
    let version_id_marker = query.get("version-id-marker").unwrap_or_default();
    if key_marker.is_empty() && !version_id_marker.is_empty() {
        return Err(S3Error::invalid_argument(
            "version-id-marker",
            version_id_marker,
            "A version-id marker cannot be specified without a key marker.",
        ));
    }
    let page = page(admitted, &asked, (key_marker.to_owned(), version_id_marker.to_owned())).await?;
    let next = page.next.clone().map(|next| match hidden::is_hidden(next.0.as_bytes()) {
        // The page ended with something hidden: the client goes on from the last name that it sees.
        true => last_visible(&page).unwrap_or(next),
        false => next,
    });
    // A delete marker has no size.
    let (mut invalid, mut of_markers) = (0, 0);
    let entries = page
        .entries
        .into_iter()
        .map(|entry| {
            let counter = if entry.delete_marker { &mut of_markers } else { &mut invalid };
            Entry {
                object: object_entry(&bucket, entry.object, counter),
                version_id: entry.version_id,
                is_latest: entry.is_latest,
                delete_marker: entry.delete_marker,
            }
        })
        .collect();
    admitted.worker.node.metrics.buckets.invalid_sizes(&bucket.label, invalid);
    let list = VersionList {
        bucket: bucket.name.clone(),
        prefix: asked.prefix,
        delimiter: asked.delimiter,
        key_marker: key_marker.to_owned(),
        version_id_marker: version_id_marker.to_owned(),
        max_keys: asked.max_keys.min(MAX_KEYS).into(),
        encoding: asked.encoding,
        next,
        entries,
        common_prefixes: page.common_prefixes,
        owner: owner(admitted),
    };
    Ok(reply::xml(StatusCode::OK, list_versions(&list)))
}

/// The first page from a marker on that has something visible.
async fn page(
    admitted: &Admitted,
    asked: &Asked,
    mut from: (String, String),
) -> Result<VersionPage, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    if asked.max_keys == 0 || hidden::is_hidden(asked.prefix.as_bytes()) {
        return Ok(VersionPage::default());
    }
    let mut skipped = false;
    let mut filled = VersionPage::default();
    for _ in 0..MAX_EMPTY_PAGES {
        let most = asked.max_keys.min(MAX_KEYS);
        let have = filled.entries.len() + filled.common_prefixes.len();
        let options = VersionListOptions {
            prefix: asked.prefix.clone(),
            delimiter: asked.delimiter.clone(),
            key_marker: from.0.clone(),
            version_id_marker: from.1.clone(),
            max_keys: most.saturating_sub(u32::try_from(have).unwrap_or(u32::MAX)),
        };
        let failed = |error| admitted.backend_failed(error);
        let mut page = backend.list_versions(&bucket.backend_bucket, options).await.map_err(failed)?;
        let all = page.entries.len() + page.common_prefixes.len();
        page.entries.retain(|entry| !hidden::is_hidden(entry.object.key.as_bytes()));
        page.common_prefixes.retain(|prefix| !hidden::is_hidden(prefix.as_bytes()));
        let shared =
            page.common_prefixes.iter().position(|prefix| hidden::RESERVED.starts_with(prefix.as_str()));
        if let Some(at) = shared {
            let prefix = page.common_prefixes[at].clone();
            if !has_visible(backend.as_ref(), &bucket.backend_bucket, &prefix).await.map_err(failed)? {
                page.common_prefixes.remove(at);
            }
        }
        let left = page.entries.len() + page.common_prefixes.len();
        filled.entries.append(&mut page.entries);
        filled.common_prefixes.append(&mut page.common_prefixes);
        filled.next = page.next;
        // As in listings of objects: a client that asks for fewer than a full page counts on getting them.
        let full = filled.entries.len() + filled.common_prefixes.len() >= most as usize;
        let short = left == 0 || (left < all && asked.max_keys < MAX_KEYS && !full);
        let Some(next) = filled.next.clone().filter(|_| short) else { return Ok(filled) };
        if left > 0 {
            from = next;
            continue;
        }
        // A page of nothing but hidden names: on behind the last of them, and after that page by page.
        from = if all > 0 && !skipped { (after_hidden(), String::new()) } else { next };
        skipped |= all > 0;
    }
    Err(S3Error::with(Code::SlowDown, "The storage gives nothing but empty pages. Please try again.")
        .retry_after(2))
}

/// Where a client goes on that has seen all of a page's visible entries.
fn last_visible(page: &VersionPage) -> Option<(String, String)> {
    let version = page.entries.last().map(|entry| (entry.object.key.clone(), entry.version_id.clone()));
    let prefix = page.common_prefixes.last().map(|prefix| (prefix.clone(), String::new()));
    match (version, prefix) {
        (Some(version), Some(prefix)) => Some(if version.0 > prefix.0 { version } else { prefix }),
        (version, prefix) => version.or(prefix),
    }
}

/// Whether a prefix that hidden names begin with too has a visible version.
async fn has_visible(backend: &dyn Backend, bucket: &str, prefix: &str) -> Result<bool, BackendError> {
    for key_marker in [String::new(), after_hidden()] {
        let options = VersionListOptions {
            prefix: prefix.to_owned(),
            delimiter: None,
            key_marker,
            version_id_marker: String::new(),
            max_keys: 1,
        };
        let page = backend.list_versions(bucket, options).await?;
        if page.entries.iter().any(visible) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn visible(entry: &VersionEntry) -> bool {
    !hidden::is_hidden(entry.object.key.as_bytes())
}

/// Whether what a bucket holds was written with versioning, as far as the beginning of its listing says.
///
/// # Errors
/// The backend's.
pub async fn has_versions(backend: &dyn Backend, bucket: &str) -> Result<bool, BackendError> {
    let options = VersionListOptions {
        prefix: String::new(),
        delimiter: None,
        key_marker: String::new(),
        version_id_marker: String::new(),
        max_keys: MAX_KEYS,
    };
    let page = purge::listed(backend.list_versions(bucket, options).await)?;
    Ok(page.is_some_and(|page| page.entries.iter().any(|entry| entry.version_id != "null")))
}

/// Whether a bucket has a version or a delete marker that clients see. Where there are no versions there is none.
///
/// # Errors
/// The backend's.
pub async fn any_visible(backend: &dyn Backend, bucket: &str) -> Result<bool, BackendError> {
    let mut from = (String::new(), String::new());
    for _ in 0..MAX_EMPTY_PAGES {
        let options = VersionListOptions {
            prefix: String::new(),
            delimiter: None,
            key_marker: from.0.clone(),
            version_id_marker: from.1.clone(),
            max_keys: MAX_KEYS,
        };
        let Some(page) = purge::listed(backend.list_versions(bucket, options).await)? else {
            return Ok(false);
        };
        if page.entries.iter().any(visible) {
            return Ok(true);
        }
        match page.next {
            Some(next) if next != from => from = next,
            Some(_) => {
                return Err(BackendError::Protocol("a listing of versions does not advance".to_owned()));
            }
            None => return Ok(false),
        }
    }
    Err(BackendError::Unavailable("the listing of versions does not end".to_owned()))
}
