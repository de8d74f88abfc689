//! The transit engine's requests, and what its ciphertexts and texts mean.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sealgate_envelope::Ik;
use serde::{Deserialize, Serialize};
use vaultrs::api::transit::{
    KeyType,
    requests::{
        CreateKeyRequest, DecryptDataRequest, DeleteKeyRequest, EncryptDataRequest, ReadKeyRequest,
        RotateKeyRequest, UpdateKeyConfigurationRequest,
    },
};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    answer::{data, unreadable},
    http::{Answer, Http, Request},
    secret,
};
use crate::{Cause, KmsError};

/// Sent with every encryption as the type of the key that a server would otherwise make, where there is none of that name
/// and the token may create: no server knows this type, so it refuses. Where the key exists nobody reads it.
const NO_UPSERT: &str = "never-create";

/// What an IK record has room for, in bytes.
const MAX_WRAPPED: usize = 8192;

/// Nonce and tag of AES-256-GCM around nothing: shorter was not made by it.
const OVERHEAD: usize = 12 + 16;

/// A transit engine and a key in it.
pub(super) struct Key<'a> {
    pub(super) mount: &'a str,
    pub(super) name: &'a str,
}

/// What [`Key::read`] tells.
#[derive(Deserialize)]
pub(super) struct Described {
    #[serde(rename = "type")]
    kind: String,
    derived: bool,
    exportable: bool,
    allow_plaintext_backup: bool,
    /// OpenBao's way to disable a key.
    #[serde(default)]
    pub(super) soft_deleted: bool,
}

impl Described {
    /// What keeps this key from being a KEK.
    pub(super) fn unsuitable(&self) -> Option<&'static str> {
        if self.kind != "aes256-gcm96" {
            Some("its type is not aes256-gcm96")
        } else if self.derived {
            Some("it is derived")
        } else if self.exportable {
            Some("it is exportable")
        } else if self.allow_plaintext_backup {
            Some("it allows plaintext backups")
        } else {
            None
        }
    }
}

impl Key<'_> {
    fn owned(&self) -> (String, String) {
        (self.mount.to_owned(), self.name.to_owned())
    }

    pub(super) fn read(&self) -> Result<Request, KmsError> {
        let (mount, name) = self.owned();
        Request::of(&ReadKeyRequest { mount, name })
    }

    pub(super) fn create(&self) -> Result<Request, KmsError> {
        let (mount, name) = self.owned();
        Request::of(&CreateKeyRequest {
            mount,
            name,
            key_type: Some(KeyType::Aes256Gcm96),
            derived: Some(false),
            exportable: Some(false),
            allow_plaintext_backup: Some(false),
            ..Default::default()
        })
    }

    pub(super) fn rotate(&self) -> Result<Request, KmsError> {
        let (mount, name) = self.owned();
        Request::of(&RotateKeyRequest { mount, name })
    }

    pub(super) fn allow_deletion(&self) -> Result<Request, KmsError> {
        let (mount, name) = self.owned();
        let config = UpdateKeyConfigurationRequest { mount, name, ..Default::default() };
        Request::of(&UpdateKeyConfigurationRequest { deletion_allowed: Some(true), ..config })
    }

    pub(super) fn delete(&self) -> Result<Request, KmsError> {
        let (mount, name) = self.owned();
        Request::of(&DeleteKeyRequest { mount, name })
    }

    pub(super) fn encrypt(&self, context: &[u8], ik: &Ik) -> Result<Request, KmsError> {
        #[derive(Serialize)]
        struct Body<'a> {
            plaintext: &'a str,
            associated_data: &'a str,
            #[serde(rename = "type")]
            kind: &'a str,
        }
        let (mount, name) = self.owned();
        let path = EncryptDataRequest { mount, name, ..Default::default() };
        let mut text = Zeroizing::new([0_u8; 44]);
        let broken = || KmsError::local("a key cannot be encoded");
        STANDARD.encode_slice(ik.expose(), text.as_mut()).map_err(|_| broken())?;
        let plaintext = std::str::from_utf8(text.as_ref()).map_err(|_| broken())?;
        let associated_data = &STANDARD.encode(context);
        let body = Body { plaintext, associated_data, kind: NO_UPSERT };
        Ok(Request::secret(&path, secret::body(&body, associated_data.len() + 256)?))
    }

    pub(super) fn decrypt(&self, context: &[u8], ciphertext: &str) -> Result<Request, KmsError> {
        #[derive(Serialize)]
        struct Body<'a> {
            ciphertext: &'a str,
            associated_data: &'a str,
        }
        let (mount, name) = self.owned();
        let path = DecryptDataRequest { mount, name, ..Default::default() };
        let associated_data = &STANDARD.encode(context);
        let body = Body { ciphertext, associated_data };
        Ok(Request::secret(&path, secret::body(&body, associated_data.len() + ciphertext.len() + 128)?))
    }
}

