//! The local keyring: a file with versioned KEKs, sealed by what an operator gives.
//!
//! Each entry is sealed on its own, with its name, version and time as additional data, under a random keyring id: an
//! entry cannot be renamed, re-dated or moved to another keyring. The file is replaced as a whole: temporary file,
//! fsync, rename, fsync of the directory. Synchronous, so that the offline tools open it with nothing else running.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sealgate_envelope::Ik;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    KmsError, Unlock,
    sealed::{open, seal},
    unlock::Lock,
};

const FORMAT: u32 = 1;
/// The largest keyring file that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;
/// The longest name of a KEK, in bytes.
const MAX_NAME: usize = 128;
/// What precedes a KEK's name in its reference.
const PREFIX: &str = "local/";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    format: u32,
    id: String,
    lock: Lock,
    /// Seals nothing: opens only under the right passphrase or key, even when there is no KEK yet.
    check: String,
    keks: Vec<Entry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    version: u32,
    created: u64,
    sealed: String,
}

/// One version of a KEK, as `list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KekInfo {
    /// The reference that IK records carry.
    pub reference: String,
    /// 1 for the first.
    pub version: u32,
    /// Unix seconds.
    pub created: u64,
}

/// An open keyring: the KEKs are in memory until it is dropped.
pub struct Keyring {
    path: PathBuf,
    id: String,
    lock: Lock,
    check: String,
    master: Zeroizing<[u8; 32]>,
    entries: Vec<Entry>,
    keks: BTreeMap<(String, u32), Zeroizing<[u8; 32]>>,
}

impl Keyring {
    /// Makes an empty keyring; the file must not exist.
    ///
    /// # Errors
    /// [`KmsError::Unavailable`] when the file exists or cannot be written.
    pub fn create(path: &Path, unlock: &Unlock) -> Result<Self, KmsError> {
        if path.exists() {
            return Err(KmsError::local(format!("{}: exists already", path.display())));
        }
        let mut id = [0_u8; 16];
        getrandom::fill(&mut id).map_err(|_| KmsError::local("no randomness".to_owned()))?;
        let id = hex::encode(id);
        let lock = Lock::new(unlock)?;
        let master = lock.master(unlock)?;
        let check = STANDARD.encode(seal(&master, &check_context(&id), &[])?);
        let path = path.to_owned();
        let keyring = Self { path, id, lock, check, master, entries: Vec::new(), keks: BTreeMap::new() };
        keyring.save(&keyring.entries)?;
        Ok(keyring)
    }

    /// Opens a keyring.
    ///
    /// # Errors
    /// [`KmsError::Denied`] for a wrong passphrase or key, [`KmsError::Unavailable`] when the file cannot be read,
    /// [`KmsError::BadCiphertext`] when an entry was changed.
    pub fn open(path: &Path, unlock: &Unlock) -> Result<Self, KmsError> {
        let unavailable = |error: std::io::Error| KmsError::local(format!("{}: {error}", path.display()));
        let mut text = String::new();
        File::open(path)
            .map_err(unavailable)?
            .take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(unavailable)?;
        let form: FileForm = serde_json::from_str(&text)
            .map_err(|error| KmsError::local(format!("{}: not a keyring: {error}", path.display())))?;
        if form.format != FORMAT {
            let format = form.format;
            return Err(KmsError::local(format!("{}: format {format} is not known", path.display())));
        }
        let master = form.lock.master(unlock)?;
        let denied = || KmsError::Denied(format!("{}: wrong passphrase or key", path.display()));
        let check = STANDARD.decode(&form.check).map_err(|_| denied())?;
        open(&master, &check_context(&form.id), &check).map_err(|_| denied())?;
        let mut keks = BTreeMap::new();
        for entry in &form.keks {
            let sealed = STANDARD.decode(&entry.sealed).map_err(|_| KmsError::BadCiphertext)?;
            let opened = open(&master, &entry_context(&form.id, entry), &sealed)?;
            let mut kek = Zeroizing::new([0_u8; 32]);
            if opened.len() != kek.len() {
                return Err(KmsError::BadCiphertext);
            }
            kek.copy_from_slice(&opened);
            keks.insert((entry.name.clone(), entry.version), kek);
        }
        let (path, entries) = (path.to_owned(), form.keks);
        Ok(Self { path, id: form.id, lock: form.lock, check: form.check, master, entries, keks })
    }

    /// All versions of all KEKs.
    #[must_use]
    pub fn list(&self) -> Vec<KekInfo> {
        let info = |entry: &Entry| KekInfo {
            reference: format!("{PREFIX}{}", entry.name),
            version: entry.version,
            created: entry.created,
        };
        self.entries.iter().map(info).collect()
    }

    /// Makes a KEK unless there is one of this name; durable when it returns. Gives its reference.
    ///
    /// # Errors
    /// When the name is not 1 to 128 of `a-z 0-9 - _`, or the file cannot be written.
    pub fn create_kek(&mut self, name: &str, now: u64) -> Result<String, KmsError> {
        let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(valid) {
            return Err(KmsError::NotFound("a KEK's name has 1 to 128 of a-z 0-9 - _".to_owned()));
        }
        if self.newest(name).is_none() {
            self.add(name, 1, now)?;
        }
        Ok(format!("{PREFIX}{name}"))
    }

