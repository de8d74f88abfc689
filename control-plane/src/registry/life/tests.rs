//! What the registry says of KEKs, over stores that no control plane of now would have written, and of work that changes under whoever
//! ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use sealgate_envelope::{
    BucketId, IkContext, IkId, IkRecord, RecoveryCard, TenantId, recovery_card::CardBucket,
};
use sealgate_kms::{LocalKms, Router};
use sealgate_store::{MemoryStore, Op, Store as _, encode};
use serde_json::json;

use super::{PARTS, Rewrapped};
use crate::{
    Config, Error, ManualClock,
    registry::{
        Defaults, Registry, Sealer,
        adoption::{Adopt, Adopted},
        records::{CheckRecord, IkEntry, ik_key, tenant_key},
        report::VersionReport,
    },
};

const KEK: &str = "vault/k";
const TENANT: TenantId = TenantId::from_bytes([7; 16]);

struct World {
    store: Arc<MemoryStore>,
    registry: Registry,
    bucket: BucketId,
    _dir: tempfile::TempDir,
}

impl World {
    /// A tenant as the first version of the store wrote it, and a bucket.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::dev(dir.path(), vec!["eu-central-1".to_owned()]).unwrap();
        let keyring = config.kms.local.clone().unwrap();
        let kms = LocalKms::open_or_create(&keyring.keyring, &keyring.unlock.read().unwrap()).unwrap();
        let store = Arc::new(MemoryStore::default());
        let sealer = Sealer::load(&*store, &Router::only(Arc::new(kms))).await.unwrap();
        let tenant =
            json!({ "id": TENANT.to_string(), "name": "t", "kek": KEK, "created": 1, "unproved_life": 0 });
        first_version(&store, &tenant_key(TENANT), &tenant);
        let defaults = Defaults {
            regions: vec!["eu-central-1".to_owned()],
            backends: vec![("main".to_owned(), String::new())],
            default_backend: "main".to_owned(),
            backend_prefix: String::new(),
        };
        let clock = Arc::new(ManualClock::new(1_000_000));
        let registry = Registry::open(store.clone(), sealer, clock, defaults).unwrap();
        let bucket = registry.begin_create(TENANT, "bucket", "").unwrap().id;
        registry.commit_create(bucket).unwrap();
        Self { store, registry, bucket, _dir: dir }
    }

    fn record(&self, ik: u8, kek: &str) -> IkRecord {
        let (tenant, bucket, ik) = (TENANT, self.bucket, IkId::from_bytes([ik; 16]));
        let (kek, kek_version) = (kek.to_owned(), String::new());
        IkRecord {
            context: IkContext { tenant, bucket, ik, created: 1, kek, kek_version },
            wrapped: vec![1; 40],
        }
    }

    /// An IK of which the store does not say which version wraps it.
    fn old_ik(&self, ik: u8) -> IkRecord {
        let record = self.record(ik, KEK);
        let entry = json!({
            "record": hex::encode(record.to_bytes().unwrap()), "state": "decrypt-only", "confirmed": true
        });
        first_version(&self.store, &ik_key(self.bucket, record.context.ik), &entry);
        record
    }

    /// One of which it does.
    fn new_ik(&self, ik: u8, version: &str) -> IkRecord {
        let record = self.record(ik, KEK);
        let entry = IkEntry::taken_in(record.to_bytes().unwrap(), version);
        let put = Op::Put(ik_key(self.bucket, record.context.ik), encode(&entry).unwrap());
        self.store.txn(&[], vec![put]).unwrap();
        record
    }

    /// Wraps it anew.
    fn rewrap(&self, replaced: &IkRecord, kek: &str, version: &str) {
        let mut record = self.record(0, kek);
        record.context.ik = replaced.context.ik;
        record.wrapped = vec![2; 40];
        let job = self.registry.job(TENANT).unwrap().unwrap();
        let (replaced, version) = (replaced.clone(), version.to_owned());
        let done = self.registry.commit_rewraps(&job, &[Rewrapped { replaced, record, version }]).unwrap();
        assert_eq!(done.rewrapped, job.rewrapped + 1, "it was another one's");
    }

    /// A node has seen everything.
    fn look(&self) {
        let (revision, node) = (self.store.revision(), "n".to_owned());
        let check = CheckRecord { revision, records: 0, at: 1, node, left: 0 };
        self.registry.checked(self.bucket, check).unwrap();
    }

    fn version(&self, kek: &str, version: &str) -> VersionReport {
        let report = self.registry.kek_report(TENANT).unwrap();
        let found = report.versions.iter().find(|it| (&*it.kek, &*it.version) == (kek, version)).cloned();
        found.unwrap_or_else(|| panic!("no {kek} {version:?} in {report:?}"))
    }
}

