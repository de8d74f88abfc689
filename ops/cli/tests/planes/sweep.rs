//! The sweep: what an upload leaves behind goes only when the upload is surely over.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend, Conditions, GetOptions, PutOptions, UploadListOptions};
use sealgate_data_plane::clock::{Clock as _, ManualClock, SystemClock};
use sealgate_data_plane::pipeline;
use sealgate_data_plane::plane::DataPlane;
use sealgate_data_plane::sweep;
use sealgate_data_plane::worker::Backends;
use sealgate_envelope::{GatewayId, Ik, IkId, ObjectKeys, Suite, UploadName, UploadRecord, hidden};

use super::s3::{Client, bytes};
use super::steered::{Call, Moment, Steered};
use super::storage::list;
use super::world::{World, identity, issue, tenant, try_admin, until};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

struct Swept {
    node: DataPlane,
    backends: Backends,
    storage: Rc<dyn Backend>,
    clock: Arc<ManualClock>,
    client: Client,
}

impl Swept {
    /// Requests are signed by the node's clock, which is days ahead of the machine's.
    async fn send(&self, method: &str, target: &str, body: impl Into<Bytes>) -> super::s3::Answer {
        let when = UNIX_EPOCH + Duration::from_secs(self.clock.unix());
        self.client.try_send_at(method, target, body.into(), when).await.unwrap()
    }

    /// An upload with one part.
    async fn upload(&self, key: &str) -> String {
        let id = self.send("POST", &format!("/bucket/{key}?uploads="), "").await.ok().tag("UploadId");
        let target = format!("/bucket/{key}?partNumber=1&uploadId={id}");
        self.send("PUT", &target, bytes(100_000, 1)).await.ok();
        id
    }

    async fn sweep(&self) {
        sweep::once(self.node.node(), &self.backends).await;
    }

