//! Metrics by bucket. A bucket's name is a label only while the bucket is among the first [`MOST`] by name of the config that
//! the node runs, so that labels are bounded whatever the registry holds; all others share [`OTHER`]. Series of buckets that
//! are gone are dropped with the config that no longer names them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// The most buckets that have a label of their own.
pub const MOST: usize = 1_000;
/// The label of the rest. No bucket can have this name.
pub const OTHER: &str = "_other";

/// What an object under `.sealgate/` is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hidden {
    /// Copies of key records, which recovery needs.
    KeyRecord,
    /// Record, notes and stashes of an upload that is open.
    Upload,
    /// The same of an upload that is over: they go seven days after that was first seen.
    Leftover,
    /// The same without a record of this gateway's: nobody sweeps them.
    Unclaimed,
}

impl Hidden {
    /// The label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Hidden::KeyRecord => "key-record",
            Hidden::Upload => "upload",
            Hidden::Leftover => "leftover",
            Hidden::Unclaimed => "unclaimed",
        }
    }
}

/// The names that are labels, of all of a config.
#[must_use]
pub fn labelled<'a>(names: impl Iterator<Item = &'a str>) -> HashSet<String> {
    let sorted: BTreeSet<&str> = names.collect();
    sorted.into_iter().take(MOST).map(str::to_owned).collect()
}

/// Hidden objects and their bytes as one look at the storage found them, by label.
#[derive(Default)]
pub struct Tally {
    found: BTreeMap<(Arc<str>, Hidden), (u64, u64)>,
    incomplete: BTreeSet<Arc<str>>,
}

impl Tally {
    /// Counts objects and their stored bytes in; none of either makes a zero known.
    pub fn add(&mut self, label: &Arc<str>, kind: Hidden, objects: u64, bytes: u64) {
        let found = self.found.entry((Arc::clone(label), kind)).or_default();
        *found = (found.0.saturating_add(objects), found.1.saturating_add(bytes));
    }

    /// Not all of a label's objects could be seen: what was told before stays.
    pub fn incomplete(&mut self, label: &Arc<str>) {
        self.incomplete.insert(Arc::clone(label));
    }
}

/// The instruments.
pub struct BucketMetrics {
    integrity_failures: IntCounterVec,
    invalid_sizes: IntCounterVec,
    plaintext_written: IntCounterVec,
    stored_written: IntCounterVec,
    hidden_objects: IntGaugeVec,
    hidden_bytes: IntGaugeVec,
    hidden_counted: IntGaugeVec,
}

impl BucketMetrics {
    /// Declares all of them.
    ///
    /// # Errors
    /// When the registry refuses one.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["bucket"])?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["bucket", "kind"])?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        Ok(Self {
            integrity_failures: counter(
                "sealgate_node_bucket_integrity_failures_total",
                "Objects of a bucket that did not open.",
            )?,
            invalid_sizes: counter(
                "sealgate_node_bucket_invalid_sizes_total",
                "Entries of listings whose stored size no encrypted object can have.",
            )?,
            plaintext_written: counter(
                "sealgate_node_bucket_plaintext_written_bytes_total",
                "Plaintext bytes of objects and parts that were stored encrypted.",
            )?,
            stored_written: counter(
                "sealgate_node_bucket_stored_written_bytes_total",
                "Bytes that the storage took for them, stashes and trailers included.",
            )?,
            hidden_objects: gauge(
                "sealgate_node_bucket_hidden_objects",
                "Hidden objects when they were last counted, by what they are there for.",
            )?,
            hidden_bytes: gauge("sealgate_node_bucket_hidden_bytes", "Their stored bytes.")?,
            hidden_counted: gauge(
                "sealgate_node_bucket_hidden_counted_seconds",
                "When they were last counted, in Unix seconds.",
            )?,
        })
    }

    /// An object did not open.
    pub fn integrity_failure(&self, label: &str) {
        self.integrity_failures.with_label_values(&[label]).inc();
    }

    /// Entries of a listing had a stored size that no encrypted object can have.
    pub fn invalid_sizes(&self, label: &str, entries: u64) {
        if entries > 0 {
            self.invalid_sizes.with_label_values(&[label]).inc_by(entries);
        }
    }

    /// Plaintext was stored as so many bytes.
    pub fn written(&self, label: &str, plaintext: u64, stored: u64) {
        self.plaintext_written.with_label_values(&[label]).inc_by(plaintext);
        self.stored_written.with_label_values(&[label]).inc_by(stored);
    }

    /// Hidden objects were counted at `now`, in Unix seconds.
    pub fn hidden(&self, tally: &Tally, now: u64) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for ((label, kind), (objects, bytes)) in &tally.found {
            if tally.incomplete.contains(label) {
                continue;
            }
            let labels = [&**label, kind.name()];
            self.hidden_objects.with_label_values(&labels).set(number(*objects));
            self.hidden_bytes.with_label_values(&labels).set(number(*bytes));
            self.hidden_counted.with_label_values(&labels).set(number(now));
        }
    }

    /// Drops the series of all buckets but these labels.
    pub fn retain(&self, labels: &HashSet<&str>) {
        let counters =
            [&self.integrity_failures, &self.invalid_sizes, &self.plaintext_written, &self.stored_written];
        for counter in counters {
            drop_others(counter, labels, |gone| counter.remove_label_values(gone));
        }
        for gauge in [&self.hidden_objects, &self.hidden_bytes, &self.hidden_counted] {
            drop_others(gauge, labels, |gone| gauge.remove_label_values(gone));
        }
    }
}

