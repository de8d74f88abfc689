//! The Buckets service: the registry's steps, for buckets of the node's own tenants.

use std::sync::Arc;

use sealgate_envelope::BucketId;
use sealgate_policies::{Action, Grant, Subject, Target, authorize};
use sealgate_proto::v1;
use tonic::{Request, Response, Status};

use super::{bucket_id, leases::Leases};
use crate::{
    Error,
    actors::{Acks, RegistryActor, Run, Slot},
    identity::Identity,
    keys::KeyService,
    registry::{Registry, Version},
    snapshot,
};

pub(crate) struct BucketsService {
    pub(crate) registry: Arc<Registry>,
    pub(crate) writer: Arc<Slot<RegistryActor>>,
    pub(crate) acks: Acks,
    pub(crate) keys: Arc<KeyService>,
    pub(crate) leases: Leases,
}

type Step = fn(&Registry, BucketId) -> Result<Version, Error>;

impl BucketsService {
    /// Demands that the bucket is one of the node's tenants'. One that is gone is left to the step: it may be done already.
    fn own(&self, identity: &Identity, id: BucketId) -> Result<(), Error> {
        match self.registry.state().bucket(id) {
            Some(bucket) if !identity.tenants.contains(bucket.tenant) => {
                Err(Error::NotFound("no such bucket".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// One step on a bucket of the node's tenants.
    async fn step(
        &self,
        request: Request<v1::BucketRef>,
        step: impl FnOnce(&Registry, BucketId) -> Result<Version, Error> + Send + 'static,
        name: &'static str,
    ) -> Result<Response<v1::Applied>, Status> {
        let identity = Identity::of(&request, &self.registry)?;
        let id = bucket_id(&request.into_inner().bucket_id)?;
        self.own(&identity, id)?;
        let result = self.writer.send(Run::new(move |registry: &Registry| step(registry, id))).await?;
        tracing::info!(target: "audit", node = identity.node, bucket = %id, step = name, ok = result.is_ok(), "bucket");
        let Version { epoch, version } = result?;
        Ok(Response::new(v1::Applied { epoch, version }))
    }

    /// A step of a deletion, for the one node that has the bucket's lease.
    async fn deleting(
        &self,
        request: Request<v1::BucketRef>,
        step: Step,
        name: &'static str,
        last: bool,
    ) -> Result<Response<v1::Applied>, Status> {
        let identity = Identity::of(&request, &self.registry)?;
        let (node, id) = (identity.node.clone(), bucket_id(&request.get_ref().bucket_id)?);
        // Before the lease: another tenant's node neither takes it nor learns of it.
        self.own(&identity, id)?;
        if !self.leases.take(id, &node, self.registry.clock().steady()) {
            return Err(Error::Conflict("another node is deleting the bucket".to_owned()).into());
        }
        let done = self.step(request, step, name).await;
        if last || done.is_err() {
            self.leases.end(id, &node);
        }
        done
    }
}

#[tonic::async_trait]
impl v1::buckets_server::Buckets for BucketsService {
    async fn begin_create(
        &self,
        request: Request<v1::BeginCreateRequest>,
    ) -> Result<Response<v1::Bucket>, Status> {
        let identity = Identity::of(&request, &self.registry)?;
        let v1::BeginCreateRequest { name, access_key_id, region } = request.into_inner();
        let state = self.registry.state();
        let credential = state.credentials.get(&access_key_id);
        let credential = credential.filter(|credential| identity.tenants.contains(credential.tenant));
        let credential = credential.ok_or_else(|| Error::Denied("no such credential".to_owned()))?;
        let tenant = credential.tenant;
        let grants: Vec<Grant> = credential
            .grants
            .iter()
            .map(|grant| Grant {
                bucket: grant.bucket.clone(),
                read: grant.read,
                write: grant.write,
                admin: grant.admin,
                configure: grant.configure,
            })
            .collect();
        let subject =
            Subject { tenant: *tenant.as_bytes(), grants: &grants, not_after: credential.not_after };
        let target = Target { bucket: &name, tenant: *tenant.as_bytes() };
        authorize(subject, target, Action::Admin, self.registry.now())
            .map_err(|denied| Error::Denied(denied.to_string()))?;
        let begin = Run::new(move |registry: &Registry| registry.begin_create(tenant, &name, &region));
        let bucket = self.writer.send(begin).await??;
        tracing::info!(target: "audit", node = identity.node, bucket = %bucket.id, name = bucket.name, "bucket begun");
        Ok(Response::new(snapshot::bucket(&self.registry.state(), &bucket)))
    }

    /// Answers when all connected nodes of the tenant know the bucket: a client's next request may reach any of them. One that does
    /// not say so within 5 s is not waited for.
    async fn commit_create(&self, request: Request<v1::BucketRef>) -> Result<Response<v1::Applied>, Status> {
        let bucket = bucket_id(&request.get_ref().bucket_id)?;
        let created = self.step(request, Registry::commit_create, "commit_create").await?;
        let &v1::Applied { epoch, version } = created.get_ref();
        let Some(tenant) = self.registry.state().bucket(bucket).map(|bucket| bucket.tenant) else {
            return Ok(created);
        };
        // It is there, whatever comes of this.
        match self.acks.unaware(tenant, Version { epoch, version }).await {
            Ok(unaware) if unaware.is_empty() => {}
            unaware => tracing::warn!(?unaware, "a bucket is created before all nodes know it"),
        }
        Ok(created)
    }

    async fn abort_create(&self, request: Request<v1::BucketRef>) -> Result<Response<v1::Applied>, Status> {
        self.step(request, Registry::abort_create, "abort_create").await
    }

    /// Answers when all connected nodes refuse writes. One that does not say so within 5 s is not waited for: what it still
    /// lets in, the backend's refusal to delete a bucket with something in it protects.
    async fn begin_delete(&self, request: Request<v1::BucketRef>) -> Result<Response<v1::Applied>, Status> {
        let begun = self.deleting(request, Registry::begin_delete, "begin_delete", false).await?;
        let &v1::Applied { epoch, version } = begun.get_ref();
        let behind = self.acks.behind(Version { epoch, version }).await?;
        if !behind.is_empty() {
            tracing::warn!(?behind, "a bucket is deleted before all nodes refuse writes to it");
        }
        Ok(begun)
    }

    async fn commit_delete(&self, request: Request<v1::BucketRef>) -> Result<Response<v1::Applied>, Status> {
        let bucket = bucket_id(&request.get_ref().bucket_id)?;
        let done = self.deleting(request, Registry::commit_delete, "commit_delete", true).await?;
        self.keys.forget(bucket);
        Ok(done)
    }

    async fn abort_delete(&self, request: Request<v1::BucketRef>) -> Result<Response<v1::Applied>, Status> {
        self.deleting(request, Registry::abort_delete, "abort_delete", true).await
    }

    async fn import_records(
        &self,
        request: Request<v1::ImportRecordsRequest>,
    ) -> Result<Response<v1::ImportRecordsResponse>, Status> {
        let identity = Identity::of(&request, &self.registry)?;
        let v1::ImportRecordsRequest { bucket_id: id, records } = request.into_inner();
        let (taken, refused) = self.keys.import(&identity, bucket_id(&id)?, &records).await?;
        Ok(Response::new(v1::ImportRecordsResponse { taken, refused }))
    }

    async fn commit_adopt(
        &self,
        request: Request<v1::CommitAdoptRequest>,
    ) -> Result<Response<v1::Applied>, Status> {
        let &v1::CommitAdoptRequest { keys, refused_keys, .. } = request.get_ref();
        let of = request.map(|asked| v1::BucketRef { bucket_id: asked.bucket_id });
        let step = move |registry: &Registry, id| registry.commit_adopt(id, keys, refused_keys);
        self.step(of, step, "commit_adopt").await
    }

    async fn refuse_adopt(
        &self,
        request: Request<v1::RefuseAdoptRequest>,
    ) -> Result<Response<v1::Applied>, Status> {
        let reason = request.get_ref().reason.clone();
        let of = request.map(|asked| v1::BucketRef { bucket_id: asked.bucket_id });
        self.step(of, move |registry: &Registry, id| registry.refuse_adopt(id, &reason), "refuse_adopt").await
    }
}
