//! A bucket's keys with their versions, page by page, in whatever order its storage lists them.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use sealgate_data_plane::backend::s3::S3Backend;
use sealgate_data_plane::backend::{
    Backend as _, ListEntry, ListFrom, ListOptions, VersionEntry, VersionListOptions,
};

use super::retry::persist;
use super::state::Version;
use crate::failure::{Failure, Outcome};

/// A key with all its versions, oldest first; without versioning, one.
#[derive(Clone, Debug)]
pub struct Group {
    pub key: String,
    pub versions: Vec<Version>,
}

/// A walk through a bucket.
pub struct Walk<'a> {
    backend: &'a S3Backend,
    bucket: &'a str,
    next: Next,
    /// The last key of the last page, whose versions may go on in the next.
    open: Option<History>,
}

enum Next {
    Objects(ListFrom),
    Versions(String, String),
    End,
}

impl<'a> Walk<'a> {
    /// From the first key.
    pub fn new(backend: &'a S3Backend, bucket: &'a str, versions: bool) -> Self {
        let next = match versions {
            true => Next::Versions(String::new(), String::new()),
            false => Next::Objects(ListFrom::Start),
        };
        Self { backend, bucket, next, open: None }
    }

    /// The first key; none in an empty bucket.
    pub async fn first(&mut self) -> Outcome<Option<Group>> {
        while let Some(groups) = self.page().await? {
            if let Some(group) = groups.into_iter().next() {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// The next keys; none at the end.
    pub async fn page(&mut self) -> Outcome<Option<Vec<Group>>> {
        let failed = |error| Failure::s3(&format!("s3://{}", self.bucket), &error);
        match &self.next {
            Next::End => Ok(self.open.take().map(|history| vec![history.group()])),
            Next::Objects(from) => {
                let options = || ListOptions {
                    prefix: String::new(),
                    delimiter: None,
                    from: from.clone(),
                    max_keys: 1_000,
                };
                let page = persist(async || self.backend.list_v2(self.bucket, options()).await)
                    .await
                    .map_err(failed)?;
                self.next = page.next.map_or(Next::End, |token| Next::Objects(ListFrom::Token(token)));
                let group = |entry: ListEntry| Group {
                    key: entry.key.clone(),
                    versions: vec![version(entry, String::new(), false)],
                };
                Ok(Some(page.entries.into_iter().map(group).collect()))
            }
            Next::Versions(key_marker, version_id_marker) => {
                let options = || VersionListOptions {
                    prefix: String::new(),
                    delimiter: None,
                    key_marker: key_marker.clone(),
                    version_id_marker: version_id_marker.clone(),
                    max_keys: 1_000,
                };
                let page = persist(async || self.backend.list_versions(self.bucket, options()).await)
                    .await
                    .map_err(failed)?;
                self.next = page.next.map_or(Next::End, |(key, version)| Next::Versions(key, version));
                let last = match &self.next {
                    Next::Versions(key, _) => Some(key.as_str()),
                    _ => None,
                };
                let (done, open) = histories(self.open.take(), page.entries, last);
                self.open = open;
                Ok(Some(done.into_iter().map(History::group).collect()))
            }
        }
    }
}

/// A key's versions as they are listed, the newest first.
#[derive(Default)]
struct History {
    key: String,
    versions: Vec<Version>,
    latest: Option<String>,
    /// Whether delete markers seem to be listed apart from versions, so that their common order must be found again.
    apart: bool,
}

impl History {
    fn group(mut self) -> Group {
        if self.apart {
            let is_latest = |version: &Version| self.latest.as_deref() == Some(&*version.id);
            self.versions.sort_by(|a, b| {
                let newer = (is_latest(b), b.modified).cmp(&(is_latest(a), a.modified));
                // Within a second the ids tell, where they begin with a time.
                newer.then_with(|| {
                    if is_ulid(&a.id) && is_ulid(&b.id) { b.id.cmp(&a.id) } else { Ordering::Equal }
                })
            });
        }
        self.versions.reverse();
        Group { key: self.key, versions: self.versions }
    }
}

fn is_ulid(id: &str) -> bool {
    id.len() == 26 && id.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// The keys of a page, and the one whose versions may go on in the next: the last, or the one that the next begins with.
fn histories(
    open: Option<History>,
    entries: Vec<VersionEntry>,
    last: Option<&str>,
) -> (Vec<History>, Option<History>) {
    let mut all: Vec<History> = open.into_iter().collect();
    let mut places: HashMap<String, usize> =
        all.iter().enumerate().map(|(place, history)| (history.key.clone(), place)).collect();
    let first = entries.iter().position(|entry| !entry.delete_marker).unwrap_or_default();
    let apart = first > 0 && !entries[first..].iter().any(|entry| entry.delete_marker);
    for entry in entries {
        let key = entry.object.key.clone();
        let place = *places.entry(key.clone()).or_insert_with(|| {
            all.push(History { key, ..History::default() });
            all.len() - 1
        });
        let history = &mut all[place];
        history.apart |= apart;
        if entry.is_latest {
            history.latest = Some(entry.version_id.clone());
        }
        // Some storages begin a page with the version that ended the one before.
        if history.versions.iter().rev().take(1_000).all(|version| version.id != entry.version_id) {
            history.versions.push(version(entry.object, entry.version_id, entry.delete_marker));
        }
    }
    let Some(last) = last else { return (all, None) };
    let place = all.iter().position(|history| history.key == last).or_else(|| all.len().checked_sub(1));
    let open = place.map(|place| all.remove(place));
    (all, open)
}

fn version(entry: ListEntry, id: String, delete_marker: bool) -> Version {
    let modified = entry.last_modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (etag, size) = if delete_marker { (String::new(), 0) } else { (entry.etag, entry.size) };
    Version { id, etag, size, modified, delete_marker }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::{Duration, UNIX_EPOCH};

    use super::{History, ListEntry, VersionEntry, histories};

    fn entry(key: &str, id: &str, at: u64, is_latest: bool, delete_marker: bool) -> VersionEntry {
        let object = ListEntry {
            key: key.to_owned(),
            size: 1,
            etag: id.to_owned(),
            last_modified: UNIX_EPOCH + Duration::from_secs(at),
            storage_class: String::new(),
        };
        VersionEntry { object, version_id: id.to_owned(), is_latest, delete_marker }
    }

    fn ids(history: History) -> Vec<String> {
        history.group().versions.into_iter().map(|version| version.id).collect()
    }

    #[test]
    fn the_order_of_a_listing_is_kept_whatever_the_times_say() {
        let page = vec![
            entry("k", "3", 1, true, false),
            entry("k", "9", 5, false, true),
            entry("k", "1", 3, false, false),
        ];
        let (mut done, open) = histories(None, page, None);
        assert!(open.is_none());
        assert_eq!(ids(done.remove(0)), ["1", "9", "3"]);
    }

    #[test]
    fn markers_that_are_listed_apart_find_their_place() {
        let id = |last: &str| format!("01M8MQJJ27VH16V92H85RQDW6{last}");
        let page = vec![
            entry("a", &id("4"), 5, true, true),
            entry("a", &id("2"), 5, false, true),
            entry("b", "marker", 5, true, true),
            entry("a", &id("3"), 5, false, false),
            entry("a", &id("1"), 5, false, false),
            entry("b", "other", 4, false, false),
        ];
        let (mut done, _) = histories(None, page, None);
        assert_eq!(ids(done.remove(0)), ["1", "2", "3", "4"].map(id));
        assert_eq!(ids(done.remove(0)), ["other", "marker"]);
    }

    #[test]
    fn a_history_goes_on_over_pages_and_has_each_version_once() {
        let (done, open) = histories(
            None,
            vec![entry("a", "1", 1, true, false), entry("b", "9", 1, true, false)],
            Some("b"),
        );
        assert_eq!(done.len(), 1);
        let page = vec![
            entry("b", "9", 1, true, false),
            entry("b", "8", 1, false, false),
            entry("c", "1", 1, true, false),
        ];
        let (mut done, open) = histories(open, page, Some("c"));
        assert_eq!(ids(done.remove(0)), ["8", "9"]);
        assert_eq!(ids(open.unwrap()), ["1"]);
    }
}
