//! Server certificates that are replaced while connections come in: the gRPC listener's, which the CA issues anew, and the
//! admin API's, which is read again when its files change. Connections that are open keep theirs.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::{Clock, Error, pki::SERVER_LIFE, registry::Registry};

/// How often the admin API's files are looked at, in seconds.
const LOOK_EVERY: u64 = 10;
/// When a certificate that could not be made is tried again, in seconds.
const RETRY: u64 = 600;

/// The certificate that new connections are shown.
pub(crate) struct Current(ArcSwap<CertifiedKey>);

impl Current {
    fn new(key: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(key)))
    }

    fn replace(&self, key: CertifiedKey) {
        self.0.store(Arc::new(key));
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// The gRPC listener's certificate.
pub(crate) struct Issued {
    pub(crate) current: Arc<Current>,
    registry: Arc<Registry>,
    names: Vec<String>,
    at: u64,
}

impl Issued {
    /// Issues the first.
    pub(crate) fn first(registry: &Arc<Registry>, names: &[String]) -> Result<Self, Error> {
        let (key, at) = (issue(registry, names)?, registry.now());
        Ok(Self { current: Current::new(key), registry: Arc::clone(registry), names: names.to_vec(), at })
    }

    /// Issues the next whenever two thirds of a certificate's life are over.
    pub(crate) async fn keep(mut self, clock: Arc<dyn Clock>) {
        loop {
            clock.sleep_until(self.at + SERVER_LIFE / 3 * 2).await;
            loop {
                match issue(&self.registry, &self.names) {
                    Ok(key) => {
                        self.current.replace(key);
                        self.at = clock.now();
                        tracing::info!("the gRPC listener has a new certificate");
                        break;
                    }
                    Err(error) => {
                        tracing::error!(%error, "the gRPC listener's certificate cannot be renewed; it is tried again");
                        clock.sleep(RETRY).await;
                    }
                }
            }
        }
    }
}

fn issue(registry: &Registry, names: &[String]) -> Result<CertifiedKey, Error> {
    let (certificate, key) = registry.authority().issue_server(names, registry.now())?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(vec![certificate], key, &provider)
        .map_err(|error| Error::Internal(format!("TLS: {error}")))
}

/// The admin API's certificate.
pub(crate) struct Files {
    current: Arc<Current>,
    certificate: PathBuf,
    key: PathBuf,
    changed: Changed,
}

type Changed = (Option<SystemTime>, Option<SystemTime>);

impl Files {
    /// Reads both.
    pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        // Before the contents, so that a change in between is seen at the next look.
        let changed = changed(certificate, key);
        let current = Current::new(read(certificate, key)?);
        Ok(Self { current, certificate: certificate.to_owned(), key: key.to_owned(), changed })
    }

    /// TLS with the certificate in use.
    pub(crate) fn config(&self) -> Result<ServerConfig, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Internal(format!("TLS: {error}")))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as _))
    }

    /// Reads the files again when they have changed. A pair that cannot be used leaves the old one in use and is tried at
    /// each look: a certificate and its key are rarely replaced in the same moment.
    pub(crate) async fn keep(mut self, clock: Arc<dyn Clock>) {
        loop {
            clock.sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let now = changed(&self.certificate, &self.key);
        if now == self.changed {
            return;
        }
        match read(&self.certificate, &self.key) {
            Ok(key) => {
                self.current.replace(key);
                self.changed = now;
                tracing::info!(file = %self.certificate.display(), "the admin API's certificate was reloaded");
            }
            Err(error) => {
                tracing::warn!(%error, "the admin API's new certificate cannot be used; the old one stays")
            }
        }
    }
}

fn changed(certificate: &Path, key: &Path) -> Changed {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    (modified(certificate), modified(key))
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let failed =
        |path: &Path, error: &dyn fmt::Display| Error::Invalid(format!("{}: {error}", path.display()));
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(certificate, &error))?;
    if chain.is_empty() {
        return Err(failed(certificate, &"no certificate is in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    CertifiedKey::from_der(chain, private, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| failed(certificate, &error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::{fs::File, path::Path, time::Duration};

    use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

    use super::Files;

    fn pair() -> CertifiedKey<KeyPair> {
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap()
    }

    /// Writes a file whose time of change differs from all earlier ones.
    fn write(path: &Path, text: &str, turn: u64) {
        std::fs::write(path, text).unwrap();
        let changed = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + turn);
        File::options().write(true).open(path).unwrap().set_modified(changed).unwrap();
    }

    #[test]
    fn a_pair_that_cannot_be_used_changes_nothing_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("crt"), dir.path().join("key"));
        let (old, new) = (pair(), pair());
        write(&certificate, &old.cert.pem(), 0);
        write(&key, &old.signing_key.serialize_pem(), 0);
        let mut files = Files::load(&certificate, &key).unwrap();
        let shown = |files: &Files| files.current.0.load().cert[0].clone();
        for (turn, text) in [(1, new.cert.pem().as_str()), (2, "no certificate"), (3, "")] {
            write(&certificate, text, turn);
            files.look();
            assert_eq!(shown(&files), *old.cert.der(), "turn {turn}");
        }
        std::fs::remove_file(&certificate).unwrap();
        files.look();
        assert_eq!(shown(&files), *old.cert.der());
        write(&certificate, &new.cert.pem(), 4);
        write(&key, &new.signing_key.serialize_pem(), 4);
        files.look();
        assert_eq!(shown(&files), *new.cert.der());
    }
}
