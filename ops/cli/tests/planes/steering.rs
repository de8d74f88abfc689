//! Two nodes over one storage: one as it is, and one whose backend a test steers.

use std::rc::Rc;

use bytes::Bytes;
use sealgate_control_plane::Handle;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend, BackendError, GetOptions, ListEntry};
use sealgate_data_plane::pipeline;
use sealgate_data_plane::plane::DataPlane;
use sealgate_envelope::hidden;

use super::s3::Client;
use super::steered::{Steered, serve};
use super::storage::list;
use super::world::{World, identity, issue, soon, tenant};

/// The least that a part has which is not the last.
pub const MIN_PART: usize = 5 << 20;

pub struct Steering {
    pub world: World,
    pub control: Handle,
    pub node: DataPlane,
    pub other: DataPlane,
    /// What the steered gateway has behind it.
    pub backend: Rc<Steered>,
    /// The storage itself.
    pub storage: Rc<dyn Backend>,
    /// At the steered gateway.
    pub steered: Client,
    /// At the other node, which nothing happens to.
    pub plain: Client,
}

impl Steering {
    /// Both nodes, and `bucket` in them.
    pub async fn start() -> Self {
        Self::start_over(Steered::new).await
    }

    pub async fn start_over(steer: impl FnOnce(Rc<dyn Backend>) -> Rc<Steered>) -> Self {
        let world = World::new();
        let control = world.control().await;
        let client = tenant(&control).await;
        let endpoint = format!("https://{}", control.grpc_addr());
        let node = world.node(endpoint.clone(), identity(&issue(&control, "one").await)).await;
        let other = world.node(endpoint, identity(&issue(&control, "two").await)).await;
        let storage: Rc<dyn Backend> = Rc::new(FsBackend::open(world.backend()).unwrap());
        let backend = steer(Rc::clone(&storage));
        let steered = client.at(serve(node.node(), Rc::clone(&backend) as _).await);
        let plain = client.at(other.address());
        plain.put("/bucket", "").await.ok();
        let (epoch, version) = other.node().applied();
        soon("the bucket on the steered node", node.node().wait_applied(epoch, version)).await;
        Self { world, control, node, other, backend, storage, steered, plain }
    }

    /// What the storage has of uploads, hidden as it is.
    pub async fn hidden(&self) -> Vec<String> {
        let entries = list(self.storage.as_ref(), "bucket", hidden::UPLOAD_PREFIX).await;
        entries.into_iter().map(|entry| entry.key).collect()
    }

    /// Everything that the storage has, with its bytes.
    pub async fn stored(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for ListEntry { key, .. } in list(self.storage.as_ref(), "bucket", "").await {
            let answer = self.storage.get("bucket", &key, GetOptions::default()).await.unwrap();
            all.push((key, pipeline::collect(answer.body, 64 << 20).await.unwrap()));
        }
        all
    }

    /// Uploads parts 1, 2, … through the other node; gives the upload's id and the ETags.
    pub async fn upload(&self, target: &str, parts: &[Bytes]) -> (String, Vec<String>) {
        let id = self.plain.create_upload(target).await;
        let mut etags = Vec::new();
        for (number, part) in (1..).zip(parts) {
            etags.push(upload_part(&self.plain, target, &id, number, part).await);
        }
        (id, etags)
    }

    pub async fn stop(self) {
        self.backend.assert_done();
        self.node.stop().await;
        self.other.stop().await;
        self.control.stop().await;
    }
}

/// Uploads a part that must be taken; gives its ETag.
pub async fn upload_part(client: &Client, target: &str, id: &str, number: u16, part: &Bytes) -> String {
    client.put(&part_target(target, id, number), part.clone()).await.ok().etag()
}

pub fn part_target(target: &str, id: &str, number: u16) -> String {
    format!("{target}?partNumber={number}&uploadId={id}")
}

/// What a backend says when it is gone.
pub fn unavailable() -> BackendError {
    BackendError::Unavailable("the test says so".to_owned())
}
