//! Randomness that a vector's name decides: the same on every run, and not changed by vectors that come before it.

use crate::kdf::sha256;
use std::cell::RefCell;

thread_local! {
    static STREAM: RefCell<Option<Stream>> = const { RefCell::new(None) };
}

struct Stream {
    name: String,
    next: u64,
}

/// Runs `make` with bytes that follow from `name` instead of the operating system's.
pub(crate) fn seeded<T>(name: &str, make: impl FnOnce() -> T) -> T {
    let before = STREAM.replace(Some(Stream { name: name.to_owned(), next: 0 }));
    let made = make();
    STREAM.set(before);
    made
}

/// Whether the bytes were injected.
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    STREAM.with_borrow_mut(|stream| {
        let Some(stream) = stream else { return false };
        for block in bytes.chunks_mut(32) {
            let hash = sha256(&[b"sealgate test vector", stream.name.as_bytes(), &stream.next.to_be_bytes()]);
            block.copy_from_slice(&hash[..block.len()]);
            stream.next += 1;
        }
        true
    })
}
