//! What the layer around each KMS tells. Labels: providers and the numbers of their addresses are the configuration's.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter},
};
use sealgate_kms::{Kind, Operation, Outcome, Phase};

/// The names, as they are declared.
pub const NAMES: [&str; 7] = [
    "sealgate_control_kms_requests",
    "sealgate_control_kms_request_duration_seconds",
    "sealgate_control_kms_attempts",
    "sealgate_control_kms_queue_seconds",
    "sealgate_control_kms_breaker_changes",
    "sealgate_control_kms_breaker_open",
    "sealgate_control_kms_healthy",
];

/// The bounds of histograms, in seconds: around the deadlines of an attempt and of a call.
const SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 10.0];

/// See the module.
pub(crate) struct KmsMetrics {
    requests: Counter<u64>,
    durations: Histogram<f64>,
    attempts: Counter<u64>,
    queue: Histogram<f64>,
    changes: Counter<u64>,
    open: Gauge<u64>,
    healthy: Gauge<u64>,
}

impl KmsMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let [requests, durations, attempts, queue, changes, open, healthy] = NAMES;
        let histogram = |name, text| {
            meter.f64_histogram(name).with_description(text).with_boundaries(SECONDS.to_vec()).build()
        };
        let counter = |name, text| meter.u64_counter(name).with_description(text).build();
        Self {
            requests: counter(requests, "Requests of callers to a KMS"),
            durations: histogram(durations, "From a caller's request to its answer"),
            attempts: counter(attempts, "Times that an address of a KMS was asked"),
            queue: histogram(queue, "How long requests waited for their turn, if they had to"),
            changes: counter(changes, "Changes of breakers"),
            open: meter.u64_gauge(open).with_description("Whether a breaker is not closed").build(),
            healthy: meter.u64_gauge(healthy).with_description("Whether a KMS works from end to end").build(),
        }
    }

    pub(crate) fn call(&self, provider: &str, operation: Operation, outcome: Outcome, took: Duration) {
        let mut labels = vec![named(provider), KeyValue::new("operation", operation.word())];
        self.durations.record(took.as_secs_f64(), &labels);
        labels.push(KeyValue::new("outcome", outcome.word()));
        self.requests.add(1, &labels);
    }

    pub(crate) fn attempt(&self, provider: &str, operation: Operation, kind: Kind, outcome: Outcome) {
        let labels = [
            named(provider),
            KeyValue::new("operation", operation.word()),
            KeyValue::new("kind", kind.word()),
            KeyValue::new("outcome", outcome.word()),
        ];
        self.attempts.add(1, &labels);
    }

    pub(crate) fn queued(&self, provider: &str, waited: Duration) {
        self.queue.record(waited.as_secs_f64(), &[named(provider)]);
    }

    pub(crate) fn breaker(&self, provider: &str, address: usize, operation: Operation, phase: Phase) {
        let number = i64::try_from(address + 1).unwrap_or(i64::MAX);
        let mut labels = vec![
            named(provider),
            KeyValue::new("address", number),
            KeyValue::new("operation", operation.word()),
        ];
        self.open.record(u64::from(phase != Phase::Closed), &labels);
        labels.push(KeyValue::new("to", if phase == Phase::Closed { "closed" } else { "open" }));
        self.changes.add(1, &labels);
    }

    pub(crate) fn healthy(&self, provider: &str, healthy: bool) {
        self.healthy.record(u64::from(healthy), &[named(provider)]);
    }
}

fn named(provider: &str) -> KeyValue {
    KeyValue::new("provider", provider.to_owned())
}