/// A ciphertext as transit writes it, `vault:v3:<base64>`, in the one spelling that the servers produce. They take others too
/// (line ends, stray bits in the last digit), which would let somebody alter a stored key without being noticed.
#[derive(Clone, Copy)]
pub(super) struct Ciphertext<'a> {
    pub(super) text: &'a str,
    /// `v3`.
    pub(super) version: &'a str,
}

impl<'a> Ciphertext<'a> {
    pub(super) fn parse(wrapped: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(wrapped).ok().filter(|text| text.len() <= MAX_WRAPPED)?;
        let (version, encoded) = text.strip_prefix("vault:")?.split_once(':')?;
        let digits = version.strip_prefix('v')?;
        let plain = (1..=10).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || digits.starts_with('0') {
            return None;
        }
        // The engine takes the canonical spelling only.
        let decoded = STANDARD.decode(encoded).ok()?;
        (decoded.len() > OVERHEAD).then_some(Self { text, version })
    }
}

/// The ciphertext of an encryption's answer.
pub(super) fn encrypted(http: &Http, answer: &Answer) -> Result<Vec<u8>, KmsError> {
    #[derive(Deserialize)]
    struct Encrypted<'a> {
        ciphertext: &'a str,
    }
    let encrypted: Encrypted<'_> = data(http, answer)?;
    let bytes = encrypted.ciphertext.as_bytes();
    Ciphertext::parse(bytes).map(|_| bytes.to_vec()).ok_or_else(|| unreadable(http))
}

/// The key of a decryption's answer.
pub(super) fn decrypted(http: &Http, answer: &Answer) -> Result<Ik, KmsError> {
    #[derive(Deserialize)]
    struct Decrypted<'a> {
        plaintext: &'a str,
    }
    let decrypted: Decrypted<'_> = data(http, answer)?;
    let mut bytes = Zeroizing::new([0_u8; 48]);
    let length = STANDARD.decode_slice(decrypted.plaintext, bytes.as_mut());
    // It opened, and is no IK: something else was wrapped under this name and context.
    let Ok(32) = length else { return Err(KmsError::BadCiphertext) };
    let mut ik = Zeroizing::new([0_u8; 32]);
    ik.copy_from_slice(&bytes[..32]);
    bytes.zeroize();
    Ok(Ik::from_bytes(&ik))
}

