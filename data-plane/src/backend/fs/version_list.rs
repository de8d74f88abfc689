//! Pages of versions: the keys in the tree's order, of each the current version and then the older ones.

use super::listing;
use super::record::{Head, Kind, NULL};
use super::space::{self, Bucket};
use super::versions::{self, Older};
use super::walk::{Bound, Walk};
use crate::backend::{BackendError, VersionEntry, VersionListOptions, VersionPage};

/// How often a key's versions are read again when its current one was replaced meanwhile.
const ATTEMPTS: usize = 16;

/// A page of versions and delete markers.
pub(crate) fn page(bucket: &Bucket, options: &VersionListOptions) -> Result<VersionPage, BackendError> {
    let mut filling = Filling {
        page: VersionPage::default(),
        max: options.max_keys.clamp(1, 1000) as usize,
        last: (String::new(), String::new()),
    };
    let rolled = |key: &str| {
        listing::common_prefix(key, &options.prefix, options.delimiter.as_deref()).map(str::to_owned)
    };
    let key = options.key_marker.as_str();
    let bound = match rolled(key) {
        Some(prefix) if prefix == key && key.starts_with(&options.prefix) => {
            Bound::AfterPrefix(key.as_bytes().to_vec())
        }
        _ => Bound::After(key.as_bytes().to_vec()),
    };
    if !options.version_id_marker.is_empty() && key.starts_with(&options.prefix) && rolled(key).is_none() {
        let all = of_key(bucket, key)?;
        let rest = after(all, &options.version_id_marker);
        filling.take(rest);
    }
    let mut walk = Walk::new(&bucket.tree(), &options.prefix, bound);
    while filling.page.next.is_none()
        && let Some((key, _)) = walk.next()?
    {
        match rolled(&key) {
            Some(prefix) => {
                walk.skip_to(Bound::AfterPrefix(prefix.as_bytes().to_vec()));
                filling.roll_up(prefix);
            }
            None => filling.take(of_key(bucket, &key)?),
        }
    }
    Ok(filling.page)
}

struct Filling {
    page: VersionPage,
    max: usize,
    /// The markers after what is on the page.
    last: (String, String),
}

impl Filling {
    fn is_full(&mut self) -> bool {
        let full = self.page.entries.len() + self.page.common_prefixes.len() == self.max;
        if full {
            self.page.next = Some(self.last.clone());
        }
        full
    }

    fn roll_up(&mut self, prefix: String) {
        if !self.is_full() {
            self.last = (prefix.clone(), String::new());
            self.page.common_prefixes.push(prefix);
        }
    }

    fn take(&mut self, versions: Vec<VersionEntry>) {
        for version in versions {
            if self.is_full() {
                return;
            }
            self.last = (version.object.key.clone(), version.version_id.clone());
            self.page.entries.push(version);
        }
    }
}

/// What comes after a version, which may be gone by now: ids tell their age. Only `null` does not, and then nothing is skipped.
fn after(all: Vec<VersionEntry>, marker: &str) -> Vec<VersionEntry> {
    if let Some(at) = all.iter().position(|version| version.version_id == marker) {
        return all.into_iter().skip(at + 1).collect();
    }
    let Some(sequence) = versions::sequence_of(marker) else { return all };
    // What has no age of its own lies where it is listed: after the last one that is too new.
    let newer = |version: &VersionEntry| {
        versions::sequence_of(&version.version_id).is_some_and(|found| found >= sequence)
    };
    let skipped = all.iter().rposition(newer).map_or(0, |at| at + 1);
    all.into_iter().skip(skipped).collect()
}

/// All versions of a key, the newest first.
fn of_key(bucket: &Bucket, key: &str) -> Result<Vec<VersionEntry>, BackendError> {
    let leaf = bucket.leaf(key)?;
    let mut found = Vec::new();
    for _ in 0..ATTEMPTS {
        found.clear();
        let head = match space::read_head(&leaf) {
            Ok(Some(head)) => head,
            // Deleted since its name was read.
            Ok(None) => return Ok(found),
            Err(error) => {
                found.push(damaged(key, NULL.to_owned(), true, error)?);
                return Ok(found);
            }
        };
        found.push(entry(key, &head, true));
        let mut moved = false;
        for older in versions::history(bucket, key, Older::of(&head))?.counting {
            match space::read_head(&older.path(bucket, key)) {
                Ok(Some(head)) => found.push(entry(key, &head, false)),
                Ok(None) => moved = true,
                Err(error) => found.push(damaged(key, older.version_id(), false, error)?),
            }
        }
        // What is gone may have become the current one, and what was the current one an older one.
        if !moved && matches!(space::read_head(&leaf), Ok(Some(now)) if now.id == head.id) {
            break;
        }
    }
    Ok(found)
}

fn entry(key: &str, head: &Head, is_latest: bool) -> VersionEntry {
    VersionEntry {
        object: listing::entry(key.to_owned(), head),
        version_id: head.version_id(),
        is_latest,
        delete_marker: head.kind == Kind::Marker,
    }
}

/// One damaged version must not hide all others.
fn damaged(
    key: &str,
    version_id: String,
    is_latest: bool,
    error: BackendError,
) -> Result<VersionEntry, BackendError> {
    match error {
        BackendError::Io(error) if space::is_damaged(&error) => {
            tracing::error!(key, version_id, %error, "a version's metadata file is damaged");
            let object = listing::damaged(key.to_owned());
            Ok(VersionEntry { object, version_id, is_latest, delete_marker: false })
        }
        other => Err(other),
    }
}
