//! The node's certificate towards the control plane: renewed through it before it ends, or taken from its files when they
//! change. Calls and streams that follow use the new one; those under way end with the old.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sealgate_proto::v1 as wire;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::config::IdentityFiles;
use crate::control::NodeIdentity;
use crate::node::Node;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the control plane is asked whether it is time; sooner when it did not answer.
const ASK_EVERY: Duration = Duration::from_secs(3_600);
const ASK_AGAIN: Duration = Duration::from_secs(60);

type Changed = [Option<SystemTime>; 3];

/// Keeps the node's identity good for as long as the control plane allows it.
pub async fn keep(node: Arc<Node>) {
    let mut keeper = Keeper::new(node);
    let mut next = keeper.ask().await;
    loop {
        let clock = Arc::clone(&keeper.node.clock);
        clock.sleep(LOOK_EVERY.min(next.saturating_sub(clock.monotonic()))).await;
        keeper.reload_if_changed();
        if clock.monotonic() >= next {
            next = keeper.ask().await;
        }
    }
}

struct Keeper {
    node: Arc<Node>,
    /// What is in use since it was replaced; none: what the node was started with.
    replaced: Option<NodeIdentity>,
    changed: Changed,
}

impl Keeper {
    fn new(node: Arc<Node>) -> Self {
        let changed = changed(node.config.control_plane.files.as_ref());
        Self { node, replaced: None, changed }
    }

    fn current(&self) -> &NodeIdentity {
        self.replaced.as_ref().unwrap_or(&self.node.config.control_plane.identity)
    }

    /// Asks for a newer certificate; gives when to ask next.
    async fn ask(&mut self) -> Duration {
        let asked = self.node.clock.monotonic();
        let mut nodes = self.node.control.nodes();
        let answer = match nodes.renew(wire::RenewRequest {}).await {
            Ok(answer) => answer.into_inner(),
            // A control plane of the version before this one.
            Err(status) if status.code() == tonic::Code::Unimplemented => return asked + ASK_EVERY,
            Err(status) => {
                debug!(code = ?status.code(), reason = status.message(), "cannot ask for a newer certificate now");
                return asked + ASK_AGAIN;
            }
        };
        if !answer.certificate.is_empty() {
            let old = self.current();
            let identity = NodeIdentity {
                ca: old.ca.clone(),
                certificate: answer.certificate,
                key: Zeroizing::new(old.key.as_str().to_owned()),
            };
            if let Err(error) = self.node.control.replace(&identity) {
                warn!(%error, "the control plane's new certificate cannot be used; the old one stays");
                return asked + ASK_AGAIN;
            }
            self.write(&identity.certificate);
            self.replaced = Some(identity);
            info!(not_after = answer.not_after, "the node's certificate was renewed");
        }
        self.node.metrics.certificate_ends(answer.not_after);
        asked + ASK_EVERY
    }

    /// Writes the new certificate over the old, which has the same key, so that the node can be restarted later.
    fn write(&mut self, certificate: &str) {
        let Some(files) = self.node.config.control_plane.files.as_ref() else { return };
        if let Err(error) = write_whole(&files.certificate, certificate.as_bytes()) {
            warn!(
                file = %files.certificate.display(), %error,
                "the renewed certificate cannot be written; after a restart the node begins with the old one"
            );
        }
        self.changed = changed(Some(files));
    }

    /// Reads the files again if they changed. What cannot be used leaves the old in use and is tried at each look, since a
    /// certificate and its key are rarely replaced in the same moment.
    fn reload_if_changed(&mut self) {
        let Some(files) = self.node.config.control_plane.files.as_ref() else { return };
        let now = changed(Some(files));
        if now == self.changed {
            return;
        }
        let identity = match files.read() {
            Ok(identity) => identity,
            Err(error) => {
                warn!(error, "the node's new certificate cannot be read; the old one stays");
                return;
            }
        };
        match self.node.control.replace(&identity) {
            Ok(()) => {
                self.changed = now;
                self.replaced = Some(identity);
                info!("the node's certificate was read again");
            }
            Err(error) => warn!(%error, "the node's new certificate cannot be used; the old one stays"),
        }
    }
}

fn changed(files: Option<&IdentityFiles>) -> Changed {
    let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    files.map_or([None; 3], |files| [&files.ca, &files.certificate, &files.key].map(modified))
}

/// Replaces a file whole or not at all, keeping who may read it.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let permissions = std::fs::metadata(path)?.permissions();
    let temporary = path.with_extension("renewed");
    let mut file = std::fs::File::create(&temporary)?;
    file.set_permissions(permissions)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => std::fs::File::open(".")?.sync_all(),
    }
}
