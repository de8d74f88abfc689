//! A bucket's keys with their versions, page by page, in whatever order its storage lists them.

use std::time::UNIX_EPOCH;

use sealgate_data_plane::backend::s3::S3Backend;
use sealgate_data_plane::backend::{Backend as _, ListEntry, ListFrom, ListOptions, VersionListOptions};

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
    open: Option<Group>,
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
            Next::End => Ok(self.open.take().map(|group| vec![group])),
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
                let mut done = Vec::new();
                for entry in page.entries {
                    let (id, marker) = (entry.version_id, entry.delete_marker);
                    let key = entry.object.key.clone();
                    let version = version(entry.object, id, marker);
                    match &mut self.open {
                        Some(group) if group.key == key => group.versions.push(version),
                        _ => done.extend(self.open.replace(Group { key, versions: vec![version] })),
                    }
                }
                // Listings begin with the newest.
                for group in &mut done {
                    group.versions.reverse();
                }
                if let (Next::End, Some(group)) = (&self.next, &mut self.open) {
                    group.versions.reverse();
                }
                Ok(Some(done))
            }
        }
    }
}

fn version(entry: ListEntry, id: String, delete_marker: bool) -> Version {
    let modified = entry.last_modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (etag, size) = if delete_marker { (String::new(), 0) } else { (entry.etag, entry.size) };
    Version { id, etag, size, modified, delete_marker }
}
