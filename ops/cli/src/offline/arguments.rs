//! Options of the offline tools: where ciphertext lies, and what opens it. `--data` stands for the layout of
//! `sealgate dev`: DIR/backend, DIR/recovery, DIR/control-plane/keyring.json and keyring.key.

use std::path::{Path, PathBuf};

use clap::Args;
use sealgate_envelope::{BucketId, RecoveryCard};
use sealgate_kms::Unlock;

use super::keys::{KekSource, KeyringFiles, Keys, ReadUnlock};
use super::source::{BareBody, Directory, Server, Source};
use crate::connection::{Client, ConnectionArguments, Settings};
use crate::failure::{Failure, Outcome};
use crate::location::Location;

/// Where ciphertext lies.
#[derive(Args, Clone, Debug)]
pub struct PlaceArguments {
    /// s3://BUCKET/KEY on the backend: in the directory that --data or --fs-root names, else on an S3 server
    url: Option<Location>,
    /// The directory of a `sealgate dev`: stands for all files that lie in it
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The directory of a filesystem backend
    #[arg(long, value_name = "DIR")]
    fs_root: Option<PathBuf>,
    /// The backend's bucket, instead of the URL
    #[arg(long, value_name = "BUCKET", conflicts_with = "url")]
    bucket: Option<String>,
    /// The object's key: instead of the URL, or the key that --body had
    #[arg(long, value_name = "KEY", conflicts_with = "url")]
    pub key: Option<String>,
    /// A file with an object's body as it lies on the backend
    #[arg(long, value_name = "FILE", conflicts_with_all = ["fs_root", "url", "bucket"])]
    pub body: Option<PathBuf>,
    /// A JSON file with the user metadata of --body, as the backend's tools print it
    #[arg(long, value_name = "FILE", requires = "body")]
    metadata: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl PlaceArguments {
    /// Bucket and key or prefix that were named.
    pub fn location(&self) -> Option<Location> {
        self.url.clone().or_else(|| {
            let key = self.key.clone().unwrap_or_default();
            self.bucket.clone().map(|bucket| Location { bucket, key })
        })
    }

    /// The filesystem backend's directory, unless an S3 server is meant.
    pub fn directory(&self) -> Option<PathBuf> {
        if self.connection.endpoint_url.is_some() {
            return self.fs_root.clone();
        }
        self.fs_root.clone().or_else(|| self.data.as_ref().map(|data| data.join("backend")))
    }

    /// The same place as words for a shell. Metadata of a lone body is left out: what needs these words has lost it.
    pub fn words(&self) -> String {
        let path = |path: &PathBuf| path.display().to_string();
        let options = [
            ("--data", self.data.as_ref().map(path)),
            ("--fs-root", self.fs_root.as_ref().map(path)),
            ("--endpoint-url", self.connection.endpoint_url.clone()),
            ("--region", self.connection.region.clone()),
            ("--profile", self.connection.profile.clone()),
            ("--ca-bundle", self.connection.ca_bundle.as_ref().map(path)),
            ("--body", self.body.as_ref().map(path)),
        ];
        let mut words: Vec<String> = options
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name} {}", quoted(&value?))))
            .collect();
        words.extend(self.location().map(|location| quoted(&location.to_string())));
        words.join(" ")
    }

    /// Where else a lone body's IK record may lie.
    pub fn beside_body(&self) -> Option<PathBuf> {
        self.body.as_ref()?;
        self.data.as_ref().map(|data| data.join("backend")).filter(|root| root.is_dir())
    }

    /// The place, and the key in it.
    ///
    /// # Errors
    /// When no place is named, or one that cannot be reached.
    pub fn open(&self) -> Outcome<(Box<dyn Source>, String)> {
        if let Some(body) = &self.body {
            let key = self.key.clone();
            if self.metadata.is_some() && key.is_none() {
                return Err(Failure::usage(
                    "--metadata needs --key: the envelope is bound to the object's key",
                )
                .hint("give the key that the object had, or leave --metadata out to recover the bare body"));
            }
            let bare = BareBody::open(body, self.metadata.as_deref())?;
            return Ok((Box::new(bare), key.unwrap_or_default()));
        }
        let Some(Location { bucket, key }) = self.location() else {
            return Err(Failure::usage("no object is named").hint(
                "give s3://BUCKET/KEY with --data DIR, --fs-root DIR or --endpoint-url URL; or --body FILE",
            ));
        };
        Ok((self.bucket(&bucket)?, key))
    }

