//! Our chunks against raw aws-lc-rs on the same 64 KiB, in the same run: `cargo bench -p sealgate-envelope`.
//!
//! Criterion gives each rate with its spread. The ratio at the end is measured by itself: the two sides alternate in
//! short batches and the best batch of each counts, so that a busy machine slows both or neither.
#![allow(clippy::unwrap_used, missing_docs, reason = "benchmark")]

use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use criterion::{Criterion, Throughput};
use sealgate_envelope::size::{CHUNK, STORED_CHUNK};
use sealgate_envelope::{ObjectKeys, PartOpener, PartSealer, Suite};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Chunks a batch, one part: 4 MiB, about what a connection moves between two looks at the clock.
const BATCH: u32 = 64;
const ROUNDS: usize = 200;

fn nonce(index: u32) -> Nonce {
    let mut bytes = [0; 12];
    bytes[7..11].copy_from_slice(&index.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn raw_key(algorithm: &'static Algorithm) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(algorithm, &[7; 32]).unwrap())
}

/// One thing that is measured.
type Step = fn(&mut Bench);

/// The four things that are measured, over buffers that stay where they are.
struct Bench {
    raw: LessSafeKey,
    keys: Arc<ObjectKeys>,
    plain: Vec<u8>,
    buffer: Vec<u8>,
    raw_sealed: Vec<Vec<u8>>,
    sealed: Vec<Vec<u8>>,
}

impl Bench {
    fn new(algorithm: &'static Algorithm, suite: Suite) -> Self {
        let raw = raw_key(algorithm);
        let keys = Arc::new(ObjectKeys::generate(suite).unwrap());
        let plain = vec![0xA5; CHUNK];
        let raw_sealed = (0..BATCH).map(|index| {
            let mut out = plain.clone();
            raw.seal_in_place_append_tag(nonce(index), Aad::empty(), &mut out).unwrap();
            out
        });
        let raw_sealed = raw_sealed.collect();
        let mut sealer = PartSealer::new(&keys, 1).unwrap();
        let sealed = (0..BATCH).map(|index| {
            let mut out = vec![0; STORED_CHUNK];
            sealer.seal_into(&plain, &mut out, index + 1 == BATCH).unwrap();
            out
        });
        let sealed = sealed.collect();
        Self { raw, keys, plain, buffer: vec![0; STORED_CHUNK], raw_sealed, sealed }
    }

    fn raw_seal(&mut self) {
        for index in 0..BATCH {
            let (body, tag) = self.buffer[12..].split_at_mut(CHUNK);
            self.raw.seal_in_place_scatter(nonce(index), Aad::empty(), body, &[], tag).unwrap();
            black_box(&self.buffer);
        }
    }

    /// A whole part, so that deriving its key is counted.
    fn seal(&mut self) {
        let mut sealer = PartSealer::new(&self.keys, 1).unwrap();
        for index in 0..BATCH {
            sealer.seal_in_place(&mut self.buffer, index + 1 == BATCH).unwrap();
            black_box(&self.buffer);
        }
    }

    fn raw_open(&mut self) {
        for (index, sealed) in (0..BATCH).zip(&self.raw_sealed) {
            let (body, tag) = sealed.split_at(CHUNK);
            self.raw.open_separate_gather(nonce(index), Aad::empty(), body, tag, &mut self.plain).unwrap();
            black_box(&self.plain);
        }
    }

    fn open(&mut self) {
        let mut opener = PartOpener::new(&self.keys, 1, None).unwrap();
        for (index, sealed) in (0..BATCH).zip(&self.sealed) {
            opener.open_at_into(index, index + 1 == BATCH, sealed, &mut self.plain).unwrap();
            black_box(&self.plain);
        }
    }
}

fn best(bench: &mut Bench, a: Step, b: Step) -> (Duration, Duration) {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        a(bench);
        best.0 = best.0.min(start.elapsed());
        let start = Instant::now();
        b(bench);
        best.1 = best.1.min(start.elapsed());
    }
    best
}

fn main() {
    let suites = [
        ("aes-256-gcm", &AES_256_GCM, Suite::Aes256Gcm),
        ("chacha20-poly1305", &CHACHA20_POLY1305, Suite::ChaCha20Poly1305),
    ];
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let bytes = u64::from(BATCH) * CHUNK as u64;
    let mut ratios = Vec::new();
    for (name, algorithm, suite) in suites {
        let mut bench = Bench::new(algorithm, suite);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes));
        let steps: [(&str, Step); 4] = [
            ("raw seal", Bench::raw_seal),
            ("seal", Bench::seal),
            ("raw open", Bench::raw_open),
            ("open", Bench::open),
        ];
        for (step, f) in steps {
            group.bench_function(step, |b| b.iter(|| f(&mut bench)));
        }
        group.finish();
        ratios.push((name, "seal", best(&mut bench, Bench::raw_seal, Bench::seal)));
        ratios.push((name, "open", best(&mut bench, Bench::raw_open, Bench::open)));
    }
    criterion.final_summary();
    println!(
        "\nrate of ours / rate of raw aws-lc-rs, 64 KiB chunks, best of {ROUNDS} batches (goal: at least 0.90)"
    );
    for (name, what, (raw, ours)) in ratios {
        let rate = |time: Duration| bytes as f64 / time.as_secs_f64() / (1u64 << 30) as f64;
        let ratio = raw.as_secs_f64() / ours.as_secs_f64();
        println!(
            "{name:18} {what}: raw {:.2} GiB/s, ours {:.2} GiB/s, ratio {ratio:.3}",
            rate(raw),
            rate(ours)
        );
    }
}
