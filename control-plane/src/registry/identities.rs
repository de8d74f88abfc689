//! Nodes: issuing and revoking their certificates.

use sealgate_store::{Op, encode};

use super::{
    Registry, Version,
    records::{Issued, NodeRecord, Revoked, Tenants, node_key},
    tenants::{UNPROVED_LIFE_MAX, check_label},
};
use crate::{
    Error,
    identity::Identity,
    keys::HARD,
    pki::{NODE_LIFE, NodeIdentity},
};

/// The most certificates of a node that hold at the same time and can be renewed.
const MAX_ISSUED: usize = 64;

/// The newest certificates of a node that one more leaves valid, itself counted: a node that is given one at each start must
/// not outgrow its record.
const MAX_KEPT: usize = 8;

impl Registry {
    /// Issues a certificate for a node, 30 days long. The seven before it stay valid to their end, so that the node can
    /// change over, older ones are revoked; changing the tenants revokes all of them.
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
            Some(known) => {
                // Once the node was revoked nobody serves them: that is what the operator says with it.
                let held = (!known.issued.is_empty()).then_some(&known.tenants);
                let former = match (held, &known.former) {
                    (Some(held), Some(former)) => Some(held.and(former)),
                    (held, former) => held.or(former.as_ref()).cloned(),
                };
                NodeRecord { tenants, issued: Vec::new(), former, ..NodeRecord::clone(known) }
            }
            None => {
                let (issued, former, revoked) = (Vec::new(), None, None);
                NodeRecord { name: name.to_owned(), tenants, issued, former, revoked, created: now }
            }
        };
        record.issued.retain(|issued| issued.not_after > now);
        record.issued.push(Issued { serial: identity.serial.clone(), not_after: identity.not_after });
        let outgrown = record.issued.len().saturating_sub(MAX_KEPT);
        record.issued.drain(..outgrown);
        let key = node_key(name);
        self.commit(&[self.unchanged(&key)?], vec![Op::Put(key, encode(&record)?)], true)?;
        Ok(identity)
    }

    /// The end of a node's certificate; `None` when it is time for another.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for one that is revoked or was never issued.
    pub(crate) fn renewal_due(&self, identity: &Identity) -> Result<Option<u64>, Error> {
        let state = self.state();
        let issued = state.nodes.get(&identity.node).map_or(&[][..], |node| &node.issued);
        let of = issued.iter().find(|issued| issued.serial == identity.serial);
        let not_after = of.ok_or_else(revoked)?.not_after;
        Ok((not_after.saturating_sub(self.now()) > NODE_LIFE / 3).then_some(not_after))
    }

    /// Issues a certificate for the key that a node has proved, with the name and the tenants of the one that it proved it
    /// with; gives it in PEM, with its end.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when that one was revoked meanwhile, [`Error::Exhausted`] when the node asks without using
    /// what it gets.
    pub(crate) fn renew_node(&self, identity: &Identity) -> Result<(String, u64), Error> {
        let (state, now) = (self.state(), self.now());
        let Some(known) = state.nodes.get(&identity.node).filter(|known| {
            known.tenants == identity.tenants && state.knows_certificate(&known.name, &identity.serial, now)
        }) else {
            return Err(revoked());
        };
        let mut record = NodeRecord::clone(known);
        record.issued.retain(|issued| issued.not_after > now);
        if record.issued.len() >= MAX_ISSUED {
            return Err(Error::Exhausted(format!("the node has {MAX_ISSUED} certificates that hold")));
        }
        let (certificate, serial) = self.authority().renew_node(
            &identity.node,
            &identity.tenants.to_texts(),
            &identity.public_key,
            now,
        )?;
        let not_after = now + NODE_LIFE;
        record.issued.push(Issued { serial, not_after });
        let key = node_key(&identity.node);
        self.commit(&[self.unchanged(&key)?], vec![Op::Put(key, encode(&record)?)], false)?;
        Ok((certificate, not_after))
    }

    /// Revokes all certificates of a node: its streams end and new connections are refused. It also says, for write freezes,
    /// that no process of this name is running.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn revoke_node(&self, name: &str) -> Result<Version, Error> {
        let state = self.state();
        let known = state.nodes.get(name).ok_or_else(|| Error::NotFound("no such node".to_owned()))?;
        let now = self.now();
        // Revoked again: nobody has been given a key by its certificates since.
        let revoked = if known.issued.is_empty() && known.former.is_none() {
            known.revoked.clone()
        } else {
            let served = known.former.as_ref().map_or(known.tenants.clone(), |it| it.and(&known.tenants));
            let before = known.revoked.as_ref().filter(|it| now < it.at + HARD + UNPROVED_LIFE_MAX);
            Some(Revoked { at: now, tenants: before.map_or(served.clone(), |it| it.tenants.and(&served)) })
        };
        let record = NodeRecord { issued: Vec::new(), former: None, revoked, ..NodeRecord::clone(known) };
        let key = node_key(name);
        self.commit(&[self.unchanged(&key)?], vec![Op::Put(key, encode(&record)?)], true)
    }
}

fn revoked() -> Error {
    Error::Unauthenticated("the certificate is revoked, over, or was never issued".to_owned())
}
