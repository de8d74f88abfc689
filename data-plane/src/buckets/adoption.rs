//! Backend buckets that are there already, taken over: looked at, and committed or refused.
//!
//! Nothing that lies in the bucket decides anything by itself. Its logical id is compared with the one that the operator gave
//! the control plane; key records are only carried there, where the recovery card and the KMS decide about them. And before the
//! bucket is in use, every record that the store has of it lies in it: a replica may lack the newest.

use std::collections::HashMap;
use std::rc::Rc;

use sealgate_envelope::{BucketId, IkRecord, hidden};
use sealgate_proto::v1 as wire;
use tonic::Code as GrpcCode;
use tracing::{info, warn};

use super::{LOOKS, marker, put_marker, unmake, work};
use crate::backend::{Backend, BackendError, GetOptions, ListFrom, ListOptions};
use crate::node::Node;
use crate::pipeline;
use crate::snapshot::Adoption;
use crate::sweep::{Known, records_once};
use crate::worker::Backends;

/// The most key records of a bucket: one a day and bucket that it was copied from, for centuries.
const MAX_RECORDS: usize = 100_000;
/// The largest key record, in bytes.
const RECORD_MAX: usize = 16 << 10;
/// Bytes of records in a call to the control plane.
const BATCH: usize = 32 << 10;

/// Why a bucket is not taken over.
enum Stopped {
    /// It is not what the operator says: for the operator, in these words.
    Refused(String),
    /// Not now; it is tried again.
    Later(String),
    /// The operator took the intent back.
    Gone,
}

impl From<BackendError> for Stopped {
    fn from(error: BackendError) -> Self {
        Self::Later(error.to_string())
    }
}

impl From<tonic::Status> for Stopped {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            GrpcCode::NotFound => Self::Gone,
            _ => Self::Later(status.message().to_owned()),
        }
    }
}

/// Takes over the buckets that the admin API named. `seen` has how often each was met: one that failed is tried again after
/// some looks.
pub async fn adopt_pending(node: &Node, backends: &Backends, seen: &mut HashMap<BucketId, u32>) {
    let Some(snapshot) = node.snapshot() else { return };
    let mut adopting = HashMap::new();
    for adoption in &snapshot.adoptions {
        let bucket = &adoption.bucket;
        let looks = seen.get(&bucket.id).copied().unwrap_or_default();
        let Some(backend) = backends.of(bucket).filter(|_| looks % LOOKS == 0) else {
            adopting.insert(bucket.id, looks.wrapping_add(1));
            continue;
        };
        let name = &bucket.name;
        // One that is over is not remembered: the operator may come again with the same id, for another place, at once.
        match adopt(node, adoption, &backend, snapshot.work_bucket(&bucket.backend)).await {
            Ok(()) => {
                info!(target: "audit", bucket = name, backend_bucket = bucket.backend_bucket, "bucket adopted")
            }
            Err(Stopped::Later(reason)) => {
                warn!(bucket = name, reason, "a bucket cannot be adopted now; it is tried again");
                adopting.insert(bucket.id, looks.wrapping_add(1));
            }
            Err(Stopped::Gone) => leave(adoption, backend.as_ref()).await,
            Err(Stopped::Refused(reason)) => {
                warn!(bucket = name, reason, "a bucket is not adopted");
                let request = wire::RefuseAdoptRequest { bucket_id: bucket.id.as_bytes().to_vec(), reason };
                match node.control.buckets().refuse_adopt(request).await {
                    Ok(_) => leave(adoption, backend.as_ref()).await,
                    Err(status) if status.code() == GrpcCode::NotFound => {
                        leave(adoption, backend.as_ref()).await
                    }
                    // Another node may have taken it over: what is in it is that one's now.
                    Err(status) => {
                        warn!(bucket = name, reason = status.message(), "the refusal was not taken")
                    }
                }
            }
        }
    }
    *seen = adopting;
}

/// Takes out what this adoption put in: the id of a plain bucket. That of a replica was there before.
async fn leave(adoption: &Adoption, backend: &dyn Backend) {
    if adoption.plain {
        unmake(backend, &adoption.bucket.backend_bucket, adoption.bucket.id).await;
    }
}

