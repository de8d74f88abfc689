//! What a command reports when it did not do what it was asked: what is wrong, where, what to do, and an exit code that
//! scripts can act on.

use std::fmt;
use std::io;
use std::path::Path;

use sealgate_data_plane::backend::BackendError;
use sealgate_kms::KmsError;

/// Exit codes, documented in docs/cli.md. 0 is success, 2 (usage) is clap's own too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Anything that has no code of its own.
    Failure = 1,
    /// The command line asks for something that cannot be.
    Usage = 2,
    /// No such bucket, object, file, IK record or KEK.
    NotFound = 3,
    /// Bytes are not what was written.
    Integrity = 4,
    /// Credentials, the recovery card or the KMS refuse.
    Denied = 5,
    /// A server or the keyring cannot be reached now.
    Unavailable = 6,
}

impl Exit {
    /// The word that stands for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Integrity => "integrity",
            Self::Denied => "access-denied",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why a command failed. Holds no secret: it is printed.
#[derive(Clone, Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    hint: Option<String>,
    of_credentials: bool,
}

/// What commands give back.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// With a text that says what is wrong and where.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), hint: None, of_credentials: false }
    }

    /// A command line that cannot be.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Bytes that are not what was written.
    pub fn integrity(place: &dyn fmt::Display, what: &dyn fmt::Display) -> Self {
        Self::new(Exit::Integrity, format!("{place}: {what}"))
    }

    /// Adds what to do about it; the first hint stays.
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| text.into());
        self
    }

    /// What to do about it, in the place of any hint before: where who failed knows less than who asked.
    pub fn hint_instead(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What is wrong and where.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether an S3 server refuses whoever asks, and not only what is asked for.
    pub fn is_of_credentials(&self) -> bool {
        self.of_credentials
    }

    /// A local file.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        Self::io(&path.display(), error)
    }

    /// Reading or writing at a place.
    pub fn io(place: &dyn fmt::Display, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::PermissionDenied => Exit::Denied,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Exit::Integrity,
            io::ErrorKind::InvalidInput => Exit::Usage,
            io::ErrorKind::ConnectionAborted | io::ErrorKind::TimedOut => Exit::Unavailable,
            _ => Exit::Failure,
        };
        Self::new(exit, format!("{place}: {error}"))
    }

    /// What a KMS, or the keyring (`what`), answered about a place.
    pub fn kms(place: &dyn fmt::Display, what: &str, error: &KmsError) -> Self {
        if what != "keyring" {
            return Self::remote_kms(place, error);
        }
        let (exit, hint) = match error {
            KmsError::Unavailable(..) | KmsError::Throttled(..) | KmsError::Unsupported(_) => {
                (Exit::Unavailable, "check the paths given with --keyring and --key-file")
            }
            KmsError::Denied(_) => {
                (Exit::Denied, "give the key file or passphrase that this keyring was made with")
            }
            KmsError::BadCiphertext => (
                Exit::Integrity,
                "the record was altered, or belongs to another keyring: give another copy of it with --ik-record",
            ),
            KmsError::NotFound(_) => {
                (Exit::NotFound, "give the keyring that holds this KEK, or a newer backup of it")
            }
        };
        Self::new(exit, format!("{place}: {error}")).hint(hint)
    }

    fn remote_kms(place: &dyn fmt::Display, error: &KmsError) -> Self {
        let (exit, hint) = match error {
            KmsError::Unavailable(..) | KmsError::Throttled(..) | KmsError::Unsupported(_) => (
                Exit::Unavailable,
                "check the addresses and files in the configuration given with --kms, and try again",
            ),
            KmsError::Denied(_) => (
                Exit::Denied,
                "the login in the configuration given with --kms must be allowed to decrypt with this KEK",
            ),
            KmsError::BadCiphertext => (
                Exit::Integrity,
                "the record was altered, or belongs to another KMS: give another copy of it with --ik-record",
            ),
            KmsError::NotFound(_) => (
                Exit::NotFound,
                "the configuration given with --kms must have the provider that the KEK's reference names, and that one the KEK",
            ),
        };
        Self::new(exit, format!("{place}: {error}")).hint(hint)
    }

    /// What an S3 server answered about a place.
    pub fn s3(place: &dyn fmt::Display, error: &BackendError) -> Self {
        match error {
            BackendError::S3 { status, code, message, .. } => {
                let text = if message.is_empty() { String::new() } else { format!(": {message}") };
                let mut failure =
                    Self::new(exit_of(*status, code), format!("{place}: {code} (HTTP {status}){text}"));
                failure.of_credentials = OF_CREDENTIALS.contains(&code.as_str());
                match hint_for(code) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
            BackendError::Unavailable(text) => Self::new(Exit::Unavailable, format!("{place}: {text}"))
                .hint("check the endpoint, or try again later"),
            BackendError::Io(error) => Self::io(place, error),
            other => Self::new(Exit::Failure, format!("{place}: {other}")),
        }
    }
}

/// What S3 answers to every request of a caller.
const OF_CREDENTIALS: [&str; 8] = [
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "NotSignedUp",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];

fn exit_of(status: u16, code: &str) -> Exit {
    match (status, code) {
        (_, "ObjectIntegrityError" | "BadDigest" | "XAmzContentChecksumMismatch") => Exit::Integrity,
        (404, _) => Exit::NotFound,
        (401 | 403, _) => Exit::Denied,
        (429 | 500.., _) => Exit::Unavailable,
        _ => Exit::Failure,
    }
}

fn hint_for(code: &str) -> Option<&'static str> {
    Some(match code {
        "NoSuchBucket" => "`sealgate ls` shows the buckets, `sealgate mb` makes one",
        "NoSuchKey" => "`sealgate ls -r s3://BUCKET` shows the keys",
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile, or give --data DIR"
        }
        "RequestTimeTooSkewed" => "set this machine's clock",
        "AuthorizationHeaderMalformed" => "give the server's region with --region",
        "ObjectIntegrityError" => {
            "the stored object was altered: `sealgate inspect` shows what is left of it, a backup brings it back"
        }
        _ => return None,
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  help: {hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_not_whoever_asks() {
        let of = |status, code| Failure::s3(&"s3://bucket/key", &BackendError::s3(status, code, "no"));
        for code in ["InvalidAccessKeyId", "SignatureDoesNotMatch"] {
            assert!(of(403, code).is_of_credentials(), "{code}");
        }
        for (status, code) in [(403, "AccessDenied"), (503, "SlowDown"), (404, "NoSuchKey")] {
            assert!(!of(status, code).is_of_credentials(), "{code}");
        }
    }
}
