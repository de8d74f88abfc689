//! The CA of the control plane: node certificates, and its own server certificate.
//!
//! Keys are ECDSA P-256. A node's name and tenants stand in SAN URIs; what a node says about itself anywhere else is
//! never believed.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use sealgate_proto::{SAN_NODE, SAN_TENANT};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::Error;

/// How long a node's certificate is valid, in seconds: 30 days.
pub const NODE_LIFE: u64 = 30 * 86_400;
/// How long the server's certificate is valid, in seconds; it is made anew at each start, and in time before its end.
pub(crate) const SERVER_LIFE: u64 = 397 * 86_400;
const CA_LIFE: u64 = 10 * 365 * 86_400;
/// Clocks of nodes may be an hour behind.
const BACKDATE: u64 = 2 * 3_600;
/// The most tenants in one certificate; a node that serves more gets `*`.
const MAX_TENANTS: usize = 64;

/// What a node needs to connect. The key exists only here: it is not kept.
pub struct NodeIdentity {
    /// The node's certificate.
    pub cert_pem: String,
    /// Its private key, PKCS #8; zeroized on drop.
    pub key_pem: Zeroizing<String>,
    /// The CA's certificate, to verify the control plane with.
    pub ca_pem: String,
    /// The certificate's serial number in hex.
    pub serial: String,
    /// Unix seconds of its end.
    pub not_after: u64,
}

/// The CA.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// Makes a CA; gives it and its private key (PKCS #8 in PEM), to be sealed and stored.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn create(now: u64) -> Result<(Self, Zeroizing<Vec<u8>>), Error> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params("Sealgate nodes CA", now, CA_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key).map_err(failed)?.pem();
        let secret = Zeroizing::new(key.serialize_pem().into_bytes());
        Ok((Self::load(&certificate_pem, &secret)?, secret))
    }

    /// Takes up a stored CA.
    ///
    /// # Errors
    /// When certificate or key cannot be read.
    pub fn load(certificate_pem: &str, key_pem: &[u8]) -> Result<Self, Error> {
        let key =
            std::str::from_utf8(key_pem).map_err(|_| Error::Internal("the CA's key is no PEM".to_owned()))?;
        let key = KeyPair::from_pem(key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(failed)?;
        Ok(Self { issuer, certificate_pem: certificate_pem.to_owned() })
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(crate) fn certificate_der(&self) -> Result<CertificateDer<'static>, Error> {
        CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())
            .map_err(|_| Error::Internal("the CA's certificate is no PEM".to_owned()))
    }

    /// Issues a certificate for a node; `tenants` are ids in hex, or `*`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 64 tenants.
    pub fn issue_node(&self, name: &str, tenants: &[String], now: u64) -> Result<NodeIdentity, Error> {
        let key = KeyPair::generate().map_err(failed)?;
        let (cert_pem, serial) = self.node_certificate(name, tenants, &key, now)?;
        Ok(NodeIdentity {
            cert_pem,
            key_pem: Zeroizing::new(key.serialize_pem()),
            ca_pem: self.certificate_pem.clone(),
            serial,
            not_after: now + NODE_LIFE,
        })
    }

    /// Issues a certificate for a key that a node has proved; gives it in PEM, with its serial number in hex.
    pub(crate) fn renew_node(
        &self,
        name: &str,
        tenants: &[String],
        public_key: &[u8],
        now: u64,
    ) -> Result<(String, String), Error> {
        let key = SubjectPublicKeyInfo::from_der(public_key).map_err(failed)?;
        self.node_certificate(name, tenants, &key, now)
    }

    fn node_certificate(
        &self,
        name: &str,
        tenants: &[String],
        key: &impl PublicKeyData,
        now: u64,
    ) -> Result<(String, String), Error> {
        if tenants.is_empty() || tenants.len() > MAX_TENANTS {
            return Err(Error::Invalid(format!("a node serves 1 to {MAX_TENANTS} tenants, or all (\"*\")")));
        }
        let mut params = params(name, now, NODE_LIFE)?;
        let uris = std::iter::once(format!("{SAN_NODE}{name}"))
            .chain(tenants.iter().map(|tenant| format!("{SAN_TENANT}{tenant}")));
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into().map_err(failed)?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let mut serial = [0_u8; 16];
        getrandom::fill(&mut serial).map_err(|_| Error::Internal("no randomness".to_owned()))?;
        // Positive and without a leading zero, so that it has one spelling.
        serial[0] = (serial[0] & 0x7F) | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let certificate = params.signed_by(key, &self.issuer).map_err(failed)?.pem();
        Ok((certificate, hex::encode(serial)))
    }

    /// Makes a certificate for the gRPC listener under these DNS names and addresses.
    pub(crate) fn issue_server(
        &self,
        names: &[String],
        now: u64,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), Error> {
        let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
        (params.not_before, params.not_after) = (at(now.saturating_sub(BACKDATE))?, at(now + SERVER_LIFE)?);
        params.distinguished_name.push(DnType::CommonName, "Sealgate control plane");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }
}

fn params(name: &str, now: u64, life: u64) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (at(now.saturating_sub(BACKDATE))?, at(now + life)?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn at(seconds: u64) -> Result<OffsetDateTime, Error> {
    let seconds = i64::try_from(seconds).map_err(|_| Error::Internal("the clock is far off".to_owned()))?;
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_err(|_| Error::Internal("the clock is far off".to_owned()))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("certificate: {error}"))
}