async fn adopt(
    node: &Node,
    adoption: &Adoption,
    backend: &Rc<dyn Backend>,
    work_bucket: Option<&str>,
) -> Result<(), Stopped> {
    let Adoption { bucket, plain } = adoption;
    let place = &bucket.backend_bucket;
    let found = match marker(backend.as_ref(), place).await {
        Err(error) if error.is("NoSuchBucket") => {
            return Err(Stopped::Refused(format!(
                "the backend {:?} has no bucket {place:?}",
                bucket.backend
            )));
        }
        Err(BackendError::Protocol(why)) => return Err(Stopped::Refused(format!("{place}: {why}"))),
        // Storage that says NoSuchKey of a bucket that is not there.
        Ok(None) => match backend.head_bucket(place).await {
            Err(error) if error.is("NoSuchBucket") => {
                return Err(Stopped::Refused(format!(
                    "the backend {:?} has no bucket {place:?}",
                    bucket.backend
                )));
            }
            there => there.map(|()| None)?,
        },
        found => found?,
    };
    if let Some(work_bucket) = work_bucket {
        work::ensure(backend.as_ref(), work_bucket).await?;
    }
    let (keys, refused_keys) = match (plain, found) {
        (true, None) => {
            if let Some(key) = first(backend.as_ref(), place, hidden::RESERVED).await? {
                if key == hidden::BUCKET {
                    return Err(Stopped::Later("its logical id has just come: from another node".to_owned()));
                }
                return Err(Stopped::Refused(format!(
                    "{place} holds {key:?}, and what begins with {} is the gateway's own: remove it, or adopt the bucket by \
                     its logical id",
                    hidden::RESERVED
                )));
            }
            put_marker(backend.as_ref(), place, bucket.id).await?;
            (0, 0)
        }
        (true, Some(id)) if id == bucket.id => (0, 0),
        (true, Some(id)) => {
            return Err(Stopped::Refused(format!(
                "{place} carries the logical id {id}: it is the bucket of a gateway, or its copy. Adopt it by that id and the \
                 recovery card",
            )));
        }
        (false, Some(id)) if id == bucket.id => import(node, adoption, backend.as_ref()).await?,
        (false, Some(id)) => {
            return Err(Stopped::Refused(format!(
                "{place} carries the logical id {id}, not {}: it is another bucket's copy",
                bucket.id
            )));
        }
        (false, None) => {
            return Err(Stopped::Refused(format!(
                "{place} carries no logical id: copy {} from the original too (17 bytes, no metadata)",
                hidden::BUCKET
            )));
        }
    };
    records_once(node, bucket, backend, Known::ByBytes).await.map_err(Stopped::Later)?;
    let bucket_id = bucket.id.as_bytes().to_vec();
    let request = wire::CommitAdoptRequest { bucket_id, keys, refused_keys };
    node.control.buckets().commit_adopt(request).await?;
    Ok(())
}

/// Carries the bucket's key records to the control plane: how many it has now, and how many it refused.
async fn import(node: &Node, adoption: &Adoption, backend: &dyn Backend) -> Result<(u64, u64), Stopped> {
    let place = &adoption.bucket.backend_bucket;
    let (mut taken, mut refused, mut met) = (0, 0, 0);
    let mut from = ListFrom::Start;
    loop {
        let options =
            ListOptions { prefix: hidden::IK_PREFIX.to_owned(), delimiter: None, from, max_keys: 1_000 };
        let page = backend.list_v2(place, options).await?;
        met += page.entries.len();
        if met > MAX_RECORDS {
            return Err(Stopped::Refused(format!("{place} holds more than {MAX_RECORDS} key records")));
        }
        let mut batch = Vec::new();
        for entry in &page.entries {
            match record(backend, place, &entry.key).await? {
                Some(bytes) => batch.push(bytes),
                None => refused += 1,
            }
            if batch.iter().map(Vec::len).sum::<usize>() >= BATCH {
                let answer = send(node, adoption, std::mem::take(&mut batch)).await?;
                (taken, refused) = (taken + u64::from(answer.taken), refused + u64::from(answer.refused));
            }
        }
        let answer = send(node, adoption, batch).await?;
        (taken, refused) = (taken + u64::from(answer.taken), refused + u64::from(answer.refused));
        match page.next {
            Some(next) => from = ListFrom::Token(next),
            None => break,
        }
    }
    // A plain bucket that was adopted before and released has an id, and no key records.
    if taken == 0 && !adoption.bucket.encrypts_nothing() && visible(backend, place).await? {
        return Err(Stopped::Refused(format!(
            "{place} holds objects, and none of its {met} key records opens: is this the keyring that they were made under, and \
             are the records under {} complete?",
            hidden::IK_PREFIX
        )));
    }
    Ok((taken, refused))
}

async fn send(
    node: &Node,
    adoption: &Adoption,
    records: Vec<Vec<u8>>,
) -> Result<wire::ImportRecordsResponse, Stopped> {
    if records.is_empty() {
        return Ok(wire::ImportRecordsResponse::default());
    }
    let bucket_id = adoption.bucket.id.as_bytes().to_vec();
    let answer =
        node.control.buckets().import_records(wire::ImportRecordsRequest { bucket_id, records }).await?;
    Ok(answer.into_inner())
}

/// A key record, if it is one and lies under its own name.
async fn record(backend: &dyn Backend, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, BackendError> {
    let answer = backend.get(bucket, key, GetOptions::default()).await?;
    if answer.meta.size > RECORD_MAX as u64 {
        return Ok(None);
    }
    let bytes = pipeline::collect(answer.body, RECORD_MAX).await?;
    let named = IkRecord::parse(&bytes).and_then(|record| hidden::ik_record_name(&record));
    Ok(named.is_ok_and(|name| name == key).then_some(bytes))
}

/// The first key with a prefix.
async fn first(backend: &dyn Backend, bucket: &str, prefix: &str) -> Result<Option<String>, BackendError> {
    let options =
        ListOptions { prefix: prefix.to_owned(), delimiter: None, from: ListFrom::Start, max_keys: 1 };
    let page = backend.list_v2(bucket, options).await?;
    Ok(page.entries.into_iter().next().map(|entry| entry.key))
}

/// Whether clients will see anything in it.
async fn visible(backend: &dyn Backend, bucket: &str) -> Result<bool, BackendError> {
    let mut from = ListFrom::Start;
    loop {
        let options = ListOptions { prefix: String::new(), delimiter: None, from, max_keys: 1_000 };
        let page = backend.list_v2(bucket, options).await?;
        if page.entries.iter().any(|entry| !hidden::is_hidden(entry.key.as_bytes())) {
            return Ok(true);
        }
        match page.next {
            Some(next) => from = ListFrom::Token(next),
            None => return Ok(false),
        }
    }
}
