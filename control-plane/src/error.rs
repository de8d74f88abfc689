//! The control plane's errors, and the one place where they become gRPC codes.

use sealgate_kms::KmsError;
use sealgate_store::{RecordError, StoreError};
use thiserror::Error;
use tonic::{Code, Status};

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
    /// Too many requests.
    #[error("{0}")]
    Exhausted(String),
    /// The KMS, the store or an actor does not answer: retrying may help.
    #[error("{0}")]
    Unavailable(String),
    /// A bug or damaged state.
    #[error("{0}")]
    Internal(String),
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
            Error::Unauthenticated(_) => Code::Unauthenticated,
            Error::Exhausted(_) => Code::ResourceExhausted,
            Error::Unavailable(_) => Code::Unavailable,
            Error::Internal(_) => Code::Internal,
        };
        Self::new(code, error.to_string())
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
            KmsError::Unavailable(..) | KmsError::Throttled(..) => Self::Unavailable(error.to_string()),
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