    /// Makes a new version of a KEK; what was wrapped under older ones still opens. Gives the version.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] without such a KEK.
    pub fn rotate(&mut self, kek: &str, now: u64) -> Result<u32, KmsError> {
        let name = name(kek)?;
        let newest = self.newest(name).ok_or_else(|| KmsError::NotFound(kek.to_owned()))?;
        self.add(name, newest + 1, now)?;
        Ok(newest + 1)
    }

    /// The newest version of a KEK.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] without such a KEK.
    pub fn current_version(&self, kek: &str) -> Result<u32, KmsError> {
        self.newest(name(kek)?).ok_or_else(|| KmsError::NotFound(kek.to_owned()))
    }

    /// Wraps an intermediate key.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] without such a version.
    pub fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        seal(self.kek(kek, version)?, &wrap_context(kek, version, context), ik.expose())
    }

    /// Opens a wrapped intermediate key.
    ///
    /// # Errors
    /// [`KmsError::BadCiphertext`] when version or context are not those of the wrapping.
    pub fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        let opened = open(self.kek(kek, version)?, &wrap_context(kek, version, context), wrapped)?;
        let mut bytes = Zeroizing::new([0_u8; 32]);
        if opened.len() != bytes.len() {
            return Err(KmsError::BadCiphertext);
        }
        bytes.copy_from_slice(&opened);
        Ok(Ik::from_bytes(&bytes))
    }

    /// Forgets a KEK, all its versions, for good; durable when it returns.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] without such a KEK, or when the file cannot be written.
    pub fn destroy(&mut self, kek: &str) -> Result<(), KmsError> {
        let name = name(kek)?;
        if self.newest(name).is_none() {
            return Err(KmsError::NotFound(kek.to_owned()));
        }
        let entries: Vec<Entry> = self.entries.iter().filter(|entry| entry.name != name).cloned().collect();
        self.save(&entries)?;
        self.entries = entries;
        self.keks.retain(|(of, _), _| of != name);
        Ok(())
    }

    fn kek(&self, kek: &str, version: &str) -> Result<&[u8; 32], KmsError> {
        let missing = || KmsError::NotFound(format!("{kek} version {version}"));
        let number: u32 = version.parse().map_err(|_| missing())?;
        // The canonical spelling only: the version is part of what is authenticated.
        if number.to_string() != version {
            return Err(missing());
        }
        self.keks.get(&(name(kek)?.to_owned(), number)).map(|key| &**key).ok_or_else(missing)
    }

    fn newest(&self, name: &str) -> Option<u32> {
        self.entries.iter().filter(|entry| entry.name == name).map(|entry| entry.version).max()
    }

    fn add(&mut self, name: &str, version: u32, created: u64) -> Result<(), KmsError> {
        let mut kek = Zeroizing::new([0_u8; 32]);
        getrandom::fill(kek.as_mut()).map_err(|_| KmsError::local("no randomness".to_owned()))?;
        let mut entry = Entry { name: name.to_owned(), version, created, sealed: String::new() };
        entry.sealed = STANDARD.encode(seal(&self.master, &entry_context(&self.id, &entry), kek.as_ref())?);
        let mut entries = self.entries.clone();
        entries.push(entry);
        // Durable first: a KEK that wraps something must not be lost.
        self.save(&entries)?;
        self.entries = entries;
        self.keks.insert((name.to_owned(), version), kek);
        Ok(())
    }

    fn save(&self, entries: &[Entry]) -> Result<(), KmsError> {
        let (id, lock, check) = (self.id.clone(), self.lock.clone(), self.check.clone());
        let form = FileForm { format: FORMAT, id, lock, check, keks: entries.to_vec() };
        let mut text =
            serde_json::to_vec_pretty(&form).map_err(|error| KmsError::local(error.to_string()))?;
        text.push(b'\n');
        replace(&self.path, &text)
            .map_err(|error| KmsError::local(format!("{}: {error}", self.path.display())))
    }
}

/// Replaces a file as a whole, mode 0600, durably.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    // One left by a crash may have any mode and content: made anew.
    if let Err(error) = fs::remove_file(&temporary)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn name(kek: &str) -> Result<&str, KmsError> {
    kek.strip_prefix(PREFIX).ok_or_else(|| KmsError::NotFound(kek.to_owned()))
}

/// Length-prefixed, so that no two tuples have the same bytes.
fn joined(label: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = label.to_vec();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn check_context(id: &str) -> Vec<u8> {
    joined(b"sealgate/v1/keyring/check", &[id.as_bytes()])
}

fn entry_context(id: &str, entry: &Entry) -> Vec<u8> {
    let (version, created) = (entry.version.to_be_bytes(), entry.created.to_be_bytes());
    joined(b"sealgate/v1/keyring/kek", &[id.as_bytes(), entry.name.as_bytes(), &version, &created])
}

fn wrap_context(kek: &str, version: &str, context: &[u8]) -> Vec<u8> {
    joined(b"sealgate/v1/keyring/wrap", &[kek.as_bytes(), version.as_bytes(), context])
}
