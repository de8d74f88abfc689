//! Who a peer is: the SAN URIs of its certificate, and nothing that it says.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use sealgate_proto::{SAN_NODE, SAN_TENANT};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use crate::{
    Error,
    registry::{Registry, records::Tenants},
};

/// A peer whose certificate chain was verified by TLS.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node's name.
    pub node: String,
    /// The tenants it serves.
    pub tenants: Tenants,
    /// Its certificate's serial number in hex.
    pub serial: String,
    /// Its certificate's public key (SubjectPublicKeyInfo, DER), of which TLS has proved that the peer has the other half.
    pub public_key: Vec<u8>,
}

impl Identity {
    /// Reads a verified certificate.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] unless it names exactly one node, and tenants.
    pub fn from_certificate(der: &CertificateDer<'_>) -> Result<Self, Error> {
        let refused = || Error::Unauthenticated("the certificate names no node and tenants".to_owned());
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| refused())?;
        let names = certificate.subject_alternative_name().ok().flatten().ok_or_else(refused)?;
        let (mut nodes, mut tenants) = (Vec::new(), Vec::new());
        for name in &names.value.general_names {
            if let GeneralName::URI(uri) = name {
                if let Some(node) = uri.strip_prefix(SAN_NODE) {
                    nodes.push(node);
                } else if let Some(tenant) = uri.strip_prefix(SAN_TENANT) {
                    tenants.push(tenant);
                }
            }
        }
        let [node] = nodes[..] else { return Err(refused()) };
        let tenants = Tenants::from_texts(&tenants).ok_or_else(refused)?;
        let public_key = certificate.public_key().raw.to_vec();
        Ok(Self { node: node.to_owned(), tenants, serial: hex::encode(certificate.raw_serial()), public_key })
    }

    /// Demands that the certificate is one that was issued, is not revoked and not over: asked with every call, so that
    /// a revocation also binds connections that are open.
    ///
    /// # Errors
    /// [`Error::Revoked`], so that the node knows it, and [`Error::Unauthenticated`].
    pub fn check(&self, registry: &Registry) -> Result<(), Error> {
        let state = registry.state();
        if state.knows_certificate(&self.node, &self.serial, registry.now()) {
            return Ok(());
        }
        if state.nodes.get(&self.node).is_some_and(|node| node.revoked.is_some() && node.issued.is_empty()) {
            return Err(Error::Revoked);
        }
        Err(Error::Unauthenticated("the certificate is revoked, over, or was never issued".to_owned()))
    }

    /// The identity of a gRPC request's connection, checked.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`].
    pub fn of<T>(request: &tonic::Request<T>, registry: &Registry) -> Result<Arc<Self>, Error> {
        let identity = request.extensions().get::<Arc<Self>>().cloned();
        let identity = identity.ok_or_else(|| Error::Unauthenticated("no certificate".to_owned()))?;
        identity.check(registry)?;
        Ok(identity)
    }
}
