//! Every metric of the control plane, declared in one place. Labels are enums: their values cannot run away.

mod kms;

pub use kms::NAMES as KMS_NAMES;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, MeterProvider as _, UpDownCounter},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};

use crate::Error;

/// The names, as they are declared; the exporter adds `_total` to counters.
pub const NAMES: [&str; 10] = [
    "sealgate_control_key_fetches",
    "sealgate_control_kms_calls",
    "sealgate_control_pushes",
    "sealgate_control_answers",
    "sealgate_control_connected_nodes",
    "sealgate_control_actor_restarts",
    "sealgate_control_degraded_keys",
    "sealgate_control_key_evictions",
    "sealgate_control_store_writable",
    "sealgate_control_recovery_card_written",
];

/// What a node asked the Keys service for.
#[derive(Clone, Copy, Debug)]
pub enum Fetch {
    /// The key for new objects.
    Active,
    /// A placed record's key.
    Confirm,
    /// A key by id.
    Get,
    /// Wrapped records.
    Records,
    /// A record for another bucket.
    Lend,
    /// A key for the work on a bucket's envelopes.
    Rewrap,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// Answered.
    Ok,
    /// Refused: not this node's, denied, unknown.
    Refused,
    /// Over the rate limit.
    Limited,
    /// The KMS or the store did not answer.
    Unavailable,
}

impl Outcome {
    /// How a request ended that failed so.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Unavailable(_) | Error::Later(..) | Error::NotAsked(..) | Error::Internal(_) => {
                Self::Unavailable
            }
            _ => Self::Refused,
        }
    }
}

/// A call to the KMS.
#[derive(Clone, Copy, Debug)]
pub enum KmsCall {
    /// A new IK was wrapped.
    Wrap,
    /// A cold IK was unwrapped.
    Unwrap,
    /// Access to a KEK version was proved again.
    Prove,
}

/// Why an intermediate key left the memory.
#[derive(Clone, Copy, Debug)]
pub enum Eviction {
    /// Its life was over, the unproved one too.
    Hard,
    /// Nobody asked for it.
    Idle,
    /// The KMS denies its KEK.
    Denied,
    /// It was taken back: its tenant cut off, the key compromised, or its bucket deleted.
    Revoked,
    /// There were too many, and others were used later.
    Full,
}

/// A node's answer to a push.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// It runs it.
    Ack,
    /// It refused it.
    Nack,
    /// Nothing in time: the stream was ended.
    Timeout,
}

/// Which actor.
#[derive(Clone, Copy, Debug)]
pub enum ActorKind {
    /// Changes of the registry.
    Registry,
    /// Snapshots to nodes.
    Fanout,
    /// A KMS provider's health.
    Kms,
}

/// The instruments of one control plane.
pub struct Metrics {
    registry: Registry,
    // Instruments record nothing once their provider is gone.
    _provider: SdkMeterProvider,
    fetches: Counter<u64>,
    kms_calls: Counter<u64>,
    pushes: Counter<u64>,
    answers: Counter<u64>,
    nodes: UpDownCounter<i64>,
    restarts: Counter<u64>,
    degraded: Counter<u64>,
    evictions: Counter<u64>,
    store_writable: Gauge<u64>,
    card_written: Gauge<u64>,
    pub(crate) of_kms: kms::KmsMetrics,
}

fn label(value: &dyn std::fmt::Debug) -> String {
    format!("{value:?}").to_ascii_lowercase()
}

impl Metrics {
    /// Instruments with a Prometheus registry of their own, so that two control planes in one process do not mix.
    ///
    /// # Errors
    /// When the exporter cannot be built.
    pub fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .build()
            .map_err(|error| Error::Internal(format!("metrics: {error}")))?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("sealgate-control-plane");
        let [
            fetches,
            kms_calls,
            pushes,
            answers,
            nodes,
            restarts,
            degraded,
            evictions,
            store_writable,
            card_written,
        ] = NAMES;
        Ok(Self {
            registry,
            fetches: meter.u64_counter(fetches).with_description("Requests for intermediate keys").build(),
            kms_calls: meter.u64_counter(kms_calls).with_description("Calls to the KMS").build(),
            pushes: meter.u64_counter(pushes).with_description("Snapshots sent to nodes").build(),
            answers: meter.u64_counter(answers).with_description("Nodes' answers to snapshots").build(),
            nodes: meter.i64_up_down_counter(nodes).with_description("Nodes with a config stream").build(),
            restarts: meter.u64_counter(restarts).with_description("Actors rebuilt after a panic").build(),
            degraded: meter
                .u64_counter(degraded)
                .with_description("Keys served without a fresh proof of the KEK")
                .build(),
            evictions: meter.u64_counter(evictions).with_description("Intermediate keys zeroized").build(),
            store_writable: meter
                .u64_gauge(store_writable)
                .with_description("Whether the store takes changes")
                .build(),
            card_written: meter
                .u64_gauge(card_written)
                .with_description("Whether the recovery card in the data directory is the present one")
                .build(),
            of_kms: kms::KmsMetrics::new(&meter),
            _provider: provider,
        })
    }

    pub(crate) fn fetch(&self, what: Fetch, outcome: Outcome) {
        let labels = [KeyValue::new("operation", label(&what)), KeyValue::new("outcome", label(&outcome))];
        self.fetches.add(1, &labels);
    }

    pub(crate) fn kms(&self, call: KmsCall) {
        self.kms_calls.add(1, &[KeyValue::new("operation", label(&call))]);
    }

    pub(crate) fn push(&self) {
        self.pushes.add(1, &[]);
    }

    pub(crate) fn answer(&self, answer: Answer) {
        self.answers.add(1, &[KeyValue::new("answer", label(&answer))]);
    }

    pub(crate) fn nodes(&self, change: i64) {
        self.nodes.add(change, &[]);
    }

    pub(crate) fn restart(&self, actor: ActorKind) {
        self.restarts.add(1, &[KeyValue::new("actor", label(&actor))]);
    }

    pub(crate) fn degraded(&self) {
        self.degraded.add(1, &[]);
    }

    pub(crate) fn evicted(&self, reason: Eviction, keys: usize) {
        if keys > 0 {
            let keys = u64::try_from(keys).unwrap_or(u64::MAX);
            self.evictions.add(keys, &[KeyValue::new("reason", label(&reason))]);
        }
    }

    pub(crate) fn store_writable(&self, writable: bool) {
        self.store_writable.record(u64::from(writable), &[]);
    }

    pub(crate) fn card_written(&self, written: bool) {
        self.card_written.record(u64::from(written), &[]);
    }

    /// The Prometheus text format.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self) -> Result<String, Error> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .map_err(|error| Error::Internal(format!("metrics: {error}")))?;
        String::from_utf8(text).map_err(|_| Error::Internal("metrics are no text".to_owned()))
    }
}