fn first_version(store: &MemoryStore, key: &str, record: &serde_json::Value) {
    let bytes = [&[1][..], record.to_string().as_bytes()].concat();
    store.txn(&[], vec![Op::Put(key.to_owned(), bytes)]).unwrap();
}

#[tokio::test]
async fn keys_from_the_first_version_of_the_store_keep_their_kek_until_all_of_them_are_seen_under_another() {
    let world = World::new().await;
    let (one, two) = (world.old_ik(1), world.old_ik(2));
    let old = world.version(KEK, "");
    assert_eq!((old.records, old.current, old.destroyable), (2, true, false));
    world.registry.begin_rewrap(TENANT, "vault/k2", 20).unwrap();
    world.rewrap(&one, "vault/k2", "v1");
    world.look();
    let old = world.version(KEK, "");
    assert_eq!((old.records, old.copies_unseen, old.destroyable), (1, 0, false), "the other is under it");
    world.rewrap(&two, "vault/k2", "v1");
    let old = world.version(KEK, "");
    assert_eq!((old.records, old.copies_unseen, old.destroyable), (0, 1, false), "its copy is under it");
    world.look();
    let old = world.version(KEK, "");
    assert_eq!((old.records, old.copies_unseen, old.destroyable), (0, 0, true));
    assert!(!world.version("vault/k2", "v1").destroyable);
}

#[tokio::test]
async fn while_one_record_names_no_version_every_version_of_its_kek_stays() {
    let world = World::new().await;
    let (unknown, known) = (world.old_ik(1), world.new_ik(2, "v1"));
    world.registry.begin_rewrap(TENANT, KEK, 20).unwrap();
    // The other one is refused by the KMS, say.
    world.rewrap(&known, KEK, "v2");
    world.look();
    let first = world.version(KEK, "v1");
    assert_eq!((first.records, first.copies_unseen), (0, 0));
    assert!(!first.destroyable, "what names none may need it");
    world.rewrap(&unknown, KEK, "v2");
    assert!(!world.version(KEK, "v1").destroyable, "its copy may");
    world.look();
    assert!(world.version(KEK, "v1").destroyable);
    assert!(!world.version(KEK, "v2").destroyable);
}

/// Who ends the work has read a report that is from before.
#[tokio::test]
async fn work_does_not_end_that_an_adopted_bucket_has_begun_anew() {
    let world = World::new().await;
    let registry = &world.registry;
    registry.begin_rewrap(TENANT, KEK, 20).unwrap();
    let mut job = registry.job(TENANT).unwrap().unwrap();
    job.part = PARTS;
    let job = registry.commit_rewraps(&job, &[]).unwrap();
    let (name, id) = ("replica".to_owned(), BucketId::from_bytes([9; 16]));
    let on_card = CardBucket { tenant: TENANT, bucket: id, name: name.clone() };
    let what = Adopted::Known(id, RecoveryCard::new(vec![on_card], vec![KEK.to_owned()]).unwrap());
    let (region, backend, backend_bucket) = (String::new(), String::new(), name.clone());
    let tenant = TENANT;
    registry
        .begin_adopt(Adopt {
            name,
            tenant,
            region,
            backend,
            backend_bucket,
            rules: Vec::new(),
            backend_sse: None,
            what,
        })
        .unwrap();
    registry.commit_adopt(id, 1, 0).unwrap();
    assert!(matches!(registry.end_rewrap(&job, &[KEK.to_owned()]), Err(Error::Conflict(_))));
    let now = registry.job(TENANT).unwrap().unwrap();
    assert_eq!((now.part, now.ended), (0, 0), "what came in with it is to be wrapped anew");
    let mut again = now;
    again.part = PARTS;
    let again = registry.commit_rewraps(&again, &[]).unwrap();
    registry.end_rewrap(&again, &[]).unwrap();
    assert!(registry.job(TENANT).unwrap().unwrap().ended > 0);
}
