//! What a call leaves in this process's memory of the key that it carried.
//!
//! The server is another process. The pattern that is looked for is kept masked, so that the search does not find itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![cfg(target_os = "linux")]

#[path = "aws/servers.rs"]
mod servers;

use std::{fs, os::unix::fs::FileExt as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sealgate_envelope::Ik;
use sealgate_kms::aws;
use servers::{Section, moto};

const MASK: u8 = 0x5a;

/// A key's middle, masked: as bytes, and as it stands in JSON.
struct Patterns {
    raw: Vec<u8>,
    base64: Vec<u8>,
}

impl Patterns {
    fn of(ik: &Ik) -> Self {
        let mask = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ MASK).collect::<Vec<u8>>();
        let mut text = [0_u8; 44];
        STANDARD.encode_slice(ik.expose(), &mut text).unwrap();
        let patterns = Self { raw: mask(&ik.expose()[..24]), base64: mask(&text[4..40]) };
        zeroize::Zeroize::zeroize(&mut text);
        patterns
    }

    /// How often each is in memory.
    fn found(&self) -> (usize, usize) {
        let memory = fs::File::open("/proc/self/mem").unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut found = (0, 0);
        let mut page = vec![0_u8; 1 << 20];
        let start = page.as_ptr() as u64;
        let own = start..start + page.len() as u64;
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let (mut at, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
            while at < to {
                let mut want = page.len().min((to - at) as usize) as u64;
                // The buffer itself is left out.
                if at < own.end && at + want > own.start {
                    if at >= own.start {
                        at = own.end;
                        continue;
                    }
                    want = own.start - at;
                }
                let Ok(got) = memory.read_at(&mut page[..want as usize], at) else { break };
                page[..got].iter_mut().for_each(|byte| *byte ^= MASK);
                found.0 += count(&page[..got], &self.raw);
                found.1 += count(&page[..got], &self.base64);
                // Chunks overlap by more than a pattern.
                at += if at + (got as u64) < to && got > 64 { got as u64 - 64 } else { got as u64 };
                if got == 0 {
                    break;
                }
            }
        }
        found
    }
}

fn count(bytes: &[u8], pattern: &[u8]) -> usize {
    bytes.windows(pattern.len()).filter(|window| *window == pattern).count()
}

#[tokio::test]
async fn what_was_wrapped_and_unwrapped_is_wiped() {
    let server = moto();
    let section = Section::new(&server.url());
    let kms = aws::open("aws-eu", &section.config).unwrap().remove(0);
    let kek = kms.create_kek("tenant-1").await.unwrap();
    let ik = Ik::generate().unwrap();
    let patterns = Patterns::of(&ik);
    assert!(patterns.found().0 >= 1, "the search finds a key that is there");
    let wrapped = kms.wrap(&kek, "", b"c", &ik).await.unwrap();
    drop(ik);
    assert_eq!(patterns.found(), (0, 0), "after wrap");

    let ik = kms.unwrap(&kek, "", b"c", &wrapped).await.unwrap();
    assert!(patterns.found().0 >= 1, "held");
    drop(ik);
    let (raw, base64) = patterns.found();
    assert_eq!(raw, 0, "after unwrap");
    // The answer's body may lie in hyper's read buffer until the next answer is read into it: docs/kms.md.
    assert!(base64 <= 1, "after unwrap: {base64} times as text");
}
