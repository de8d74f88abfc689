//! What lies in this process's own memory, for tests that something was wiped. Part of the tests of the crates that hold secrets.
//!
//! Freed memory is searched too. A needle is kept masked, so that the search does not find itself.

use std::fs::{File, read_to_string};
use std::io;
use std::os::unix::fs::FileExt as _;

use zeroize::Zeroizing;

const MASK: u8 = 0x5A;
/// Of freed memory, the bytes that an allocator may overwrite: its own links.
const OVERWRITTEN: usize = 16;
/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// A random text that is looked for.
pub(crate) struct Needle(Vec<u8>);

impl Needle {
    /// A text of so many letters, the only copy, and its needle.
    pub(crate) fn new(length: usize) -> (Zeroizing<String>, Self) {
        assert!(length >= 2 * OVERWRITTEN, "too short to be told from chance");
        let mut random = vec![0; length];
        assert!(getrandom::fill(&mut random).is_ok(), "randomness");
        let mut text = Zeroizing::new(String::with_capacity(length));
        random.iter().for_each(|byte| text.push(char::from(b'a' + byte % 26)));
        let masked = text.bytes().skip(OVERWRITTEN).map(|byte| byte ^ MASK).collect();
        (text, Self(masked))
    }

    fn is(&self, window: &[u8]) -> bool {
        window[0] ^ MASK == self.0[0]
            && window.iter().zip(&self.0).all(|(byte, masked)| byte ^ MASK == *masked)
    }

    /// How often it is there, at least: a copy may be counted twice.
    pub(crate) fn found(&self) -> io::Result<usize> {
        let memory = File::open("/proc/self/mem")?;
        // Wiped, and never unmasked in place: what it holds is memory, too, and searched by this search or the next.
        let mut piece = Zeroizing::new(vec![0; PIECE]);
        let zeros = vec![0; PIECE];
        let mut found = 0;
        for line in read_to_string("/proc/self/maps")?.lines() {
            let Some((mut at, end)) = writable(line) else { continue };
            while at < end {
                let wanted = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
                // What is not there to be read: the rest of a mapping.
                let Ok(got @ 1..) = memory.read_at(&mut piece[..wanted], at) else { break };
                // Allocators reserve gigabytes that nobody has used.
                if piece[..got] == zeros[..got] {
                    at += got as u64;
                    continue;
                }
                found += piece[..got].windows(self.0.len()).filter(|window| self.is(window)).count();
                at += got as u64;
                if at < end {
                    // Those across the border.
                    at -= self.0.len().min(got - 1) as u64;
                }
            }
        }
        Ok(found)
    }
}

/// From where to where a mapping reaches that can be written to.
fn writable(line: &str) -> Option<(u64, u64)> {
    let (range, rights) = line.split_once(' ')?;
    let (from, to) = range.split_once('-').filter(|_| rights.starts_with("rw"))?;
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}
