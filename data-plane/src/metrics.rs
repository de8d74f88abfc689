//! Every metric of a node, declared in this file and, those by bucket, in the one under it. Label values are enums' names
//! and buckets of the config, never a client's text.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, MeterProvider as _, UpDownCounter};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder, Registry, TextEncoder};

pub mod buckets;
use buckets::BucketMetrics;

/// A node's instruments and the registry that shows them.
pub struct Metrics {
    registry: Registry,
    /// Holds the pipeline alive.
    _provider: SdkMeterProvider,
    requests: Counter<u64>,
    duration: Histogram<f64>,
    received: Counter<u64>,
    sent: Counter<u64>,
    connections: UpDownCounter<i64>,
    backend_failures: Counter<u64>,
    integrity_failures: Counter<u64>,
    key_lookups: Counter<u64>,
    key_evictions: Counter<u64>,
    config_version: Gauge<u64>,
    config_rejected: Counter<u64>,
    kms_degraded: Gauge<u64>,
    control_plane: Gauge<u64>,
    certificate_end: Gauge<u64>,
    swept: Counter<u64>,
    sigv2_requests: Counter<u64>,
    /// Those that have a bucket for their label.
    pub buckets: BucketMetrics,
}

/// Where a key was found.
#[derive(Clone, Copy, Debug)]
pub enum KeyLookup {
    /// In the node's cache.
    Hit,
    /// Asked of the control plane.
    Miss,
    /// The control plane had no answer.
    Failed,
    /// In the node's cache, beyond its hour: the control plane cannot be reached.
    Degraded,
}

/// Why a key left the cache.
#[derive(Clone, Copy, Debug)]
pub enum Eviction {
    /// Its hard life ended.
    Hard,
    /// Nobody used it.
    Idle,
    /// The cache was full, and others were used later.
    Full,
    /// The control plane refused it, or its bucket went away.
    Revoked,
    /// The node stops.
    Shutdown,
}

/// What the sweeper removed.
#[derive(Clone, Copy, Debug)]
pub enum Swept {
    /// Hidden objects of an upload that is over.
    Upload,
}

