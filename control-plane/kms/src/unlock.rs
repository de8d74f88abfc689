//! What unlocks a keyring: an operator's passphrase through Argon2id (RFC 9106), or a file with a 32-byte key.

use std::{fs, io::Read as _, path::Path};

use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::KmsError;

/// Argon2id's memory, in KiB: 64 MiB.
const MEMORY_KIB: u32 = 64 << 10;
/// Argon2id's passes.
const PASSES: u32 = 3;
/// The most that a keyring file may ask for: it is input, and must not take the machine down.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 16;
/// The shortest passphrase outside tests, in bytes.
const MIN_PASSPHRASE: usize = 12;
const MAX_PASSPHRASE: u64 = 4096;

/// The secret that opens a keyring. Neither printable nor clonable; zeroized on drop.
pub enum Unlock {
    /// An operator's passphrase, at least 12 bytes.
    Passphrase(Zeroizing<Vec<u8>>),
    /// 32 random bytes from a key file.
    Key(Zeroizing<[u8; 32]>),
}

impl Unlock {
    /// Reads a passphrase from a file; one line end at its end is not part of it.
    ///
    /// # Errors
    /// When the file cannot be read, or the passphrase is shorter than 12 bytes.
    pub fn passphrase_file(path: &Path) -> Result<Self, KmsError> {
        let mut text = read(path, MAX_PASSPHRASE)?;
        for end in [b'\n', b'\r'] {
            if text.last() == Some(&end) {
                text.pop();
            }
        }
        if text.len() < MIN_PASSPHRASE {
            let path = path.display();
            return Err(KmsError::local(format!("{path}: a passphrase has at least {MIN_PASSPHRASE} bytes")));
        }
        Ok(Self::Passphrase(text))
    }

    /// Reads a key file of exactly 32 bytes.
    ///
    /// # Errors
    /// When the file cannot be read or has another length.
    pub fn key_file(path: &Path) -> Result<Self, KmsError> {
        let bytes = read(path, 33)?;
        let mut key = Zeroizing::new([0_u8; 32]);
        if bytes.len() != key.len() {
            return Err(KmsError::Denied(format!("{}: a key file has exactly 32 bytes", path.display())));
        }
        key.copy_from_slice(&bytes);
        Ok(Self::Key(key))
    }
}

fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let unavailable = |error: std::io::Error| KmsError::local(format!("{}: {error}", path.display()));
    // Capacity first: a growing buffer would leave copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(limit).unwrap_or(0)));
    fs::File::open(path).map_err(unavailable)?.take(limit).read_to_end(&mut bytes).map_err(unavailable)?;
    Ok(bytes)
}

/// How a keyring file says it is unlocked.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Lock {
    Passphrase { memory_kib: u32, passes: u32, salt: String },
    KeyFile { salt: String },
}

impl Lock {
    pub(crate) fn new(unlock: &Unlock) -> Result<Self, KmsError> {
        let mut salt = [0_u8; 16];
        getrandom::fill(&mut salt).map_err(|_| KmsError::local("no randomness".to_owned()))?;
        let salt = hex::encode(salt);
        Ok(match unlock {
            Unlock::Passphrase(_) => Self::Passphrase { memory_kib: MEMORY_KIB, passes: PASSES, salt },
            Unlock::Key(_) => Self::KeyFile { salt },
        })
    }

    /// The key that seals the keyring's entries.
    pub(crate) fn master(&self, unlock: &Unlock) -> Result<Zeroizing<[u8; 32]>, KmsError> {
        let mut master = Zeroizing::new([0_u8; 32]);
        match (self, unlock) {
            (Self::Passphrase { memory_kib, passes, salt }, Unlock::Passphrase(passphrase)) => {
                if *memory_kib > MAX_MEMORY_KIB || *passes > MAX_PASSES {
                    return Err(damaged());
                }
                let salt = hex::decode(salt).map_err(|_| damaged())?;
                let params = Params::new(*memory_kib, *passes, 1, Some(32)).map_err(|_| damaged())?;
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(passphrase, &salt, master.as_mut())
                    .map_err(|_| damaged())?;
            }
            (Self::KeyFile { salt }, Unlock::Key(key)) => {
                let salt = hex::decode(salt).map_err(|_| damaged())?;
                Hkdf::<Sha256>::new(Some(&salt), key.as_ref())
                    .expand(b"sealgate/v1/keyring", master.as_mut())
                    .map_err(|_| damaged())?;
            }
            (Self::Passphrase { .. }, Unlock::Key(_)) => {
                return Err(KmsError::Denied(
                    "(the keyring opens with a passphrase, not a key file)".to_owned(),
                ));
            }
            (Self::KeyFile { .. }, Unlock::Passphrase(_)) => {
                return Err(KmsError::Denied(
                    "(the keyring opens with a key file, not a passphrase)".to_owned(),
                ));
            }
        }
        Ok(master)
    }
}

fn damaged() -> KmsError {
    KmsError::local("the keyring file is damaged".to_owned())
}
