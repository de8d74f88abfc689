//! The node's certificate for clients, read again when its files change.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::TlsFiles;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The certificate in use.
pub struct Certificates {
    files: TlsFiles,
    current: ArcSwap<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    changed: Changed,
}

type Changed = (Option<SystemTime>, Option<SystemTime>);

impl Certificates {
    /// Reads both files.
    ///
    /// # Errors
    /// What is wrong, with the file.
    pub fn load(files: TlsFiles) -> io::Result<Arc<Self>> {
        let loaded = load(&files)?;
        Ok(Arc::new(Self { files, current: ArcSwap::from_pointee(loaded) }))
    }

    /// Accepts connections with the certificate in use.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().config))
    }

    /// Looks at the files for as long as it is polled.
    pub async fn keep(self: Arc<Self>, clock: Arc<dyn Clock>) {
        loop {
            clock.sleep(LOOK_EVERY).await;
            self.reload_if_changed();
        }
    }

    /// Reads the files again if they changed. A pair that cannot be used leaves the old one in use; it is tried again at
    /// each call, since a certificate and its key are rarely replaced in the same moment.
    pub fn reload_if_changed(&self) -> bool {
        if changed(&self.files) == self.current.load().changed {
            return false;
        }
        match load(&self.files) {
            Ok(loaded) => {
                self.current.store(Arc::new(loaded));
                info!(file = %self.files.certificate.display(), "certificate reloaded");
                true
            }
            Err(error) => {
                warn!(%error, "the new certificate cannot be used; the old one stays");
                false
            }
        }
    }
}

fn changed(files: &TlsFiles) -> Changed {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    (modified(&files.certificate), modified(&files.key))
}

fn load(files: &TlsFiles) -> io::Result<Loaded> {
    let named =
        |path: &Path, error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    // Before the contents, so that a change in between is seen at the next look.
    let changed = changed(files);
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| named(&files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| named(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| named(&files.certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| named(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), changed })
}
