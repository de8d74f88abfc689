//! Raw figures to medians and ratios, as a table for people and as JSON for machines.

use std::fmt::Write;

use serde::Serialize;

use crate::load::{Outcome, Work};

const GIB: f64 = (1_u64 << 30) as f64;

/// One run of one piece of work against one target.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// The target's name.
    pub target: String,
    /// Which round, from 0.
    pub round: usize,
    /// What was done.
    pub work: Work,
    /// CPU-seconds that the target's process used meanwhile.
    pub cpu_seconds: f64,
    /// Those of them that it spent in the kernel.
    pub system_seconds: f64,
    /// What the clients saw.
    pub outcome: Outcome,
}

impl Sample {
    /// One line for a log.
    pub fn line(&self) -> String {
        let Self { round, work, target, .. } = self;
        let [p50, p99] = self.outcome.latency_ms;
        format!(
            "round {round}: {:?} {} × {} {target}: {:.3} {} ({:.0} % system), {:.0} MB/s, p50 {p50:.1} ms, p99 {p99:.1} ms",
            work.operation,
            size(work.size),
            work.concurrency,
            self.cost(),
            unit(work),
            100.0 * self.system_seconds / self.cpu_seconds,
            self.outcome.megabytes_per_second,
        )
    }

    /// CPU-seconds per GiB of body, or per 100,000 requests where bodies are below 64 KiB.
    fn cost(&self) -> f64 {
        if counts_bytes(&self.work) {
            self.cpu_seconds * GIB / (self.work.size as f64 * self.work.requests as f64)
        } else {
            self.cpu_seconds * 1e5 / self.work.requests as f64
        }
    }
}

/// A whole comparison.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Processor and kernel.
    pub machine: String,
    /// Names in order; the first is the baseline.
    pub targets: Vec<String>,
    /// Peak resident memory at the end, in MiB, in the targets' order.
    pub peak_rss_mib: Vec<f64>,
    /// Each run.
    pub samples: Vec<Sample>,
}

/// The medians of one target for one piece of work.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Summary {
    /// Median cost: see the table's unit.
    pub cost: f64,
    /// Cost over the baseline's, of medians.
    pub ratio: f64,
    /// Lowest and highest ratio within one round.
    pub spread: [f64; 2],
}

impl Report {
    /// Medians of `target` for one piece of work.
    pub fn summary(&self, target: &str, work: &Work) -> Summary {
        let costs = |name: &str| -> Vec<f64> {
            self.samples
                .iter()
                .filter(|s| s.target == name && same(&s.work, work))
                .map(Sample::cost)
                .collect()
        };
        let (own, base) = (costs(target), costs(&self.targets[0]));
        let ratios: Vec<f64> = own.iter().zip(&base).map(|(own, base)| own / base).collect();
        let spread = [
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
        ];
        Summary { cost: median(own.clone()), ratio: median(own) / median(base), spread }
    }

    /// A Markdown table: a row for each piece of work, a column for each target.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n\n| work | unit |", self.machine);
        for name in &self.targets {
            let _ = write!(text, " {name} |");
        }
        let _ = write!(text, "\n|---|---|{}\n", "---|".repeat(self.targets.len()));
        for work in self.works() {
            let unit = unit(&work);
            let _ = write!(
                text,
                "| {:?} {}, {} at once | {unit} |",
                work.operation,
                size(work.size),
                work.concurrency
            );
            for (n, name) in self.targets.iter().enumerate() {
                let summary = self.summary(name, &work);
                let _ = write!(text, " {:.3}", summary.cost);
                if n > 0 {
                    let [low, high] = summary.spread;
                    let _ = write!(text, " ×{:.2} ({low:.2}–{high:.2})", summary.ratio);
                }
                text.push_str(" |");
            }
            text.push('\n');
        }
        let _ = write!(text, "| peak RSS | MiB |");
        for rss in &self.peak_rss_mib {
            let _ = write!(text, " {rss:.0} |");
        }
        text.push('\n');
        text
    }

    /// The highest ratio of any target but the baseline over all works that count bytes.
    pub fn worst_ratio(&self) -> f64 {
        let works = self.works();
        let ratios = self.targets[1..].iter().flat_map(|name| {
            works.iter().filter(|work| counts_bytes(work)).map(|work| self.summary(name, work).ratio)
        });
        ratios.fold(0.0, f64::max)
    }

    fn works(&self) -> Vec<Work> {
        let mut works: Vec<Work> = Vec::new();
        for sample in &self.samples {
            if !works.iter().any(|work| same(work, &sample.work)) {
                works.push(sample.work);
            }
        }
        works
    }
}

fn unit(work: &Work) -> &'static str {
    if counts_bytes(work) { "CPU-s/GiB" } else { "CPU-s/100k" }
}

fn counts_bytes(work: &Work) -> bool {
    work.size >= 64 << 10
}

fn same(a: &Work, b: &Work) -> bool {
    (a.operation, a.size, a.concurrency) == (b.operation, b.size, b.concurrency)
}

fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 => format!("{} KiB", b >> 10),
        b => format!("{b} B"),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::load::Operation;

    fn sample(target: &str, round: usize, cpu_seconds: f64) -> Sample {
        let work = Work { operation: Operation::Put, size: 1 << 30, concurrency: 1, requests: 1 };
        let outcome = Outcome {
            seconds: 1.0,
            requests_per_second: 1.0,
            megabytes_per_second: 1.0,
            latency_ms: [0.0; 2],
            first_byte_ms: [0.0; 2],
        };
        Sample { target: target.to_owned(), round, work, cpu_seconds, system_seconds: 0.0, outcome }
    }

    #[test]
    fn the_ratio_is_of_medians_and_the_spread_of_rounds() {
        let samples = vec![
            sample("base", 0, 1.0),
            sample("own", 0, 1.1),
            sample("base", 1, 2.0),
            sample("own", 1, 2.0),
            sample("base", 2, 1.0),
            sample("own", 2, 1.3),
        ];
        let targets = vec!["base".to_owned(), "own".to_owned()];
        let report = Report { machine: String::new(), targets, peak_rss_mib: vec![1.0, 2.0], samples };
        let summary = report.summary("own", &report.works()[0]);
        assert!((summary.ratio - 1.3).abs() < 1e-9);
        assert!((summary.spread[0] - 1.0).abs() < 1e-9 && (summary.spread[1] - 1.3).abs() < 1e-9);
        assert!((report.worst_ratio() - 1.3).abs() < 1e-9);
        assert!(
            report
                .table()
                .contains("| Put 1024 MiB, 1 at once | CPU-s/GiB | 1.000 | 1.300 ×1.30 (1.00–1.30) |")
        );
    }
}