/// What a 400 says of the key or the ciphertext; `None` for what is not known.
pub(super) fn meaning(kek: &str, texts: &[String]) -> Option<KmsError> {
    let says = |phrases: &[&str]| texts.iter().any(|text| phrases.iter().any(|phrase| text.contains(phrase)));
    if says(&[
        "key not found",
        "no existing key named",
        "could not delete key; not found",
        "unknown key type",
    ]) {
        Some(KmsError::NotFound(kek.to_owned()))
    } else if says(&["version is too new"]) {
        // Of a standby that has not heard of a rotation yet, or a cluster from an older backup: nothing about the ciphertext.
        Some(KmsError::Unavailable(
            Cause::Elsewhere,
            format!(
                "{kek}: this node does not know the version that wrapped the key, which is newer than its newest"
            ),
        ))
    } else if says(&["message authentication failed", "invalid ciphertext"]) {
        Some(KmsError::BadCiphertext)
    } else if says(&["soft-deleted"]) {
        Some(KmsError::Denied(format!("{kek}, which is soft-deleted")))
    } else if says(&["disallowed by policy"]) {
        Some(KmsError::Denied(format!("{kek} in this version: it is below min_decryption_version")))
    } else if says(&["key derivation", "non-AEAD"]) {
        Some(KmsError::Unsupported(format!(
            "{kek} is no KEK: it has to be an aes256-gcm96 key that is not derived"
        )))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// Stored bytes may be anything. What is taken is spelt as a server would spell it.
        #[test]
        fn what_is_taken_is_canonical(
            number in 0_u64..=10_000_000_000,
            body in vec(any::<u8>(), 0..80),
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
        ) {
            let mut bytes = format!("vault:v{number}:{}", STANDARD.encode(&body)).into_bytes();
            prop_assert_eq!(Ciphertext::parse(&bytes).is_some(), number > 0 && number < 10_000_000_000 && body.len() > OVERHEAD);
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Some(ciphertext) = Ciphertext::parse(&bytes) {
                let (version, encoded) = ciphertext.text["vault:v".len()..].split_once(':').unwrap();
                let number: u64 = version.parse().unwrap();
                let again = format!("vault:v{number}:{}", STANDARD.encode(STANDARD.decode(encoded).unwrap()));
                prop_assert_eq!(again.as_bytes(), &bytes);
                prop_assert_eq!(ciphertext.version, format!("v{number}"));
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Ciphertext::parse(&bytes);
        }
    }

    fn version(text: &str) -> Option<&str> {
        Ciphertext::parse(text.as_bytes()).map(|ciphertext| ciphertext.version)
    }

    #[test]
    fn one_spelling_of_a_ciphertext_is_taken() {
        let encoded = STANDARD.encode([7; 61]);
        assert_eq!(version(&format!("vault:v1:{encoded}")), Some("v1"));
        assert_eq!(version(&format!("vault:v1234567890:{encoded}")), Some("v1234567890"));
        for head in [
            "",
            "vault:",
            "vault:1:",
            "vault:v:",
            "vault:v0:",
            "vault:v01:",
            "vault:v+1:",
            "vault:v12345678901:",
            "Vault:v1:",
            "bao:v1:",
            "vault:v1:vault:v1:",
        ] {
            assert_eq!(version(&format!("{head}{encoded}")), None, "{head}");
        }
        for tail in ["\n", "=", " ", "A", "\0"] {
            assert_eq!(version(&format!("vault:v1:{encoded}{tail}")), None, "{tail:?}");
        }
        assert_eq!(version(&format!("vault:v1:{}", encoded.trim_end_matches('='))), None, "no padding");
        // 61 bytes leave bits in the last digit that stand for nothing.
        let stray = encoded.replace("Bw==", "Bx==");
        assert_ne!(stray, encoded);
        assert_eq!(version(&format!("vault:v1:{stray}")), None);
        assert_eq!(version(&format!("vault:v1:{}", STANDARD.encode([7; 28]))), None, "too short");
        assert_eq!(version(&format!("vault:v1:{}", STANDARD.encode([7; 6142]))), None, "too long");
        assert!(Ciphertext::parse(b"vault:v1:\xff").is_none());
    }

    #[test]
    fn texts_are_understood_or_left_alone() {
        let meaning = |text: &str| meaning("v/k", &[text.to_owned()]);
        assert!(matches!(meaning("encryption key not found"), Some(KmsError::NotFound(_))));
        assert!(matches!(meaning("unknown key type never-create"), Some(KmsError::NotFound(_))));
        assert_eq!(meaning("cipher: message authentication failed"), Some(KmsError::BadCiphertext));
        assert_eq!(meaning("invalid ciphertext: no prefix"), Some(KmsError::BadCiphertext));
        assert!(matches!(
            meaning("invalid ciphertext: version is too new"),
            Some(KmsError::Unavailable(Cause::Elsewhere, _))
        ));
        assert!(matches!(meaning("refusing to use soft-deleted key"), Some(KmsError::Denied(_))));
        let old = "ciphertext or signature version is disallowed by policy (too old)";
        assert!(matches!(meaning(old), Some(KmsError::Denied(_))));
        assert_eq!(meaning("something new"), None);
    }
}
