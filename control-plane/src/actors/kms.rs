//! The actor that looks after one KMS provider: does it work from end to end, and whoever must know is told.
//!
//! It examines every 10 s ± 20 % while all is well, or at once when a breaker changes, and every 4 s ± 25 % while something is
//! not; the next time is set when an examination has ended, so there is never more than one. It holds nothing that the next
//! examination does not find out again after a panic.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use actix_rt::ArbiterHandle;
use sealgate_kms::{Kind, Kms as _, KmsError, Observer, Operation, Outcome, Phase, Resilient, Sample};
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::Slot;
use crate::{
    Clock, Error,
    metrics::{ActorKind, Metrics},
};

const MAILBOX: usize = 64;
/// Seconds between examinations, from and to.
const WELL: (u64, u64) = (8, 12);
const NOT_WELL: (u64, u64) = (3, 5);
/// KEKs that are remembered as refused; beyond, all are tried again.
const MAX_REFUSED: usize = 64;
/// The longest text of an error that is kept, in characters.
const MAX_TEXT: usize = 300;

/// What nodes are told: the providers, and whether each is degraded.
pub(crate) type Degraded = BTreeMap<String, bool>;

/// How the last examination ended, as the admin API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Examined {
    /// When it ended, Unix seconds; none before the first.
    pub(crate) at: Option<u64>,
    /// What was done: a key wrapped and unwrapped, a record unwrapped, or only an address asked whether it is ready.
    pub(crate) by: &'static str,
    /// What it failed with.
    pub(crate) error: Option<String>,
    /// When one ended well, Unix seconds.
    pub(crate) last_success: Option<u64>,
}

/// What to examine a provider of this name with, and with none of these KEKs; and whether something of it is out.
type Sampler = Box<dyn Fn(&str, &HashSet<String>, bool) -> Sample + Send + Sync>;

/// What a provider's actor works with.
pub(crate) struct Patient {
    pub(crate) resilient: Resilient,
    /// What to examine it with now.
    pub(crate) sample: Sampler,
    /// The KEK that is everybody's.
    pub(crate) system_kek: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) degraded: watch::Sender<Degraded>,
}

/// Tells the metrics and the log, and the actor that there is something to see.
struct Watcher {
    metrics: Arc<Metrics>,
    changed: Arc<Notify>,
}

impl Observer for Watcher {
    fn call(&self, provider: &str, operation: Operation, outcome: Outcome, took: Duration) {
        self.metrics.of_kms.call(provider, operation, outcome, took);
    }

    fn attempt(&self, provider: &str, operation: Operation, kind: Kind, outcome: Outcome) {
        self.metrics.of_kms.attempt(provider, operation, kind, outcome);
    }

    fn queued(&self, provider: &str, waited: Duration) {
        self.metrics.of_kms.queued(provider, waited);
    }

    fn breaker(&self, provider: &str, address: usize, operation: Operation, phase: Phase) {
        let (operation_word, number) = (operation.word(), address + 1);
        if phase == Phase::Closed {
            tracing::info!(kms = provider, address = number, operation = operation_word, "a breaker closed");
        } else {
            tracing::warn!(kms = provider, address = number, operation = operation_word, "a breaker opened");
        }
        self.metrics.of_kms.breaker(provider, address, operation, phase);
        self.changed.notify_one();
    }
}

/// See the module.
pub(crate) struct KmsActor {
    patient: Arc<Patient>,
    changed: Arc<Notify>,
    examined: Examined,
    /// KEKs of tenants that the KMS has refused: that is between it and the tenant, and says nothing about the provider.
    refused: HashSet<String>,
}

/// A provider and the actor that looks after it.
pub(crate) struct Watched {
    pub(crate) resilient: Resilient,
    pub(crate) slot: Arc<Slot<KmsActor>>,
}

/// Starts the actor.
pub(crate) fn look_after(arbiter: ArbiterHandle, patient: Patient) -> Result<Watched, Error> {
    let (resilient, changed) = (patient.resilient.clone(), Arc::new(Notify::new()));
    let watcher = Watcher { metrics: Arc::clone(&patient.metrics), changed: Arc::clone(&changed) };
    resilient.observe(Arc::new(watcher));
    let patient = Arc::new(patient);
    let start = move || {
        let (patient, changed) = (Arc::clone(&patient), Arc::clone(&changed));
        Ok(KmsActor::start_in_arbiter(&arbiter, move |_| KmsActor {
            patient,
            changed,
            examined: Examined::default(),
            refused: HashSet::new(),
        }))
    };
    Ok(Watched { resilient, slot: Arc::new(Slot::new(ActorKind::Kms, Box::new(start))?) })
}

