//! Looking after a provider when nobody calls: whether it works from end to end, connections kept warm, breakers closed again.
//!
//! While an address is out, it is asked whether it is ready, which touches no key, and only once it says so do probes of its
//! operations go there, one at a time. So a long outage does not leave the breaker open for a minute more.

use std::time::Duration;

use sealgate_envelope::Ik;
use subtle::ConstantTimeEq as _;
use tokio::time::{Instant, timeout};

use super::{
    Layer,
    address::LookedAfter,
    observer::{Kind, Operation},
};
use crate::{Cause, Kms as _, KmsError, Resilient};

/// How long an address may take to say that it is ready: connecting, and one answer.
const READY_WITHIN: Duration = Duration::from_secs(1);
/// Probes of one operation at most, each time: as many as close a breaker, and one that was lost.
const PROBES: u32 = 4;
/// What a key is wrapped with that serves for the examination alone.
const CONTEXT: &[u8] = b"sealgate health";

/// What an examination uses.
#[derive(Clone, Debug)]
pub enum Sample {
    /// A KEK under which a random key is wrapped and unwrapped.
    Kek(String),
    /// A record that was wrapped before, to unwrap.
    Record {
        /// The KEK's reference.
        kek: String,
        /// Its version.
        version: String,
        /// What is authenticated.
        context: Vec<u8>,
        /// What was wrapped.
        wrapped: Vec<u8>,
    },
    /// There is none: only whether an address is ready can be told.
    Nothing,
}

impl Resilient {
    /// Opens a connection to each address, all at once, and learns which of them serve. For the start.
    pub async fn warm(&self) {
        let layer = self.layer();
        let all = (0..layer.addresses.len()).map(|number| layer.look(number));
        let ready = futures_util::future::join_all(all).await;
        // The first call has no retry saved for an address that is away.
        let first = ready.iter().position(Result::is_ok);
        layer.prefer(|preferred| preferred.or(first));
    }

    /// Looks whether each address is ready, probes what is out and ready again, and then the whole from end to end. Calls that
    /// went to another address, since one before it in the list was slow or out, go back there once it opens a key in time.
    ///
    /// # Errors
    /// What the last, end to end, failed with: also that nothing is asked since all breakers are open.
    pub async fn examine(&self, sample: &Sample) -> Result<(), KmsError> {
        let layer = self.layer();
        let mut any = Err(layer.refused(READY_WITHIN));
        let (mut fit, mut guards) = (Vec::new(), Vec::new());
        for (number, address) in layer.addresses.iter().enumerate() {
            // A caller's probe that is under way finds out by itself.
            let Some(mut looked_after) = address.look_after() else { continue };
            let ready = layer.look(number).await;
            if ready.is_ok() {
                layer.probe_all(number, sample, &mut looked_after).await;
                fit.push(number);
            } else {
                looked_after.not_ready();
            }
            // All are looked after until the last was: one after the other takes longer than a mark holds.
            guards.push(looked_after);
            if any.is_err() {
                any = ready;
            }
        }
        drop(guards);
        // What says of itself that it does not work is not asked for more.
        any?;
        match sample {
            Sample::Kek(kek) => {
                let version = self.current_version(kek).await?;
                let key = random()?;
                let wrapped = self.wrap(kek, &version, CONTEXT, &key).await?;
                let opened = self.unwrap(kek, &version, CONTEXT, &wrapped).await?;
                layer.hand_back(&fit, (kek, &version, CONTEXT, &wrapped)).await;
                let same = bool::from(opened.expose().ct_eq(key.expose()));
                if same { Ok(()) } else { Err(KmsError::BadCiphertext) }
            }
            Sample::Record { kek, version, context, wrapped } => {
                self.unwrap(kek, version, context, wrapped).await?;
                layer.hand_back(&fit, (kek, version, context, wrapped)).await;
                Ok(())
            }
            Sample::Nothing => Ok(()),
        }
    }
}

impl Layer {
    /// Asks an address whether it is ready.
    async fn look(&self, number: usize) -> Result<(), KmsError> {
        let Some(address) = self.addresses.get(number) else { return Ok(()) };
        let late = || {
            let text = format!("{} ({}): no answer within {READY_WITHIN:?}", self.name, address.label);
            KmsError::Unavailable(Cause::Timeout, text)
        };
        let ready = timeout(READY_WITHIN, address.kms.ready()).await.unwrap_or_else(|_| Err(late()));
        match &ready {
            Ok(()) => address.answers(),
            Err(error) => address.does_not_answer(error),
        }
        ready
    }

