//! TLS to the servers: whom it trusts, and the certificate it shows, which is read anew at each login.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::CryptoProvider,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::Config;
use crate::KmsError;

/// The client certificate as its files are now.
#[derive(Debug)]
pub(super) struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Identity {
    /// Reads the files again; what is shown stays as it was when they cannot be used. Whether it is another one. Blocks on the disk.
    pub(super) fn reload(&self) -> Result<bool, KmsError> {
        let loaded = load(&self.certificate, &self.key, &self.provider)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let another = loaded.cert != current.cert;
        *current = Arc::new(loaded);
        Ok(another)
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn load(certificate: &PathBuf, key: &PathBuf, provider: &CryptoProvider) -> Result<CertifiedKey, KmsError> {
    let wrong = |path: &PathBuf, error: &dyn std::fmt::Display| {
        KmsError::local(format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong(certificate, &"no certificate (PEM) in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    // Checks that the two belong together.
    CertifiedKey::from_der(chain, private, provider).map_err(|error| wrong(key, &error))
}

/// TLS 1.2 and 1.3 as the rest of Sealgate speaks it: rustls over aws-lc-rs. Blocks on the disk.
pub(super) fn client(config: &Config) -> Result<(ClientConfig, Option<Arc<Identity>>), KmsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    if let Some(path) = &config.ca_file {
        let wrong = |error: &dyn std::fmt::Display| KmsError::local(format!("{}: {error}", path.display()));
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"no certificate (PEM) in it"));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() && config.addresses.iter().any(|address| address.starts_with("https:")) {
            return Err(KmsError::local("no CA certificate on this system: set ca_file"));
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| KmsError::local(error.to_string()))?
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&config.client_certificate_file, &config.client_key_file) else {
        return Ok((builder.with_no_client_auth(), None));
    };
    let current = RwLock::new(Arc::new(load(certificate, key, &provider)?));
    let (certificate, key) = (certificate.clone(), key.clone());
    let identity = Arc::new(Identity { certificate, key, provider, current });
    let mut tls = builder.with_client_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesClientCert>);
    // A resumed session is one of the certificate that was shown when it began.
    tls.resumption = Resumption::disabled();
    Ok((tls, Some(identity)))
}