impl KmsActor {
    fn examine(&mut self, ctx: &mut Context<Self>) {
        let patient = Arc::clone(&self.patient);
        let out = !patient.resilient.healthy();
        let sample = (patient.sample)(patient.resilient.provider(), &self.refused, out);
        if matches!(sample, Sample::Nothing) {
            // There is no other one: whether it is still refused shows with the next.
            self.refused.clear();
        }
        let by = match &sample {
            Sample::Kek(_) => "wrap and unwrap",
            Sample::Record { .. } => "unwrap",
            Sample::Nothing => "ready",
        };
        let examination = async move {
            let result = patient.resilient.examine(&sample).await;
            (sample, result)
        };
        ctx.spawn(examination.into_actor(self).map(move |(sample, result), actor, ctx| {
            let judged = actor.judged(&sample, result);
            let well = actor.found(by, &judged);
            actor.wait(well, ctx);
        }));
    }

    /// What an examination's result says about the provider: that it refuses one tenant's KEK is its answer, so it works. The next is
    /// made with another's, where there is one; the system's KEK is everybody's.
    fn judged(&mut self, sample: &Sample, result: Result<(), KmsError>) -> Result<(), KmsError> {
        let (Sample::Record { kek, .. } | Sample::Kek(kek), Err(error)) = (sample, &result) else {
            return result;
        };
        if error.is_transient() || *kek == self.patient.system_kek {
            return result;
        }
        let provider = self.patient.resilient.provider();
        tracing::warn!(kms = provider, kek, %error, "a KMS refuses the KEK that it was examined with");
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(kek.clone());
        Ok(())
    }

    /// Takes in a result; whether all is well.
    fn found(&mut self, by: &'static str, result: &Result<(), KmsError>) -> bool {
        let Patient { resilient, clock, metrics, degraded, .. } = &*self.patient;
        let (provider, now) = (resilient.provider(), clock.now());
        let well = result.is_ok() && resilient.healthy();
        let error =
            result.as_ref().err().map(|error| error.to_string().chars().take(MAX_TEXT).collect::<String>());
        match (&self.examined.error, &error) {
            (None, Some(error)) => tracing::warn!(kms = provider, error, "a KMS does not work"),
            (Some(_), None) => tracing::info!(kms = provider, "a KMS works again"),
            _ => {}
        }
        let last_success = if error.is_none() { Some(now) } else { self.examined.last_success };
        self.examined = Examined { at: Some(now), by, error, last_success };
        metrics.of_kms.healthy(provider, well);
        degraded.send_if_modified(|known| known.insert(provider.to_owned(), !well) != Some(!well));
        well
    }

    fn wait(&self, well: bool, ctx: &mut Context<Self>) {
        let (clock, changed) = (Arc::clone(&self.patient.clock), Arc::clone(&self.changed));
        let (least, most) = if well { WELL } else { NOT_WELL };
        let seconds = least + getrandom::u64().unwrap_or(0) % (most - least + 1);
        let wait = async move {
            tokio::select! {
                () = clock.sleep(seconds) => {}
                // While it does not work each examination changes a breaker, which would be the next one's cause.
                () = changed.notified(), if well => {}
            }
        };
        ctx.spawn(wait.into_actor(self).map(|(), actor, ctx| actor.examine(ctx)));
    }
}

impl Actor for KmsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.examine(ctx);
    }
}

/// How the last examination ended.
#[derive(Message)]
#[rtype(result = "Examined")]
pub(crate) struct Health;

impl Handler<Health> for KmsActor {
    type Result = actix::MessageResult<Health>;

    fn handle(&mut self, _: Health, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.examined.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use sealgate_kms::{Cause, Settings, Silent};

    use super::*;
    use crate::{ManualClock, actors::testing::Panic};

    impl Handler<Panic> for KmsActor {
        type Result = ();

        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            panic!("as the test wants it")
        }
    }

    #[test]
    fn a_kek_that_the_kms_refuses_says_nothing_about_the_kms_unless_it_is_everybodys() {
        let resilient = Resilient::new("kms", Vec::new(), &[], Settings::default(), Arc::new(Silent));
        let patient = Patient {
            resilient,
            sample: Box::new(|_, _, _| Sample::Nothing),
            system_kek: "kms/system".to_owned(),
            clock: Arc::new(ManualClock::new(1)),
            metrics: Arc::new(Metrics::new().unwrap()),
            degraded: watch::Sender::new(Degraded::new()),
        };
        let mut actor = KmsActor {
            patient: Arc::new(patient),
            changed: Arc::default(),
            examined: Examined::default(),
            refused: HashSet::new(),
        };
        let (kek, version) = ("kms/t".to_owned(), String::new());
        let record = Sample::Record { kek, version, context: vec![1], wrapped: vec![1] };
        let away = || Err(KmsError::Unavailable(Cause::Server, String::new()));
        let denied = || Err(KmsError::Denied("kms/t".to_owned()));
        assert_eq!(actor.judged(&record, away()), away());
        assert_eq!(actor.judged(&Sample::Kek("kms/system".to_owned()), denied()), denied());
        assert!(actor.refused.is_empty());
        assert_eq!(actor.judged(&record, denied()), Ok(()));
        assert_eq!(actor.refused, HashSet::from(["kms/t".to_owned()]), "the next is made with another one's");
        assert_eq!(actor.judged(&Sample::Kek("kms/u".to_owned()), denied()), Ok(()));
        assert!(actor.refused.contains("kms/u"));
    }
}
