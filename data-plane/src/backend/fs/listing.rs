//! Pages of a listing.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::record::{Head, Kind};
use super::walk::{Bound, Walk};
use super::{conditions, space};
use crate::backend::{BackendError, ListEntry, ListFrom, ListOptions, ListPage};

/// The one storage class there is.
pub(crate) const CLASS: &str = "STANDARD";
/// First byte of a token: after a key, after a common prefix.
const AFTER_KEY: u8 = 1;
const AFTER_PREFIX: u8 = 2;

/// The part of a key up to the first delimiter after the prefix.
pub(crate) fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: Option<&str>) -> Option<&'a str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let at = key.get(prefix.len()..)?.find(delimiter)?;
    key.get(..prefix.len() + at + delimiter.len())
}

/// A page, and the position after it: a token for V2, a marker for V1.
pub(crate) fn page(tree: &Path, options: &ListOptions, v2: bool) -> Result<ListPage, BackendError> {
    let mut walk = Walk::new(tree, &options.prefix, begin(options)?);
    let max = options.max_keys.clamp(1, 1000) as usize;
    let mut page = ListPage::default();
    let mut last = Bound::After(Vec::new());
    while let Some((key, path)) = walk.next()? {
        let entry = match space::read_head(&path) {
            // Deleted since its name was read, or a delete marker: neither is there, alone under a prefix or not.
            Ok(None) => continue,
            Ok(Some(head)) if head.kind == Kind::Marker => continue,
            Ok(Some(head)) => entry(key, &head),
            Err(BackendError::Io(error)) if space::is_damaged(&error) => {
                // One damaged entry must not hide all others: it is listed, and whoever reads it is told.
                tracing::error!(path = %path.display(), %error, "a metadata file is damaged");
                damaged(key)
            }
            Err(error) => return Err(error),
        };
        if page.entries.len() + page.common_prefixes.len() == max {
            page.next = Some(if v2 { token(&last) } else { marker(last) });
            break;
        }
        match common_prefix(&entry.key, &options.prefix, options.delimiter.as_deref()) {
            Some(prefix) => {
                last = Bound::AfterPrefix(prefix.as_bytes().to_vec());
                walk.skip_to(last.clone());
                page.common_prefixes.push(prefix.to_owned());
            }
            None => {
                last = Bound::After(entry.key.as_bytes().to_vec());
                page.entries.push(entry);
            }
        }
    }
    Ok(page)
}

/// An object as listings show it.
pub(crate) fn entry(key: String, head: &Head) -> ListEntry {
    ListEntry {
        size: head.size,
        etag: head.etag(),
        last_modified: conditions::modified(head),
        storage_class: CLASS.to_owned(),
        key,
    }
}

/// What can be said of an object whose metadata file is damaged.
pub(crate) fn damaged(key: String) -> ListEntry {
    ListEntry {
        size: 0,
        etag: "0".repeat(32),
        last_modified: std::time::UNIX_EPOCH,
        storage_class: CLASS.to_owned(),
        key,
    }
}

fn begin(options: &ListOptions) -> Result<Bound, BackendError> {
    Ok(match &options.from {
        ListFrom::Start => Bound::After(Vec::new()),
        ListFrom::StartAfter(key) | ListFrom::Marker(key) => {
            if common_prefix(key, &options.prefix, options.delimiter.as_deref()) == Some(key)
                && key.starts_with(&options.prefix)
            {
                Bound::AfterPrefix(key.as_bytes().to_vec())
            } else {
                Bound::After(key.as_bytes().to_vec())
            }
        }
        ListFrom::Token(token) => parse_token(token)
            .ok_or_else(|| BackendError::s3(400, "InvalidArgument", "the continuation token is not valid"))?,
    })
}

fn token(bound: &Bound) -> String {
    let (tag, bytes) = match bound {
        Bound::After(key) => (AFTER_KEY, key),
        Bound::AfterPrefix(prefix) => (AFTER_PREFIX, prefix),
    };
    URL_SAFE_NO_PAD.encode([&[tag], bytes.as_slice()].concat())
}

fn parse_token(token: &str) -> Option<Bound> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    match bytes.split_first()? {
        (&AFTER_KEY, key) => Some(Bound::After(key.to_vec())),
        (&AFTER_PREFIX, prefix) => Some(Bound::AfterPrefix(prefix.to_vec())),
        _ => None,
    }
}

fn marker(bound: Bound) -> String {
    let (Bound::After(bytes) | Bound::AfterPrefix(bytes)) = bound;
    String::from_utf8_lossy(&bytes).into_owned()
}
