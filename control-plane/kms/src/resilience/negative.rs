//! What the KMS has just refused: the same ciphertext asked for again is answered from here, for a few seconds.
//!
//! A bucket full of objects under a key that is gone would otherwise ask the KMS once for each read. Kept is only the answer
//! to one whole question (KEK, version, context, ciphertext), and only where the KMS itself gave it:
//!
//! - never a success: that would be a cache of keys without their lives;
//! - never a failure to answer (unavailable, throttled): it says nothing about the ciphertext, and the breaker and the limiter
//!   know better when to ask again;
//! - never one ciphertext's refusal for another's, not even under the same KEK: grants may be by context;
//! - never for long: who lets a key be used again waits at most these seconds. What makes, rotates or destroys a KEK empties it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::KmsError;

/// The digest of a question.
pub(super) type Question = [u8; 32];

/// See the module.
pub(super) struct Negative {
    life: Duration,
    most: usize,
    known: Mutex<HashMap<Question, (Instant, KmsError)>>,
}

pub(super) fn question(kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Question {
    let mut digest = Sha256::new();
    for part in [kek.as_bytes(), version.as_bytes(), context, wrapped] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

impl Negative {
    pub(super) fn new(life: Duration, most: usize) -> Self {
        Self { life, most, known: Mutex::default() }
    }

    /// The refusal, if it is known.
    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<KmsError> {
        let known = self.lock();
        known.get(question).filter(|(until, _)| now < *until).map(|(_, error)| error.clone())
    }

    /// Keeps a refusal; nothing else is kept.
    pub(super) fn put(&self, question: Question, error: &KmsError, now: Instant) {
        if !matches!(error, KmsError::Denied(_) | KmsError::NotFound(_) | KmsError::BadCiphertext) {
            return;
        }
        let mut known = self.lock();
        if known.len() >= self.most {
            known.retain(|_, (until, _)| now < *until);
        }
        // Full of what is still valid: that is an attack or a catastrophe, and the KMS is asked.
        if known.len() < self.most {
            known.insert(question, (now + self.life, error.clone()));
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Question, (Instant, KmsError)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{KmsError, Negative, question};
    use crate::Cause;

    #[test]
    fn only_refusals_are_kept_only_for_their_question_and_only_for_their_life() {
        let now = Instant::now();
        let (negative, asked) = (Negative::new(Duration::from_secs(3), 2), question("k", "1", b"c", b"w"));
        for error in [
            KmsError::Unavailable(Cause::Server, String::new()),
            KmsError::Throttled(None, String::new()),
            KmsError::Unsupported(String::new()),
        ] {
            negative.put(asked, &error, now);
            assert_eq!(negative.get(&asked, now), None, "{error}");
        }
        negative.put(asked, &KmsError::BadCiphertext, now);
        assert_eq!(negative.get(&asked, now + Duration::from_millis(2_999)), Some(KmsError::BadCiphertext));
        assert_eq!(negative.get(&asked, now + Duration::from_secs(3)), None);
        for other in
            [question("k1", "", b"c", b"w"), question("k", "1", b"cw", b""), question("k", "1", b"c", b"v")]
        {
            assert_eq!(negative.get(&other, now), None);
        }
        negative.clear();
        assert_eq!(negative.get(&asked, now), None);
    }

    #[test]
    fn it_is_bounded_and_makes_room_for_what_is_over() {
        let now = Instant::now();
        let negative = Negative::new(Duration::from_secs(3), 2);
        let of = |n: u8| question("k", "1", b"c", &[n]);
        (0..3).for_each(|n| negative.put(of(n), &KmsError::BadCiphertext, now));
        assert_eq!(negative.get(&of(2), now), None, "full");
        let later = now + Duration::from_secs(3);
        negative.put(of(2), &KmsError::BadCiphertext, later);
        assert_eq!(negative.get(&of(2), later), Some(KmsError::BadCiphertext));
    }
}
