//! What nodes are told of the KMS providers, and what they say about their keys.

use actix::{Handler, Message, StreamHandler};
use sealgate_proto::v1;
use serde::Serialize;

use super::{Fanout, Outgoing, kms::Degraded};

/// How a node fares with keys, by its own word.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct NodeKeys {
    /// Intermediate keys in its memory.
    pub(crate) held: u64,
    /// Requests since its start that failed since a key could not be had.
    pub(crate) failed: u64,
}

impl Fanout {
    /// Tells a node how the providers are, where there are any.
    pub(super) fn tell_kms(&self, node: &str) {
        if self.kms.is_empty() {
            return;
        }
        let providers = self.kms.iter();
        let providers =
            providers.map(|(name, degraded)| v1::KmsProvider { name: name.clone(), degraded: *degraded });
        let health = v1::KmsHealth { providers: providers.collect() };
        if let Some(stream) = self.streams.get(node) {
            // A full channel has something before it: with the next digest it is told again.
            let _ = stream.out.try_send(Outgoing::Kms(health));
        }
    }
}

/// A provider has changed.
impl StreamHandler<Degraded> for Fanout {
    fn handle(&mut self, degraded: Degraded, _: &mut Self::Context) {
        self.kms = degraded;
        for node in self.streams.keys() {
            self.tell_kms(node);
        }
    }

    /// Without a provider that is looked after there never is news. By itself the actor would stop here.
    fn finished(&mut self, _: &mut Self::Context) {}
}

/// A node's word.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct KeyReport {
    pub(crate) node: String,
    /// The stream's.
    pub(crate) id: u64,
    pub(crate) report: v1::KeyReport,
}

impl Handler<KeyReport> for Fanout {
    type Result = ();

    fn handle(&mut self, message: KeyReport, _: &mut Self::Context) {
        let KeyReport { node, id, report: v1::KeyReport { held, failed } } = message;
        if self.streams.get(&node).is_some_and(|stream| stream.id == id)
            && let Some(report) = self.reports.get_mut(&node)
        {
            report.keys = Some(NodeKeys { held, failed });
        }
    }
}