impl Metrics {
    /// Declares all instruments.
    ///
    /// # Errors
    /// When the registry refuses the exporter.
    pub fn new() -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("sealgate");
        let seconds =
            vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
        Ok(Self {
            requests: meter
                .u64_counter("sealgate_node_requests")
                .with_description("S3 requests by operation and status class.")
                .build(),
            duration: meter
                .f64_histogram("sealgate_node_request_duration_seconds")
                .with_boundaries(seconds)
                .with_description("Time to the end of the answer's headers, by operation.")
                .build(),
            received: meter
                .u64_counter("sealgate_node_plaintext_received_bytes")
                .with_description("Plaintext bytes taken from clients.")
                .build(),
            sent: meter
                .u64_counter("sealgate_node_plaintext_sent_bytes")
                .with_description("Plaintext bytes given to clients.")
                .build(),
            connections: meter
                .i64_up_down_counter("sealgate_node_connections")
                .with_description("Open client connections.")
                .build(),
            backend_failures: meter
                .u64_counter("sealgate_node_backend_failures")
                .with_description("Backend requests that were not answered, or with nonsense.")
                .build(),
            integrity_failures: meter
                .u64_counter("sealgate_node_integrity_failures")
                .with_description(
                    "Objects that did not open: altered, truncated, replaced, or without envelope.",
                )
                .build(),
            key_lookups: meter
                .u64_counter("sealgate_node_key_lookups")
                .with_description("Intermediate keys asked for, by where they were found.")
                .build(),
            key_evictions: meter
                .u64_counter("sealgate_node_key_evictions")
                .with_description("Intermediate keys zeroized, by reason.")
                .build(),
            config_version: meter
                .u64_gauge("sealgate_node_config_version")
                .with_description("Version of the config that the node runs.")
                .build(),
            config_rejected: meter
                .u64_counter("sealgate_node_config_rejected")
                .with_description("Snapshots that the node refused.")
                .build(),
            kms_degraded: meter
                .u64_gauge("sealgate_node_kms_degraded")
                .with_description("Whether a KMS provider does not work, by the control plane's word.")
                .build(),
            control_plane: meter
                .u64_gauge("sealgate_node_control_plane_connected")
                .with_description("Whether there is a config stream from the control plane.")
                .build(),
            certificate_end: meter
                .u64_gauge("sealgate_node_certificate_end_seconds")
                .with_description(
                    "When the node's certificate towards the control plane ends, in Unix seconds.",
                )
                .build(),
            swept: meter
                .u64_counter("sealgate_node_swept")
                .with_description("Leftovers removed, by kind.")
                .build(),
            sigv2_requests: meter
                .u64_counter("sealgate_node_sigv2_requests")
                .with_description(
                    "Requests signed with Signature Version 2, by whether the signature was accepted.",
                )
                .build(),
            buckets: BucketMetrics::new(&registry)
                .map_err(|error| OTelSdkError::InternalFailure(error.to_string()))?,
            registry,
            _provider: provider,
        })
    }

    /// One answered request.
    pub fn request(&self, operation: &'static str, status: u16, seconds: f64) {
        let class = match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.requests.add(1, &[KeyValue::new("operation", operation), KeyValue::new("status", class)]);
        self.duration.record(seconds, &[KeyValue::new("operation", operation)]);
    }

    /// Plaintext taken from a client, in bytes.
    pub fn received(&self, bytes: u64) {
        self.received.add(bytes, &[]);
    }

    /// Plaintext given to a client, in bytes.
    pub fn sent(&self, bytes: u64) {
        self.sent.add(bytes, &[]);
    }

    /// A client's connection was opened.
    pub fn connected(&self) {
        self.connections.add(1, &[]);
    }

    /// A client's connection was closed.
    pub fn disconnected(&self) {
        self.connections.add(-1, &[]);
    }

    /// The backend did not answer, or answered nonsense.
    pub fn backend_failure(&self) {
        self.backend_failures.add(1, &[]);
    }

    /// An object did not open; `label` is its bucket's.
    pub fn integrity_failure(&self, label: Option<&str>) {
        self.integrity_failures.add(1, &[]);
        if let Some(label) = label {
            self.buckets.integrity_failure(label);
        }
    }

    /// A key was asked for.
    pub fn key_lookup(&self, found: KeyLookup) {
        let found = match found {
            KeyLookup::Hit => "hit",
            KeyLookup::Miss => "miss",
            KeyLookup::Failed => "failed",
            KeyLookup::Degraded => "degraded",
        };
        self.key_lookups.add(1, &[KeyValue::new("result", found)]);
    }

    /// There is a config stream from the control plane, or none.
    pub fn control_plane(&self, connected: bool) {
        self.control_plane.record(u64::from(connected), &[]);
    }

    /// A key left the cache.
    pub fn key_evicted(&self, reason: Eviction) {
        let reason = match reason {
            Eviction::Hard => "hard",
            Eviction::Idle => "idle",
            Eviction::Full => "full",
            Eviction::Revoked => "revoked",
            Eviction::Shutdown => "shutdown",
        };
        self.key_evictions.add(1, &[KeyValue::new("reason", reason)]);
    }

    /// A snapshot was applied.
    pub fn config_applied(&self, version: u64) {
        self.config_version.record(version, &[]);
    }

    /// A snapshot was refused.
    pub fn config_rejected(&self) {
        self.config_rejected.add(1, &[]);
    }

    /// Whether a KMS provider is degraded.
    pub fn kms_degraded(&self, provider: &str, degraded: bool) {
        self.kms_degraded.record(u64::from(degraded), &[KeyValue::new("provider", provider.to_owned())]);
    }

    /// The node's newest certificate ends then, in Unix seconds.
    pub fn certificate_ends(&self, unix: u64) {
        self.certificate_end.record(unix, &[]);
    }

    /// Leftovers were removed.
    pub fn swept(&self, what: Swept) {
        let what = match what {
            Swept::Upload => "upload",
        };
        self.swept.add(1, &[KeyValue::new("kind", what)]);
    }

    /// A request came that was signed with Signature Version 2.
    pub fn sigv2_request(&self, accepted: bool) {
        let result = if accepted { "accepted" } else { "refused" };
        self.sigv2_requests.add(1, &[KeyValue::new("result", result)]);
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# gathering failed: {error}\n"),
        }
    }
}
