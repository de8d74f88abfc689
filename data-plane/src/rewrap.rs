//! Envelopes wrapped anew, and objects encrypted anew, where their intermediate keys are retired or compromised.
//!
//! The control plane says which bucket (`Bucket::rewrap`) and which keys; one node at a time does the work, page by page of a
//! listing, and reports the last key that is done. Whoever dies, another goes on from there. **No write of a client is lost to it**:
//! what is written is held to what was looked at, by the storage, and where the storage cannot do that the object is left and listed.
//! An ETag names one write and no other meanwhile, since copies into the bucket are sealed anew ([`crate::copy::object`]).
//!
//! - A retired key: the object's own key is wrapped under the bucket's active one ([`object`], [`write`]). No plaintext is touched.
//! - A compromised one: the object's own key is known. It is read, proved, and sealed under a new one ([`reencrypt`]).
//!
//! The keys of the work are asked for apart from all others, kept for this work alone and never used to serve anybody ([`targets`]).

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sealgate_envelope::ids::BucketId;

use crate::node::Node;
use crate::snapshot::{Bucket, BucketState};
use crate::worker::Backends;

pub mod object;
pub mod pass;
pub mod reencrypt;
pub mod tally;
pub mod targets;
pub mod uploads;
pub mod work;
pub mod write;

/// How often work is asked for that another node has, or that waits for something.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// How often the config is looked at when nothing says that it changed.
const LOOK: Duration = Duration::from_secs(30);

/// Works on what the config names, until it is dropped.
pub async fn run(node: Arc<Node>, backends: Rc<Backends>) {
    let mut applied = node.watch_applied();
    let busy: Rc<RefCell<HashSet<BucketId>>> = Rc::default();
    loop {
        applied.mark_unchanged();
        let mut any = false;
        let snapshot = node.snapshot();
        for bucket in snapshot.iter().flat_map(|snapshot| snapshot.buckets()).filter(|it| is_wanted(it)) {
            any = true;
            if busy.borrow_mut().insert(bucket.id) {
                let (busy, id) = (Rc::clone(&busy), bucket.id);
                let work = work::run(Arc::clone(&node), Rc::clone(&backends), Arc::clone(bucket));
                actix_rt::spawn(async move {
                    let _place = Place { busy, id };
                    work.await;
                });
            }
        }
        let wait = if any { ASK_AGAIN } else { LOOK };
        let _ = tokio::time::timeout(wait, applied.changed()).await;
    }
}

/// Whether there is work on a bucket, and it may be written to.
fn is_wanted(bucket: &Bucket) -> bool {
    bucket.rewrap > 0 && bucket.state == BucketState::Active && !bucket.frozen && bucket.keys.is_some()
}

/// A bucket's place among those that this node works on, free again however the work ends.
struct Place {
    busy: Rc<RefCell<HashSet<BucketId>>>,
    id: BucketId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.busy.borrow_mut().remove(&self.id);
    }
}