/// The labels come sorted by name, so that `bucket` is the first, as it was declared.
fn drop_others(
    family: &impl Collector,
    labels: &HashSet<&str>,
    remove: impl Fn(&[&str]) -> prometheus::Result<()>,
) {
    for found in family.collect().iter().flat_map(prometheus::proto::MetricFamily::get_metric) {
        let values: Vec<&str> = found.get_label().iter().map(prometheus::proto::LabelPair::value).collect();
        if values.first().is_some_and(|bucket| !labels.contains(bucket)) {
            // One that another thread has removed is gone all the same.
            let _ = remove(&values);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{BucketMetrics, Hidden, MOST, Tally, labelled};
    use prometheus::{Registry, TextEncoder};
    use std::collections::HashSet;
    use std::sync::Arc;

    #[test]
    fn the_first_by_name_have_a_label_and_no_more() {
        let names: Vec<String> = (0..MOST + 5).rev().map(|number| format!("bucket-{number:05}")).collect();
        let labels = labelled(names.iter().map(String::as_str));
        assert_eq!(labels.len(), MOST);
        assert!(labels.contains("bucket-00000") && labels.contains("bucket-00999"));
        assert!(!labels.contains("bucket-01000"));
    }

    #[test]
    fn a_bucket_that_is_gone_leaves_no_series() {
        let registry = Registry::new();
        let metrics = BucketMetrics::new(&registry).unwrap();
        let (a, b): (Arc<str>, Arc<str>) = ("aaa".into(), "bbb".into());
        let mut tally = Tally::default();
        for label in [&a, &b] {
            metrics.integrity_failure(label);
            metrics.invalid_sizes(label, 2);
            metrics.written(label, 10, 348);
            tally.add(label, Hidden::Leftover, 1, 17);
            tally.add(label, Hidden::Leftover, 2, 3);
        }
        metrics.hidden(&tally, 1_000);
        let told = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let labels = "{bucket=\"bbb\",kind=\"leftover\"}";
        assert!(told().contains(&format!("sealgate_node_bucket_hidden_objects{labels} 3\n")), "{}", told());
        assert!(told().contains(&format!("sealgate_node_bucket_hidden_bytes{labels} 20\n")));
        metrics.retain(&HashSet::from(["aaa"]));
        let left = told();
        assert!(!left.contains("bbb"), "{left}");
        assert_eq!(left.matches("bucket=\"aaa\"").count(), 7, "{left}");
    }

    #[test]
    fn what_could_not_be_seen_whole_stays_as_it_was_told() {
        let registry = Registry::new();
        let metrics = BucketMetrics::new(&registry).unwrap();
        let label: Arc<str> = "aaa".into();
        let count = |objects, whole: bool| {
            let mut tally = Tally::default();
            tally.add(&label, Hidden::Upload, objects, 0);
            if !whole {
                tally.incomplete(&label);
            }
            metrics.hidden(&tally, 1_000);
            metrics.hidden_objects.with_label_values(&["aaa", "upload"]).get()
        };
        assert_eq!((count(3, true), count(1, false), count(0, true)), (3, 3, 0));
    }
}
