//! Who is told what happens, for metrics. Everything told is one of few values, so labels cannot run away.

use std::time::Duration;

use serde::Serialize;

use crate::{Cause, KmsError, Phase};

/// What is asked of a KMS, as far as breakers and deadlines tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Which version wraps now.
    CurrentVersion,
    /// An IK is wrapped.
    Wrap,
    /// An IK is unwrapped.
    Unwrap,
    /// A KEK is made, rotated or destroyed.
    Manage,
}

impl Operation {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::CurrentVersion, Self::Wrap, Self::Unwrap, Self::Manage];

    /// Those that objects need.
    pub const ON_KEYS: [Self; 3] = [Self::CurrentVersion, Self::Wrap, Self::Unwrap];

    /// The word for it in metrics and views.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::CurrentVersion => "current_version",
            Self::Wrap => "wrap",
            Self::Unwrap => "unwrap",
            Self::Manage => "manage",
        }
    }
}

/// Why an address was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first attempt of a call.
    First,
    /// Another one, after a failure.
    Retry,
    /// Another one beside the first, which takes long.
    Hedge,
    /// Another one because a standby does not serve.
    Hop,
    /// Nobody's call: it is found out whether the address works again.
    Probe,
}

impl Kind {
    /// The word for it in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Retry => "retry",
            Self::Hedge => "hedge",
            Self::Hop => "hop",
            Self::Probe => "probe",
        }
    }
}

/// How a call or an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok,
    /// It failed.
    Failed(Cause),
    /// The KMS throttles.
    Throttled,
    /// The KMS denies the key.
    Denied,
    /// No such KEK.
    NotFound,
    /// The ciphertext does not open.
    BadCiphertext,
    /// This KMS cannot do that.
    Unsupported,
    /// Whoever waited for it went away, or another attempt was faster.
    Abandoned,
}

impl Outcome {
    pub(super) fn of<T>(result: &Result<T, KmsError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(KmsError::Unavailable(cause, _)) => Self::Failed(*cause),
            Err(KmsError::Throttled(..)) => Self::Throttled,
            Err(KmsError::Denied(_)) => Self::Denied,
            Err(KmsError::NotFound(_)) => Self::NotFound,
            Err(KmsError::BadCiphertext) => Self::BadCiphertext,
            Err(KmsError::Unsupported(_)) => Self::Unsupported,
        }
    }

    /// The word for it in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(Cause::Connect) => "connect",
            Self::Failed(Cause::Timeout) => "timeout",
            Self::Failed(Cause::Server) => "server",
            Self::Failed(Cause::Sealed) => "sealed",
            Self::Failed(Cause::Standby) => "standby",
            Self::Failed(Cause::Elsewhere) => "elsewhere",
            Self::Failed(Cause::Refused(_)) => "refused",
            Self::Failed(Cause::Local) => "local",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::BadCiphertext => "bad_ciphertext",
            Self::Unsupported => "unsupported",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Is told. Called where calls are made: it must not wait.
pub trait Observer: Send + Sync + 'static {
    /// A caller has its answer, after so long; one that went away has none.
    fn call(&self, provider: &str, operation: Operation, outcome: Outcome, took: Duration) {
        let _ = (provider, operation, outcome, took);
    }

    /// An address was asked.
    fn attempt(&self, provider: &str, operation: Operation, kind: Kind, outcome: Outcome) {
        let _ = (provider, operation, kind, outcome);
    }

    /// A call had to wait for its turn.
    fn queued(&self, provider: &str, waited: Duration) {
        let _ = (provider, waited);
    }

    /// A breaker changed; `address` counts from 0.
    fn breaker(&self, provider: &str, address: usize, operation: Operation, phase: Phase) {
        let _ = (provider, address, operation, phase);
    }
}

/// Tells nobody.
pub struct Silent;

impl Observer for Silent {}
