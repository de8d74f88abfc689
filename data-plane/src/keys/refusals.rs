//! What the control plane has just said that its KMS is not asked for.
//!
//! While a breaker is open the answer to a missing key is known: a node that was told so once says it by itself, at once, and a flood of
//! readers is none at the control plane. Kept is only that, only for the same key, and for a second at most: then one request finds
//! out whether it still holds. News of the KMS end it before.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealgate_envelope::ids::BucketId;

use super::Wanted;

/// Why there is no key.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// The control plane or the KMS cannot be reached: 503.
    #[error("the key cannot be had now: {0}")]
    Unavailable(String),
    /// The same, and after so many seconds it is worth trying again.
    #[error("the key cannot be had now: {1}")]
    Later(u32, String),
    /// The same, and the KMS is not even asked.
    #[error("the key cannot be had now: {1}")]
    NotAsked(u32, String),
    /// The key, or its KEK, may not be used: 403.
    #[error("the key may not be used: {0}")]
    Denied(String),
    /// The control plane knows no such key: what names it is not genuine.
    #[error("no such key")]
    Unknown,
}

/// How long one is kept.
const KEPT: Duration = Duration::from_secs(1);
/// So many are; beyond, the control plane is asked.
const MOST: usize = 65_536;

type Key = (BucketId, Wanted);

/// See the module. Times are the node's monotonic ones.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<Key, (Duration, KeyError)>>);

impl Refusals {
    /// The refusal of a key, if it is known.
    pub(super) fn of(&self, key: Key, now: Duration) -> Option<KeyError> {
        self.lock().get(&key).filter(|(until, _)| now < *until).map(|(_, error)| error.clone())
    }

    /// Keeps what the control plane said of a key, if it is that nobody is asked.
    pub(super) fn keep(&self, key: Key, error: &KeyError, now: Duration) {
        let KeyError::NotAsked(seconds, _) = error else { return };
        let mut known = self.lock();
        if known.len() >= MOST {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() < MOST {
            known.insert(key, (now + KEPT.min(Duration::from_secs((*seconds).into())), error.clone()));
        }
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, (Duration, KeyError)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_that_nobody_is_asked_is_kept_only_for_its_key_and_for_a_second() {
        let (refusals, bucket) = (Refusals::default(), BucketId::from_bytes([1; 16]));
        let (key, now) = ((bucket, Wanted::Active), 5 * SECOND);
        for error in [
            KeyError::Unavailable(String::new()),
            KeyError::Later(60, String::new()),
            KeyError::Denied(String::new()),
            KeyError::Unknown,
        ] {
            refusals.keep(key, &error, now);
            assert_eq!(refusals.of(key, now), None, "{error}");
        }
        let open = KeyError::NotAsked(60, String::new());
        refusals.keep(key, &open, now);
        assert_eq!(refusals.of(key, now + SECOND - Duration::from_millis(1)), Some(open.clone()));
        assert_eq!(refusals.of(key, now + SECOND), None);
        assert_eq!(refusals.of((BucketId::from_bytes([2; 16]), Wanted::Active), now), None);
        refusals.clear();
        assert_eq!(refusals.of(key, now), None);
    }
}