    /// A bucket of the place.
    ///
    /// # Errors
    /// As [`PlaceArguments::open`].
    pub fn bucket(&self, bucket: &str) -> Outcome<Box<dyn Source>> {
        if let Some(root) = self.directory() {
            return Ok(Box::new(Directory::new(root, bucket.to_owned())));
        }
        // The credentials in --data are those of the gateway, which shows no ciphertext.
        let client = Client::new(&Settings::find(&self.connection, None)?)?;
        Ok(Box::new(Server::new(client, bucket.to_owned())))
    }
}

/// What opens ciphertext.
#[derive(Args, Clone, Debug)]
pub struct KeyArguments {
    /// The recovery card, which says whose records may be believed
    #[arg(long, value_name = "FILE")]
    recovery_card: Option<PathBuf>,
    /// The control plane's configuration file, of which [kms] is used: for KEKs in OpenBao, Vault or AWS KMS
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keyring", "key_file", "passphrase_file"])]
    kms: Option<PathBuf>,
    /// The local keyring
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// The keyring's key file (32 bytes)
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    key_file: Option<PathBuf>,
    /// A file with the keyring's passphrase
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// An IK record, or a directory of them, instead of those in the bucket; may be repeated
    #[arg(long, value_name = "PATH")]
    ik_record: Vec<PathBuf>,
    /// Accept objects of this logical bucket only (32 hex digits, see the card)
    #[arg(long, value_name = "ID")]
    logical_bucket: Option<BucketId>,
}

impl KeyArguments {
    /// The keys for what lies in `source`. The keyring is not opened before the card has admitted a record.
    ///
    /// # Errors
    /// When card or keyring are not named, or the card or a record cannot be read.
    pub fn keys<'a>(&self, data: Option<&Path>, source: &'a dyn Source) -> Outcome<Keys<'a>> {
        let path = self.recovery_card.clone().or_else(|| data.map(|data| data.join("recovery")));
        let path = path.ok_or_else(|| {
            Failure::usage(
                "no recovery card: whose records may be believed must come from you, not from the bucket",
            )
            .hint("give --recovery-card FILE; the control plane keeps it in data_dir/recovery-card")
        })?;
        let keks = match &self.kms {
            Some(file) => KekSource::Kms(file.clone()),
            None => KekSource::Keyring(self.keyring_files(data)?),
        };
        let keys = Keys::new(read_card(&path)?, keks, source, self.logical_bucket);
        self.ik_record.iter().try_fold(keys, |keys, path| keys.with_records(path))
    }

    fn keyring_files(&self, data: Option<&Path>) -> Outcome<KeyringFiles> {
        let control = data.map(|data| data.join("control-plane"));
        let in_data = |name: &str| control.as_ref().map(|control| control.join(name));
        let keyring = self.keyring.clone().or_else(|| in_data("keyring.json"));
        let keyring = keyring.ok_or_else(|| {
            Failure::usage("no keyring")
                .hint("give --keyring FILE, or --kms FILE where the KEKs are in another KMS")
        })?;
        let key_file = self.key_file.clone().or_else(|| in_data("keyring.key"));
        let unlock = match (self.passphrase_file.clone(), key_file) {
            (Some(passphrase), _) => (passphrase, Unlock::passphrase_file as ReadUnlock),
            (None, Some(key)) => (key, Unlock::key_file as ReadUnlock),
            (None, None) => {
                return Err(Failure::usage("nothing that opens the keyring")
                    .hint("give --key-file FILE or --passphrase-file FILE"));
            }
        };
        Ok(KeyringFiles { keyring, unlock })
    }
}

/// Reads a recovery card.
///
/// # Errors
/// When it cannot be read or is none.
pub fn read_card(path: &Path) -> Outcome<RecoveryCard> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    text.parse().map_err(|error| {
        Failure::usage(format!("{}: {error}", path.display()))
            .hint("a card begins with `sealgate-recovery-card 1`; export it anew or take a backup of it")
    })
}

/// A word that a shell takes for itself.
pub fn quoted(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_for_a_shell() {
        assert_eq!(quoted("s3://b/2026/a.jpg"), "s3://b/2026/a.jpg");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
