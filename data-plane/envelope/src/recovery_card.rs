//! The recovery card: which tenants, buckets and KEKs an offline tool may believe.
//!
//! The operator brings it; it is never read from the bucket, since a planted IK record would bring its own KEK. It holds
//! no secret. Text, one entry a line:
//!
//! ```text
//! sealgate-recovery-card 1
//! # comment
//! bucket <tenant id> <logical bucket id> <name for humans>
//! kek <reference>
//! ```

use crate::error::Error;
use crate::ids::{BucketId, TenantId};
use crate::ik_record::{IkContext, MAX_REFERENCE};
use std::fmt;
use std::str::FromStr;

const FIRST_LINE: &str = "sealgate-recovery-card 1";
/// Bound of a whole card, in bytes.
const MAX_LEN: usize = 1 << 24;

/// A bucket that may be recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardBucket {
    /// Its tenant.
    pub tenant: TenantId,
    /// The logical bucket.
    pub bucket: BucketId,
    /// Its name when the card was printed: for humans only, nothing is decided by it. May be empty.
    pub name: String,
}

/// A recovery card.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryCard {
    buckets: Vec<CardBucket>,
    keks: Vec<String>,
}

impl RecoveryCard {
    /// A card with these entries.
    ///
    /// # Errors
    /// [`Error::Card`] for a name or reference that is no single line of text, or a reference out of bounds.
    pub fn new(buckets: Vec<CardBucket>, keks: Vec<String>) -> Result<Self, Error> {
        let refuse = |why| Err(Error::Card { line: 0, why });
        if !buckets.iter().all(|entry| is_line(&entry.name)) {
            return refuse("bucket name is not a line of text");
        }
        if !keks.iter().all(|kek| is_kek(kek)) {
            return refuse("KEK reference is not a line of text of 1 to 1,024 bytes");
        }
        Ok(Self { buckets, keks })
    }

    /// The buckets, copy sources included.
    #[must_use]
    pub fn buckets(&self) -> &[CardBucket] {
        &self.buckets
    }

    /// The KEK references.
    #[must_use]
    pub fn keks(&self) -> &[String] {
        &self.keks
    }

    /// Whether an IK record may be unwrapped at all: ask before calling a KMS.
    ///
    /// # Errors
    /// [`Error::Card`] when its tenant and bucket, or its KEK, are not on the card.
    pub fn admit(&self, record: &IkContext) -> Result<(), Error> {
        let pair = (record.tenant, record.bucket);
        if !self.buckets.iter().any(|entry| (entry.tenant, entry.bucket) == pair) {
            return Err(Error::Card { line: 0, why: "tenant and bucket of the record are not on the card" });
        }
        if !self.keks.contains(&record.kek) {
            return Err(Error::Card { line: 0, why: "the record's KEK is not on the card" });
        }
        Ok(())
    }
}

impl fmt::Display for RecoveryCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        for CardBucket { tenant, bucket, name } in &self.buckets {
            writeln!(f, "bucket {tenant} {bucket} {name}")?;
        }
        self.keks.iter().try_for_each(|kek| writeln!(f, "kek {kek}"))
    }
}

impl FromStr for RecoveryCard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_LEN {
            return Err(Error::Card { line: 0, why: "above 16 MiB" });
        }
        let mut card = Self::default();
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        if lines.next().map(|(_, line)| line) != Some(FIRST_LINE) {
            return Err(Error::Card { line: 1, why: "does not begin with `sealgate-recovery-card 1`" });
        }
        for (line, content) in lines {
            let refuse = |why| Error::Card { line, why };
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            match content.split_once(' ') {
                Some(("bucket", rest)) => {
                    let entry = parse_bucket(rest);
                    card.buckets
                        .push(entry.ok_or_else(|| refuse("not two ids of 32 hex digits and a name"))?);
                }
                Some(("kek", reference)) if is_kek(reference) => card.keks.push(reference.to_owned()),
                Some(("kek", _)) => return Err(refuse("KEK reference out of bounds")),
                _ => return Err(refuse("begins with neither `bucket` nor `kek`")),
            }
        }
        Ok(card)
    }
}

fn parse_bucket(rest: &str) -> Option<CardBucket> {
    let (tenant, rest) = rest.split_once(' ')?;
    let (bucket, name) = rest.split_once(' ').unwrap_or((rest, ""));
    is_line(name).then_some(())?;
    Some(CardBucket { tenant: tenant.parse().ok()?, bucket: bucket.parse().ok()?, name: name.to_owned() })
}

fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn is_kek(reference: &str) -> bool {
    !reference.is_empty() && reference.len() <= MAX_REFERENCE && is_line(reference)
}
