//! Work buckets: made by the gateway, shared by its buckets, and cleared of what a deleted bucket left.

use std::collections::HashSet;
use std::rc::Rc;

use sealgate_control_plane::Handle;
use sealgate_data_plane::backend::Backend;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::buckets::removal::delete_pending;
use sealgate_data_plane::plane::DataPlane;
use sealgate_data_plane::worker::Backends;
use sealgate_envelope::hidden;

use super::s3::{Client, bytes};
use super::steered::{Call, Moment, Steered};
use super::storage::list;
use super::world::{World, identity, issue, soon, tenant};

const WORK: &str = "uploads";

struct Apart {
    control: Handle,
    node: DataPlane,
    client: Client,
    storage: Rc<dyn Backend>,
}

/// A gateway whose uploads keep their hidden objects in a work bucket that nobody has made.
async fn apart(world: &World) -> Apart {
    let control = world.control_with_work_bucket(WORK).await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let client = client.at(node.address());
    let storage: Rc<dyn Backend> = Rc::new(FsBackend::open(world.backend()).unwrap());
    Apart { control, node, client, storage }
}

impl Apart {
    /// Hidden objects of uploads that lie in a bucket of the backend.
    async fn hidden(&self, bucket: &str) -> usize {
        list(self.storage.as_ref(), bucket, hidden::UPLOAD_PREFIX).await.len()
    }

    /// An upload with one part: its id and the part's ETag.
    async fn upload(&self, target: &str) -> (String, String) {
        let id = self.client.create_upload(target).await;
        let part = format!("{target}?partNumber=1&uploadId={id}");
        (id, self.client.put(&part, bytes(100_000, 1)).await.ok().etag())
    }

    /// Puts a bucket into deletion, as a node does that then dies.
    async fn begin_delete(&self, bucket: &str) {
        let id = self.control.registry().state().buckets[bucket].id;
        let begun = self.control.registry().begin_delete(id).unwrap();
        soon("the intent", self.node.node().wait_applied(begun.epoch, begun.version)).await;
    }

    /// Two looks at what is being deleted: the first only remembers.
    async fn look_twice(&self, storage: Rc<dyn Backend>) {
        let backends = Backends::from_iter([("default".to_owned(), storage)]);
        let before = self.control.registry().version().version;
        let mut seen = HashSet::new();
        for _ in 0..2 {
            delete_pending(self.node.node(), &backends, &mut seen).await;
        }
        let after = self.control.registry().version();
        assert!(after.version > before, "the deletion was neither carried out nor taken back");
        soon("the outcome", self.node.node().wait_applied(after.epoch, after.version)).await;
    }

    async fn stop(self) {
        self.node.stop().await;
        self.control.stop().await;
    }
}

#[actix_rt::test]
async fn the_gateway_makes_it_and_uploads_leave_nothing_else_in_the_data() {
    let world = World::new();
    let apart = apart(&world).await;
    apart.client.put("/bucket", "").await.ok();
    apart.storage.head_bucket(WORK).await.unwrap();
    // It is not a bucket for clients, even while it is empty: deleting it would delete what all others keep there.
    let refused = apart.client.put(&format!("/{WORK}"), "").await;
    assert_eq!((refused.status.as_u16(), refused.tag("Code").as_str()), (409, "BucketAlreadyExists"));
    let (id, etag) = apart.upload("/bucket/object").await;
    assert_eq!((apart.hidden("bucket").await, apart.hidden(WORK).await), (0, 3), "record, stash and note");
    apart.client.complete("/bucket/object", &id, &[etag]).await.ok();
    assert_eq!(apart.client.get("/bucket/object").await.ok().body, bytes(100_000, 1));
    apart.stop().await;
}

#[actix_rt::test]
async fn deleting_a_bucket_takes_its_records_and_no_others() {
    let world = World::new();
    let apart = apart(&world).await;
    let client = &apart.client;
    for bucket in ["one", "two"] {
        client.put(&format!("/{bucket}"), "").await.ok();
    }
    let (id, etag) = apart.upload("/one/object").await;
    client.complete("/one/object", &id, &[etag]).await.ok();
    let (open, etag) = apart.upload("/two/object").await;
    assert_eq!(
        apart.hidden(WORK).await,
        1 + 3,
        "a record of the one that is over, all of the one that is not"
    );
    client.send("DELETE", "/one/object", "").await.ok();
    client.send("DELETE", "/one", "").await.ok();
    assert_eq!(apart.hidden(WORK).await, 3, "the other bucket's, and nothing else");
    client.complete("/two/object", &open, &[etag]).await.ok();
    assert_eq!(client.get("/two/object").await.ok().body, bytes(100_000, 1));
    apart.stop().await;
}

#[actix_rt::test]
async fn a_deletion_that_was_cut_off_after_the_data_takes_the_records_too() {
    let world = World::new();
    let apart = apart(&world).await;
    apart.client.put("/bucket", "").await.ok();
    let (id, etag) = apart.upload("/bucket/object").await;
    apart.client.complete("/bucket/object", &id, &[etag]).await.ok();
    apart.begin_delete("bucket").await;
    // What a node does in one go, by hand: everything in the backend's bucket, then the bucket.
    for entry in list(apart.storage.as_ref(), "bucket", "").await {
        apart.storage.delete("bucket", &entry.key, None, Default::default()).await.unwrap();
    }
    apart.storage.delete_bucket("bucket").await.unwrap();
    assert_eq!(apart.hidden(WORK).await, 1);
    apart.look_twice(Rc::clone(&apart.storage)).await;
    assert_eq!(apart.hidden(WORK).await, 0);
    assert!(!apart.control.registry().state().buckets.contains_key("bucket"));
    apart.stop().await;
}

#[actix_rt::test]
async fn an_upload_that_its_backend_does_not_list_goes_with_its_bucket() {
    let world = World::new();
    let apart = apart(&world).await;
    apart.client.put("/bucket", "").await.ok();
    let (id, _) = apart.upload("/bucket/object").await;
    assert_eq!(apart.hidden(WORK).await, 3);
    apart.begin_delete("bucket").await;
    let forgetful = Steered::forgetful(Rc::clone(&apart.storage));
    forgetful.once(Moment::Before, Call::AbortUpload, "object", async || Ok(()));
    apart.look_twice(Rc::clone(&forgetful) as Rc<dyn Backend>).await;
    forgetful.assert_done();
    assert_eq!(apart.hidden(WORK).await, 0);
    let part = format!("/bucket/object?partNumber=2&uploadId={id}");
    assert_eq!(apart.client.put(&part, "part").await.tag("Code"), "NoSuchBucket");
    apart.stop().await;
}

#[actix_rt::test]
async fn a_registered_buckets_name_is_refused_at_the_start() {
    let world = World::new();
    let control = world.control().await;
    let id = control.ensure_tenant("tests").await.unwrap();
    control.registry().begin_create(id, WORK, "").unwrap();
    control.stop().await;
    let refused = world.try_control_with_work_bucket(WORK).await.err().expect("it started");
    assert!(refused.to_string().contains("backends.work_bucket"), "{refused}");
}