    /// A gauge of the bucket's hidden objects, as the node tells it.
    fn told(&self, gauge: &str, kind: &str) -> Option<u64> {
        let text = self.node.node().metrics.render();
        let series = format!("sealgate_node_bucket_hidden_{gauge}{{bucket=\"bucket\",kind=\"{kind}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).map(|value| value.parse().unwrap())
    }

    /// Hidden objects of uploads: all, and the marks of those that were seen gone.
    async fn hidden(&self) -> (usize, usize) {
        let entries = list(self.storage.as_ref(), "bucket", hidden::UPLOAD_PREFIX).await;
        let marks = entries.iter().filter(|entry| entry.key.contains("/gone/")).count();
        (entries.len() - marks, marks)
    }
}

async fn swept(world: &World) -> (Swept, sealgate_control_plane::Handle) {
    let control = world.control().await;
    let client = tenant(&control).await;
    let clock = ManualClock::at(SystemClock::shared().unix());
    let endpoint = format!("https://{}", control.grpc_addr());
    let identity = identity(&issue(&control, "one").await);
    let node = world.node_by(endpoint, identity, Arc::clone(&clock) as _).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();
    let backends = Backends::open(&node.node().config.backends).unwrap();
    let storage: Rc<dyn Backend> = Rc::new(FsBackend::open(world.backend()).unwrap());
    (Swept { node, backends, storage, clock, client }, control)
}

#[actix_rt::test]
async fn leftovers_go_after_seven_days_and_two_looks() {
    let world = World::new();
    let (swept, control) = swept(&world).await;
    let id = swept.upload("object").await;
    let before = swept.hidden().await;
    assert!(before.0 >= 2 && before.1 == 0, "a record and a note: {before:?}");
    swept.sweep().await;
    assert_eq!(swept.hidden().await, before, "an open upload was touched");

    // Behind the gateway's back, as a lifecycle rule of the backend does.
    swept.storage.abort_upload("bucket", "object", &id).await.unwrap();
    swept.clock.advance(30 * DAY);
    swept.sweep().await;
    assert_eq!(swept.hidden().await, (before.0, 1), "one look is not two, however late it is");
    swept.clock.advance(7 * DAY - HOUR);
    swept.sweep().await;
    assert_eq!(swept.hidden().await, (before.0, 1), "the seven days are not over");
    swept.clock.advance(HOUR);
    swept.sweep().await;
    assert_eq!(swept.hidden().await, (0, 0));
    assert_eq!(
        list(swept.storage.as_ref(), "bucket", hidden::IK_PREFIX).await.len(),
        1,
        "a key record was swept"
    );
    swept.node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn each_look_tells_how_many_hidden_objects_there_are_and_why() {
    let world = World::new();
    let (swept, control) = swept(&world).await;
    let counts = |swept: &Swept| {
        ["key-record", "upload", "leftover", "unclaimed"].map(|kind| swept.told("objects", kind))
    };
    let id = swept.upload("object").await;
    swept.upload("other").await;
    // A record that nobody can read says whose it is no more than none.
    let orphan = format!("{}orphan/n/00001", hidden::UPLOAD_PREFIX);
    let body = pipeline::upload(Bytes::from_static(b"12345"));
    swept.storage.put("bucket", &orphan, PutOptions::default(), body).await.unwrap();
    assert_eq!(counts(&swept), [None; 4], "nobody has looked yet");

    swept.sweep().await;
    let (all, _) = swept.hidden().await;
    let uploads = all as u64 - 1;
    assert_eq!(counts(&swept), [None, Some(uploads), Some(0), Some(1)]);
    assert_eq!(
        (swept.told("bytes", "unclaimed"), swept.told("counted_seconds", "upload")),
        (Some(5), Some(swept.clock.unix()))
    );
    let entries = list(swept.storage.as_ref(), "bucket", hidden::UPLOAD_PREFIX).await;
    let bytes: u64 = entries.iter().filter(|entry| entry.key != orphan).map(|entry| entry.size).sum();
    assert_eq!(swept.told("bytes", "upload"), Some(bytes));

    swept.storage.abort_upload("bucket", "object", &id).await.unwrap();
    swept.clock.advance(HOUR);
    swept.sweep().await;
    // Its own, and the mark that it was seen gone.
    assert_eq!(counts(&swept), [None, Some(uploads / 2), Some(uploads / 2 + 1), Some(1)]);
    swept.clock.advance(8 * DAY);
    swept.sweep().await;
    assert_eq!(counts(&swept), [None, Some(uploads / 2), Some(0), Some(1)]);

    sweep::replace_missing_records(swept.node.node(), &swept.backends).await;
    assert_eq!(counts(&swept)[0], Some(1));
    let record = list(swept.storage.as_ref(), "bucket", hidden::IK_PREFIX).await;
    assert_eq!(swept.told("bytes", "key-record"), Some(record[0].size));
    swept.storage.delete("bucket", &record[0].key, None, Conditions::default()).await.unwrap();
    sweep::replace_missing_records(swept.node.node(), &swept.backends).await;
    assert_eq!(counts(&swept)[0], Some(1), "what was written back counts");
    swept.node.stop().await;
    control.stop().await;
}

impl Swept {
    async fn stored(&self, key: &str) -> Bytes {
        let answer = self.storage.get("bucket", key, GetOptions::default()).await.unwrap();
        pipeline::collect(answer.body, 64 << 10).await.unwrap().into()
    }

    async fn store(&self, key: &str, bytes: impl Into<Bytes>) {
        let body = pipeline::upload(bytes.into());
        self.storage.put("bucket", key, PutOptions::default(), body).await.unwrap();
    }
}

#[actix_rt::test]
async fn a_key_record_that_is_not_whole_is_written_over_before_the_one_it_replaced_goes() {
    let world = World::new();
    let (swept, control) = swept(&world).await;
    swept.upload("object").await;
    let records = async || list(swept.storage.as_ref(), "bucket", hidden::IK_PREFIX).await;
    let look = async || sweep::replace_missing_records(swept.node.node(), &swept.backends).await;
    let old = records().await.remove(0).key;
    let first = swept.stored(&old).await;
    // A storage that keeps what it got of a cut body.
    swept.store(&old, first.slice(..10)).await;
    look().await;
    assert_eq!(swept.stored(&old).await, first, "a record that was cut");

    let token = std::fs::read_to_string(world.path().join("control/admin-token")).unwrap();
    let admin = async |method: &'static str, path: &'static str| {
        try_admin(control.admin_addr(), &token, method, path, serde_json::json!({})).await.unwrap()
    };
    assert_eq!(admin("POST", "/v1/tenants/tests/kek/rotate").await.status, 202);
    until("the new record alone", async || records().await.iter().all(|entry| entry.key != old)).await;
    let new = records().await.remove(0).key;
    let second = swept.stored(&new).await;
    // Damaged without a change of its size, and the old one is back: it must not go while the other one is no good.
    let mut damaged = second.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    swept.store(&new, damaged).await;
    swept.store(&old, first).await;
    look().await;
    assert_eq!(records().await.len(), 1, "the old one is gone");
    assert_eq!(swept.stored(&new).await, second, "a record that was damaged");
    swept.node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn an_open_upload_stays_however_old_it_is_and_can_be_completed() {
    let world = World::new();
    let (swept, control) = swept(&world).await;
    let id = swept.upload("object").await;
    let before = swept.hidden().await;
    // Up to the last day that the node has signing keys for.
    for _ in 0..2 * 24 {
        swept.clock.advance(HOUR);
        swept.sweep().await;
    }
    assert_eq!(swept.hidden().await, before);
    let listed = swept.send("GET", &format!("/bucket/object?uploadId={id}"), "").await.ok();
    let etag = listed.tag("ETag").replace("&quot;", "\"");
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    swept.send("POST", &format!("/bucket/object?uploadId={id}"), document).await.ok();
    assert_eq!(swept.send("GET", "/bucket/object", "").await.ok().body, bytes(100_000, 1));
    swept.node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn an_upload_that_a_listing_leaves_out_is_not_over() {
    let world = World::new();
    let (swept, control) = swept(&world).await;
    let id = swept.upload("object").await;
    let before = swept.hidden().await;
    let forgetful: Rc<dyn Backend> = Steered::forgetful(Rc::clone(&swept.storage));
    let listing = UploadListOptions {
        prefix: String::new(),
        delimiter: None,
        key_marker: String::new(),
        upload_id_marker: String::new(),
        max_uploads: 1_000,
    };
    let listed = async |backend: &Rc<dyn Backend>| {
        backend.list_uploads("bucket", listing.clone()).await.unwrap().uploads.len()
    };
    assert_eq!((listed(&swept.storage).await, listed(&forgetful).await), (1, 0));
    let backends = Backends::from_iter([("default".to_owned(), Rc::clone(&forgetful))]);
    for _ in 0..3 {
        sweep::once(swept.node.node(), &backends).await;
        swept.clock.advance(8 * DAY);
    }
    assert_eq!(swept.hidden().await, before);
    // The same looks do find an upload that is over.
    swept.storage.abort_upload("bucket", "object", &id).await.unwrap();
    for _ in 0..2 {
        sweep::once(swept.node.node(), &backends).await;
        swept.clock.advance(8 * DAY);
    }
    assert_eq!(swept.hidden().await, (0, 0));
    swept.node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn another_gateways_records_are_never_touched() {
    let world = World::new();
    let (swept, control) = swept(&world).await;
    let snapshot = swept.node.node().snapshot().unwrap();
    let bucket = snapshot.bucket("bucket").unwrap();
    let record = |gateway: GatewayId| {
        let name = UploadName {
            gateway,
            bucket: bucket.id,
            upload_id: "0123456789abcdef0123456789abcdef".to_owned(),
            key: b"object".to_vec(),
        };
        let place = name.record_name().unwrap();
        let keys = ObjectKeys::generate(Suite::from_code(1).unwrap()).unwrap();
        let ik = (IkId::random().unwrap(), &Ik::generate().unwrap());
        let sealed = UploadRecord::seal(&keys, false, ik, bucket.tenant, name, 0, None).unwrap();
        (place.record_key(), sealed.to_bytes().unwrap())
    };
    let foreign = record(GatewayId::random().unwrap());
    let own = record(snapshot.gateway);
    for (key, bytes) in [&foreign, &own] {
        let body = pipeline::upload(bytes.clone());
        swept.storage.put("bucket", key, PutOptions::default(), body).await.unwrap();
    }
    for _ in 0..3 {
        swept.sweep().await;
        swept.clock.advance(8 * DAY);
    }
    let left = list(swept.storage.as_ref(), "bucket", hidden::UPLOAD_PREFIX).await;
    // The own record, alike in all but the gateway, went: the foreign one stayed for its gateway alone.
    assert_eq!(left.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), [foreign.0.as_str()]);
    swept.node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_work_bucket_is_read_once_for_all_buckets_that_share_it() {
    const WORK: &str = "work";
    const BUCKETS: [&str; 3] = ["one", "two", "three"];
    let world = World::new();
    let control = world.control_with_work_bucket(WORK).await;
    let client = tenant(&control).await;
    let clock = ManualClock::at(SystemClock::shared().unix());
    let endpoint = format!("https://{}", control.grpc_addr());
    let identity = identity(&issue(&control, "one").await);
    let node = world.node_by(endpoint, identity, Arc::clone(&clock) as _).await;
    let client = client.at(node.address());
    let storage: Rc<dyn Backend> = Rc::new(FsBackend::open(world.backend()).unwrap());
    for bucket in BUCKETS {
        client.put(&format!("/{bucket}"), "").await.ok();
        let id = client.create_upload(&format!("/{bucket}/object")).await;
        storage.abort_upload(bucket, "object", &id).await.unwrap();
    }
    let steered = Steered::new(Rc::clone(&storage));
    let read = Rc::new(Cell::new(0));
    for _ in 0..BUCKETS.len() * BUCKETS.len() {
        let read = Rc::clone(&read);
        steered.once(Moment::Before, Call::Get, "/r", move || async move {
            read.set(read.get() + 1);
            Ok(())
        });
    }
    let backends = Backends::from_iter([("default".to_owned(), steered as Rc<dyn Backend>)]);
    sweep::once(node.node(), &backends).await;
    assert_eq!(read.get(), BUCKETS.len(), "records that were read");
    clock.advance(8 * DAY);
    sweep::once(node.node(), &backends).await;
    let left = list(storage.as_ref(), WORK, hidden::UPLOAD_PREFIX).await;
    assert!(left.is_empty(), "not every bucket's uploads were looked at: {left:?}");
    node.stop().await;
    control.stop().await;
}
