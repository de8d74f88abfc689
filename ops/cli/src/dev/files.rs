//! What lies in the directory of a `sealgate dev`, beside the planes' own data.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use sealgate_control_plane::Handle;
use sealgate_envelope::TenantId;
use tracing::warn;
use zeroize::Zeroizing;

use super::failed;
use crate::failure::{Failure, Outcome};
use crate::profile::{self, Sections};

/// What AWS tools read: who asks.
pub const CREDENTIALS: &str = "credentials";
/// What AWS tools read: where.
pub const CONFIG: &str = "config";
/// The recovery card.
pub const CARD: &str = "recovery";

/// Makes a directory of the owner's alone.
pub fn create_directory(path: &Path) -> Outcome<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::file(path, &error))
}

/// One `sealgate dev` a directory: held until the process ends.
pub fn lock(data: &Path) -> Outcome<fs::File> {
    let path = data.join("lock");
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|error| Failure::file(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(failed(format!("another `sealgate dev` runs over {}", data.display()))
                .hint("stop it, or give another directory with --data"))
        }
        Err(fs::TryLockError::Error(error)) => Err(Failure::file(&path, &error)),
    }
}

/// Writes DIR/credentials, unless what is there is a credential of this control plane. The secret cannot be had again, so a lost file
/// means a new credential; and so does lost data of the control plane, which then knows none of before.
pub async fn ensure_credentials(control: &Handle, tenant: TenantId, data: &Path) -> Outcome<()> {
    let path = data.join(CREDENTIALS);
    let there = profile::read(&path, Sections::Credentials, "default")?;
    let there = there.get("aws_access_key_id").map(|id| id.as_str());
    let state = control.registry().state();
    if there.is_some_and(|id| state.credentials.values().any(|known| known.access_key_id == id)) {
        return Ok(());
    }
    let mut made = control.ensure_credential(tenant, "dev").await.map_err(failed)?;
    if made.is_none() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(failed)?;
        let label = format!("dev-{}", now.as_secs());
        made = control.ensure_credential(tenant, &label).await.map_err(failed)?;
    }
    let made = made.ok_or_else(|| failed("no credential could be made"))?;
    if path.exists() {
        warn!(
            "the control plane does not know the credential in {}: was {} removed? There is a new one now. Objects stored before can be \
             read only with the keyring of then and its recovery card",
            path.display(),
            data.join("control-plane").display()
        );
        // The file may hold other profiles; and of the card of then nobody else may have a copy.
        keep_aside(&path)?;
        keep_aside(&data.join(CARD))?;
    }
    let text = Zeroizing::new(format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        made.record.access_key_id,
        made.secret.as_str()
    ));
    write_whole(&path, text.as_bytes())
}

/// Gives a file, if it is there, a name that nothing here reads, and that nothing had.
fn keep_aside(path: &Path) -> Outcome<()> {
    let mut names = (1_u32..).map(|number| path.with_extension(format!("before-{number}")));
    let Some(aside) = names.find(|name| !name.exists()) else { return Ok(()) };
    match fs::rename(path, &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::file(path, &error)),
        _ => Ok(()),
    }
}

/// What AWS tools read, and for `sealgate bucket` the admin API: they pass over names that they do not know.
pub fn write_config(data: &Path, region: &str, endpoint: &str, admin: SocketAddr) -> Outcome<()> {
    let text = format!(
        "[default]\nregion = {region}\nendpoint_url = {endpoint}\nsealgate_admin_url = http://{admin}\n"
    );
    write_whole(&data.join(CONFIG), text.as_bytes())
}

/// Writes a file of the owner's alone, whole or not at all, and so that a power cut does not take it back.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Outcome<()> {
    let named = |error: io::Error| Failure::file(path, &error);
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(named)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(named)?;
    fs::rename(&temporary, path).map_err(named)?;
    // The new name is in the directory, and that is a file of its own.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(named)
}
