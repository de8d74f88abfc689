//! One binary for all fuzz targets: `SEALGATE_FUZZ_TARGET` names the one to run, everything else is libFuzzer's own.
//!
//! A target panics when a parser panics, or when what it read breaks a promise: what is written back is what was read,
//! what was altered does not open, a signature that was not given is not believed. `ops/fuzz/run` builds and runs it.
#![no_main]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a target reports")]

mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("SEALGATE_FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|(name, _)| *name == wanted);
    let names: Vec<_> = targets::ALL.iter().map(|(name, _)| *name).collect();
    found.unwrap_or_else(|| panic!("SEALGATE_FUZZ_TARGET is one of {names:?}")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
