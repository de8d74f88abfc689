//! A store whose disk fails when a test says so, and what the control plane does then.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sealgate_control_plane::registry::records::Tenants;
use sealgate_store::{
    Compare, Op, Revision, SledStore, Store, StoreError, StoreSnapshot, Versioned, Watch, WatchError,
};

use crate::support::{admin, admin_with, start};

/// sled, until its disk fails.
pub struct Fragile {
    pub inner: SledStore,
    /// From when this is set, as after a sync that failed. Apart from the store, which nobody may hold beyond its end.
    pub failed: Arc<AtomicBool>,
}

impl Store for Fragile {
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
    fn revision(&self) -> Revision {
        self.inner.revision()
    }
    fn writable(&self) -> bool {
        !self.failed.load(Ordering::SeqCst)
    }
    fn txn(&self, compare: &[Compare], ops: Vec<Op>) -> Result<Revision, StoreError> {
        if self.writable() {
            self.inner.txn(compare, ops)
        } else {
            Err(StoreError::Engine("the test says so".to_owned()))
        }
    }
    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key)
    }
    fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.inner.scan(prefix)
    }
    fn snapshot(&self) -> Result<StoreSnapshot, StoreError> {
        self.inner.snapshot()
    }
    fn watch(&self, from: Revision) -> Result<Watch, WatchError> {
        self.inner.watch(from)
    }
}

#[actix_rt::test]
async fn a_store_that_takes_no_changes_is_seen_and_what_it_has_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    let key = node.placed_key(bucket).await;
    assert_eq!(admin_with(&world, "GET", "/readyz", "", "").await.0, 200);
    let gauge = async |value: &str| {
        let (_, text) = admin_with(&world, "GET", "/metrics", "", "").await;
        let line = text.lines().find(|line| line.starts_with("sealgate_control_store_writable")).unwrap();
        assert!(line.ends_with(value), "{line}");
    };
    gauge(" 1").await;

    world.store_failed.store(true, Ordering::SeqCst);
    assert_eq!(admin(&world, "POST", "/v1/tenants", r#"{"name":"acme"}"#).await.0, 503);
    let (status, text) = admin_with(&world, "GET", "/readyz", "", "").await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("store"), "{text}");
    gauge(" 0").await;
    assert_eq!(admin_with(&world, "GET", "/healthz", "", "").await.0, 200);
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik, "keys are given out all the same");
    world.handle.stop().await;
}
