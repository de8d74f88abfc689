//! A pass: what differs is copied, then both listings are held against what was written down. What does not agree is
//! forgotten, so that the next pass brings it: nothing counts as copied because it once was.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::copy::Copier;
use super::listing::{Group, Walk};
use super::state::{Copied, Row, State};
use crate::failure::{Exit, Failure, Outcome};

/// A pass.
pub struct Pass<'a> {
    pub state: &'a State,
    pub copier: &'a Copier<'a>,
    /// Higher than of each pass before.
    pub number: u32,
    /// Nobody writes into the source: what changes all the same is an error.
    pub frozen: bool,
    /// Also looks at what listings do not show: tags, locks, metadata.
    pub deep: bool,
    /// Takes equal objects in the target for copies.
    pub adopting: bool,
    /// Keys at a time.
    pub jobs: usize,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    /// Keys in the source.
    pub keys: u64,
    /// Versions and delete markers in the source; without versioning, objects.
    pub versions: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions that were copied.
    pub copied: u64,
    pub copied_bytes: u64,
    /// Keys that are in the source no more.
    pub deleted: u64,
    /// Keys that changed while they were copied.
    pub changed: u64,
    /// Keys of which the target did not have what was written down.
    pub repaired: u64,
}

impl Counts {
    /// What the next pass may find anew as much of.
    pub fn work(&self) -> u64 {
        self.copied + self.deleted + self.changed + self.repaired
    }

    fn add(mut self, other: Self) -> Self {
        self.keys += other.keys;
        self.versions += other.versions;
        self.bytes += other.bytes;
        self.copied += other.copied;
        self.copied_bytes += other.copied_bytes;
        self.deleted += other.deleted;
        self.changed += other.changed;
        self.repaired += other.repaired;
        self
    }
}

impl Pass<'_> {
    /// Brings the target to what the source is.
    pub async fn run(&self) -> Outcome<Counts> {
        let (copier, mut counts) = (self.copier, Counts::default());
        let mut source = Walk::new(copier.backend, copier.from, copier.versioned);
        while let Some(groups) = source.page().await? {
            let brought = stream::iter(groups).map(|group| self.bring(group)).buffer_unordered(self.jobs);
            counts = brought.try_fold(counts, async |all, one| Ok(all.add(one))).await?;
            copier
                .bar
                .set_message(format!("pass {}: {} keys, {} copied", self.number, counts.keys, counts.copied));
        }
        self.compare(counts).await
    }

    /// Empties the target of what is not known to be a copy.
    pub async fn clear_unknown(&self) -> Outcome<()> {
        self.compare(Counts::default()).await.map(drop)
    }

    async fn bring(&self, group: Group) -> Outcome<Counts> {
        let Group { key, versions } = &group;
        let known = self.state.row(key)?;
        if known.as_ref().is_some_and(|row| row.seen == self.number) {
            // Some storages list a key twice when others come or go meanwhile.
            return Ok(Counts::default());
        }
        let mut counts = Counts {
            keys: 1,
            versions: versions.len() as u64,
            bytes: versions.iter().map(|version| version.size).sum(),
            ..Counts::default()
        };
        let mut row = known.clone().unwrap_or_default();
        row.seen = self.number;
        if !self.begins_like(key, &mut row, &group).await? {
            if self.copier.versioned && !row.copied.is_empty() {
                self.clear_copies(key, &row).await?;
            }
            if !self.copier.versioned && self.adopting && known.is_none() {
                row.copied = self.copier.adopt(key, &versions[0]).await?.into_iter().collect();
            } else if self.copier.versioned {
                row.copied.clear();
            }
        }
        let there = if self.same_beginning(&row, &group) { row.copied.len() } else { 0 };
        for version in &versions[there..] {
            let Some(copied) = self.copier.copy(key, version).await? else {
                if self.frozen {
                    return Err(Failure::new(
                        Exit::Failure,
                        format!("s3://{}/{key}: changed although the bucket is frozen", self.copier.from),
                    )
                    .hint("does anything write to the storage past the gateway? Or is a lifecycle rule at work?"));
                }
                counts.changed += 1;
                break;
            };
            counts.copied += 1;
            counts.copied_bytes += version.size;
            if !self.copier.versioned {
                row.copied.clear();
            }
            row.copied.push(copied);
        }
        self.state.put(key, &row)?;
        Ok(counts)
    }

    /// Whether what was copied of a key is how its history still begins, also in what listings do not show.
    async fn begins_like(&self, key: &str, row: &mut Row, group: &Group) -> Outcome<bool> {
        if !self.same_beginning(row, group) {
            return Ok(false);
        }
        if self.deep {
            for copied in &mut row.copied {
                if !self.copier.still_same(key, copied).await? {
                    copied.source.etag.clear();
                    return Ok(false);
                }
            }
        }
        Ok(!row.copied.is_empty())
    }

    fn same_beginning(&self, row: &Row, group: &Group) -> bool {
        row.copied.len() <= group.versions.len()
            && row.copied.iter().zip(&group.versions).all(|(copied, version)| copied.source == *version)
    }

    async fn clear_copies(&self, key: &str, row: &Row) -> Outcome<()> {
        let versions: Vec<_> =
            row.copied.iter().map(|copied| target_version(copied, self.copier.versioned)).collect();
        self.copier.clear(key, &versions).await
    }

    /// Holds the target against what is written down.
    async fn compare(&self, mut counts: Counts) -> Outcome<Counts> {
        let copier = self.copier;
        let mut target = Walk::new(copier.backend, copier.to, copier.versioned);
        while let Some(groups) = target.page().await? {
            let compared =
                stream::iter(groups).map(|group| self.compare_key(group)).buffer_unordered(self.jobs);
            counts = compared.try_fold(counts, async |all, one| Ok(all.add(one))).await?;
        }
        for found in self.state.rows() {
            let (key, row) = found?;
            if row.seen != self.number {
                self.state.remove(&key)?;
            } else if row.found != self.number && !row.copied.is_empty() {
                self.state.remove(&key)?;
                counts.repaired += 1;
            }
        }
        Ok(counts)
    }

    async fn compare_key(&self, group: Group) -> Outcome<Counts> {
        let Group { key, versions } = group;
        let row = self.state.row(&key)?.filter(|row| row.seen == self.number && !row.copied.is_empty());
        let Some(mut row) = row else {
            self.copier.clear(&key, &versions).await?;
            return Ok(Counts { deleted: 1, ..Counts::default() });
        };
        let same = row.copied.len() == versions.len()
            && row.copied.iter().zip(&versions).all(|(copied, version)| {
                let named = if self.copier.versioned { &version.id } else { &version.etag };
                copied.target == *named
                    && copied.source.size == version.size
                    && copied.source.delete_marker == version.delete_marker
            });
        if same {
            row.found = self.number;
            self.state.put(&key, &row)?;
            return Ok(Counts::default());
        }
        if self.copier.versioned {
            self.copier.clear(&key, &versions).await?;
        }
        self.state.remove(&key)?;
        Ok(Counts { repaired: 1, ..Counts::default() })
    }
}

/// A copy as the target's listing names it.
fn target_version(copied: &Copied, versioned: bool) -> super::state::Version {
    let id = if versioned { copied.target.clone() } else { String::new() };
    super::state::Version { id, ..copied.source.clone() }
}
