//! Nodes: issuing and revoking their certificates.

use sealgate_store::{Op, encode};

use super::{
    Registry, Version,
    records::{Issued, NodeRecord, Tenants, node_key},
    tenants::check_label,
};
use crate::{Error, pki::NodeIdentity};

impl Registry {
    /// Issues a certificate for a node, 30 days long. Earlier certificates of the node stay valid to their end, so that
    /// it can change over; changing the tenants revokes them.
    ///
    /// # Errors
    /// When the name is invalid or a tenant does not exist.
    pub fn issue_node(&self, name: &str, tenants: Tenants) -> Result<NodeIdentity, Error> {
        check_label("a node's name", name)?;
        let (state, now) = (self.state(), self.now());
        if let Tenants::These(ids) = &tenants
            && let Some(unknown) = ids.iter().find(|id| !state.tenants.contains_key(id))
        {
            return Err(Error::NotFound(format!("no tenant {unknown}")));
        }
        let identity = self.authority().issue_node(name, &tenants.to_texts(), now)?;
        let mut record = match state.nodes.get(name) {
            Some(known) if known.tenants == tenants => NodeRecord::clone(known),
            Some(known) => NodeRecord { tenants, issued: Vec::new(), ..NodeRecord::clone(known) },
            None => NodeRecord { name: name.to_owned(), tenants, issued: Vec::new(), created: now },
        };
        record.issued.retain(|issued| issued.not_after > now);
        record.issued.push(Issued { serial: identity.serial.clone(), not_after: identity.not_after });
        let key = node_key(name);
        self.commit(&[self.unchanged(&key)?], vec![Op::Put(key, encode(&record)?)], true)?;
        Ok(identity)
    }

    /// Revokes all certificates of a node: its streams end and new connections are refused.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn revoke_node(&self, name: &str) -> Result<Version, Error> {
        let state = self.state();
        let known = state.nodes.get(name).ok_or_else(|| Error::NotFound("no such node".to_owned()))?;
        let record = NodeRecord { issued: Vec::new(), ..NodeRecord::clone(known) };
        let key = node_key(name);
        self.commit(&[self.unchanged(&key)?], vec![Op::Put(key, encode(&record)?)], true)
    }
}
