//! The Nodes service: a node's own certificate, renewed over the connection that it proves.

use std::sync::Arc;

use sealgate_proto::v1;
use tonic::{Request, Response, Status};

use crate::{
    actors::{RegistryActor, Run, Slot},
    identity::Identity,
    registry::Registry,
};

pub(crate) struct NodesService {
    pub(crate) registry: Arc<Registry>,
    pub(crate) writer: Arc<Slot<RegistryActor>>,
}

#[tonic::async_trait]
impl v1::nodes_server::Nodes for NodesService {
    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let identity = Identity::of(&request, &self.registry)?;
        if let Some(not_after) = self.registry.renewal_due(&identity)? {
            return Ok(Response::new(v1::RenewResponse { certificate: String::new(), not_after }));
        }
        let asked = Arc::clone(&identity);
        let renewed =
            self.writer.send(Run::new(move |registry: &Registry| registry.renew_node(&asked))).await?;
        let (certificate, not_after) = renewed?;
        tracing::info!(target: "audit", node = identity.node, serial = identity.serial, "a node's certificate was renewed");
        Ok(Response::new(v1::RenewResponse { certificate, not_after }))
    }
}