    /// Probes the operations of an address whose breakers are not closed, until they are or one fails. What the sample has nothing
    /// for is left to callers.
    async fn probe_all(&self, number: usize, sample: &Sample, done: &mut LookedAfter<'_>) {
        let Some(address) = self.addresses.get(number) else { return };
        // A change of a KEK is nothing to try out.
        if Operation::ON_KEYS.into_iter().all(|operation| address.closed(operation)) {
            return;
        }
        if let Sample::Record { kek, version, context, wrapped } = sample {
            done.probed(Operation::Unwrap);
            self.probes(Operation::Unwrap, number, |kms| kms.unwrap(kek, version, context, wrapped)).await;
        }
        let (Sample::Kek(kek) | Sample::Record { kek, .. }) = sample else { return };
        done.probed(Operation::CurrentVersion);
        self.probes(Operation::CurrentVersion, number, |kms| kms.current_version(kek)).await;
        // The parts for the others, by whichever address gives them.
        let Ok(key) = random() else { return };
        let current = self.call(Operation::CurrentVersion, |kms| kms.current_version(kek)).await;
        let version = match (current, sample) {
            (Ok(version), _) => version,
            // One that may decrypt and no more, say.
            (Err(error), Sample::Record { version, .. }) if !error.is_transient() => version.clone(),
            _ => {
                done.wanting(Operation::Wrap);
                done.wanting(Operation::Unwrap);
                return;
            }
        };
        done.probed(Operation::Wrap);
        self.probes(Operation::Wrap, number, |kms| kms.wrap(kek, &version, CONTEXT, &key)).await;
        if address.closed(Operation::Unwrap) || matches!(sample, Sample::Record { .. }) {
            return;
        }
        let wrapped = self.call(Operation::Wrap, |kms| kms.wrap(kek, &version, CONTEXT, &key)).await;
        let Ok(wrapped) = wrapped else { return done.wanting(Operation::Unwrap) };
        done.probed(Operation::Unwrap);
        self.probes(Operation::Unwrap, number, |kms| kms.unwrap(kek, &version, CONTEXT, &wrapped)).await;
    }

    /// A hedge or a second attempt says that an address was slow or out for a moment, and the one that helped may be in another
    /// region. So the first in the list which is ready and opens the sample is preferred again; no caller's request is the trial.
    async fn hand_back(&self, ready: &[usize], (kek, version, context, wrapped): (&str, &str, &[u8], &[u8])) {
        let Some(preferred) = self.prefer(|it| it) else { return };
        for number in ready.iter().copied().take_while(|number| *number < preferred) {
            let Some(attempt) = self.trial(Operation::Unwrap, number) else { continue };
            let deadline = Instant::now() + self.total(Operation::Unwrap);
            let opened = self.ask(attempt, deadline, &|kms| kms.unwrap(kek, version, context, wrapped)).await;
            if opened.is_ok() {
                // Unless a caller has found a better one meanwhile.
                self.prefer(|now| if now == Some(preferred) { Some(number) } else { now });
                return;
            }
        }
    }

    /// An attempt for nobody on just this address, if all its breakers are closed.
    fn trial(&self, operation: Operation, number: usize) -> Option<super::attempt::Attempt<'_>> {
        let address = self.addresses.get(number).filter(|address| {
            address.standby().is_none() && Operation::ON_KEYS.into_iter().all(|it| address.closed(it))
        })?;
        let pass = address.admit(operation).ok()?;
        Some(self.admitted(operation, Kind::Probe, number, address, pass))
    }

    async fn probes<'a, T: Send>(
        &'a self,
        operation: Operation,
        number: usize,
        ask: impl Fn(&'a dyn crate::Kms) -> super::call::Answer<'a, T> + Send + Sync,
    ) {
        for _ in 0..PROBES {
            let Some(attempt) = self.probe(operation, number) else { return };
            let deadline = Instant::now() + self.total(operation);
            // That a key is refused is an answer.
            if self.ask(attempt, deadline, &ask).await.is_err_and(|failed| failed.error.is_transient()) {
                return;
            }
        }
    }
}

fn random() -> Result<Ik, KmsError> {
    Ik::generate().map_err(|_| KmsError::local("no randomness"))
}
