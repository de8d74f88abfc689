//! The control plane's errors, and the one place where they become gRPC codes.

use std::time::Duration;

use sealgate_kms::{Cause, KmsError};
use sealgate_proto::{NOT_ASKED, RETRY_AFTER, REVOKED};
use sealgate_store::{RecordError, StoreError};
use thiserror::Error;
use tonic::{Code, Status, metadata::MetadataValue};

/// Why the control plane did not do what it was asked. Texts carry names and ids, never secrets.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The request is malformed: the caller's fault, retrying does not help.
    #[error("{0}")]
    Invalid(String),
    /// What is named does not exist, or is not for this caller to know.
    #[error("{0}")]
    NotFound(String),
    /// What is to be made exists.
    #[error("{0}")]
    AlreadyExists(String),
    /// The state forbids it now.
    #[error("{0}")]
    Precondition(String),
    /// Somebody else is at it: later it may be done, or not be needed.
    #[error("{0}")]
    Conflict(String),
    /// The caller may not do it, or the KMS denies the key.
    #[error("{0}")]
    Denied(String),
    /// No valid identity.
    #[error("{0}")]
    Unauthenticated(String),
    /// The identity of a node that was revoked.
    #[error("the node is revoked")]
    Revoked,
    /// Too many requests.
    #[error("{0}")]
    Exhausted(String),
    /// The KMS, the store or an actor does not answer: retrying may help.
    #[error("{0}")]
    Unavailable(String),
    /// The KMS has too much to do: after so long retrying may help.
    #[error("{1}")]
    Later(Duration, String),
    /// The KMS is not asked now: after so long it may be.
    #[error("{1}")]
    NotAsked(Duration, String),
    /// A bug or damaged state.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Whether the same may succeed later without anybody's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Later(..) | Self::NotAsked(..))
    }

    /// Whole seconds after which a caller is asked to come again, if that is known: at least one, at most a minute.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        let (Self::Later(after, _) | Self::NotAsked(after, _)) = self else { return None };
        Some(after.as_millis().div_ceil(1_000).try_into().unwrap_or(u32::MAX).clamp(1, 60))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Invalid(_) => Code::InvalidArgument,
            Error::NotFound(_) => Code::NotFound,
            Error::AlreadyExists(_) => Code::AlreadyExists,
            Error::Precondition(_) => Code::FailedPrecondition,
            Error::Conflict(_) => Code::Aborted,
            Error::Denied(_) => Code::PermissionDenied,
            Error::Unauthenticated(_) | Error::Revoked => Code::Unauthenticated,
            Error::Exhausted(_) => Code::ResourceExhausted,
            Error::Unavailable(_) | Error::Later(..) | Error::NotAsked(..) => Code::Unavailable,
            Error::Internal(_) => Code::Internal,
        };
        let mut status = Self::new(code, error.to_string());
        if let Some(seconds) = error.retry_after() {
            status.metadata_mut().insert(RETRY_AFTER, MetadataValue::from(seconds));
        }
        if let Error::NotAsked(..) = error {
            status.metadata_mut().insert(NOT_ASKED, MetadataValue::from_static("1"));
        }
        if let Error::Revoked = error {
            status.metadata_mut().insert(REVOKED, MetadataValue::from_static("1"));
        }
        status
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) | StoreError::Engine(_) => Self::Unavailable(error.to_string()),
            StoreError::Invalid(_) => Self::Invalid(error.to_string()),
            StoreError::Format(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<KmsError> for Error {
    fn from(error: KmsError) -> Self {
        match error {
            KmsError::Unavailable(Cause::Refused(after), _) => Self::NotAsked(after, error.to_string()),
            KmsError::Unavailable(..) | KmsError::Throttled(..) => match error.retry_after() {
                Some(after) => Self::Later(after, error.to_string()),
                None => Self::Unavailable(error.to_string()),
            },
            KmsError::Denied(_) => Self::Denied(error.to_string()),
            KmsError::Unsupported(_) => Self::Precondition(error.to_string()),
            // A KEK that is gone or a wrapped key that does not open: the key may not be used.
            KmsError::BadCiphertext | KmsError::NotFound(_) => Self::Denied(error.to_string()),
        }
    }
}

impl From<sealgate_envelope::Error> for Error {
    fn from(error: sealgate_envelope::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Duration, Error, KmsError, NOT_ASKED, RETRY_AFTER, Status};

    fn told(error: KmsError) -> (Option<u32>, Option<String>) {
        let error = Error::from(error);
        let status = Status::from(error.clone());
        let metadata = status.metadata().get(RETRY_AFTER);
        (error.retry_after(), metadata.map(|value| value.to_str().unwrap_or_default().to_owned()))
    }

    #[test]
    fn when_a_kms_is_asked_again_goes_with_the_error_in_whole_seconds() {
        let refused =
            |millis| KmsError::Unavailable(Cause::Refused(Duration::from_millis(millis)), String::new());
        assert_eq!(told(refused(4_001)), (Some(5), Some("5".to_owned())));
        assert_eq!(told(refused(0)), (Some(1), Some("1".to_owned())));
        assert_eq!(told(refused(72_000)), (Some(60), Some("60".to_owned())));
        assert_eq!(told(KmsError::Throttled(Some(Duration::from_secs(2)), String::new())).0, Some(2));
        assert_eq!(told(KmsError::Unavailable(Cause::Timeout, String::new())), (None, None));
        assert_eq!(told(KmsError::Denied(String::new())), (None, None));
    }

    #[test]
    fn only_of_a_kms_that_is_not_asked_is_it_said_so() {
        let says = |error: KmsError| Status::from(Error::from(error)).metadata().contains_key(NOT_ASKED);
        let second = Duration::from_secs(1);
        assert!(says(KmsError::Unavailable(Cause::Refused(second), String::new())));
        assert!(!says(KmsError::Throttled(Some(second), String::new())), "the next one may have its turn");
        assert!(!says(KmsError::Unavailable(Cause::Timeout, String::new())));
    }
}
