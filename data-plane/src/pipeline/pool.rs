//! Buffers for bulk data, kept by each thread: a stream takes one, hands it on as a frame, and it comes back when the
//! socket has taken it. What is in them is ciphertext or a client's plaintext; a buffer that leaves the pool is zeroized.

use std::cell::RefCell;
use std::ops::Range;

use bytes::Bytes;
use sealgate_envelope::size::STORED_CHUNK;
use zeroize::Zeroize as _;

/// Chunks in one buffer: few system calls, and still little memory a stream.
pub const BATCH: usize = 4;

/// Room in one buffer, in bytes.
pub const ROOM: usize = BATCH * STORED_CHUNK;

/// Copies to addresses that are not multiples of a cache line cost more than the encryption does on some processors.
const ALIGN: usize = 64;

/// Buffers that a thread keeps; more are given back to the allocator.
const KEPT: usize = 8;

/// A thread's buffers, and whether it is one that takes some: frames are also dropped on threads that only write them to
/// disk, and what those kept nobody would ever use.
#[derive(Default)]
struct Pool {
    takes: bool,
    kept: Vec<Box<[u8]>>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// A buffer of [`ROOM`] bytes that begins at a cache line.
pub struct Buffer {
    memory: Box<[u8]>,
    used: usize,
}

impl Buffer {
    /// One from this thread's pool, or a new one.
    pub fn take() -> Self {
        let kept = POOL.with(|pool| {
            let mut pool = pool.borrow_mut();
            pool.takes = true;
            pool.kept.pop()
        });
        Self { memory: kept.unwrap_or_else(|| vec![0; ROOM + ALIGN].into_boxed_slice()), used: 0 }
    }

    fn start(&self) -> usize {
        self.memory.as_ptr().align_offset(ALIGN).min(ALIGN)
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether nothing is in use.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Bytes left.
    pub fn room(&self) -> usize {
        ROOM - self.used
    }

    /// The next `length` bytes, to be written; they count as used once [`Buffer::advance`] is called.
    pub fn next(&mut self, length: usize) -> &mut [u8] {
        let from = self.start() + self.used;
        &mut self.memory[from..from + length.min(ROOM - self.used)]
    }

    /// Counts bytes as used.
    pub fn advance(&mut self, length: usize) {
        self.used = (self.used + length).min(ROOM);
    }

    /// Copies bytes in; as many as there is room for, and says how many.
    pub fn copy_from(&mut self, bytes: &[u8]) -> usize {
        let length = bytes.len().min(self.room());
        self.next(length).copy_from_slice(&bytes[..length]);
        self.advance(length);
        length
    }

    /// The used bytes.
    pub fn used(&self) -> &[u8] {
        let start = self.start();
        &self.memory[start..start + self.used]
    }

    /// Forgets the used bytes.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// A part of the used bytes as a frame; the buffer goes back to the pool when the frame is dropped.
    pub fn freeze(self, part: Range<usize>) -> Bytes {
        Bytes::from_owner(self).slice(part)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.used()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        let kept = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.takes && pool.kept.len() < KEPT {
                pool.kept.push(std::mem::take(&mut memory));
            }
        });
        if kept.is_err() || !memory.is_empty() {
            memory.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALIGN, Buffer, ROOM};

    #[test]
    fn a_frame_that_is_dropped_gives_its_buffer_back() {
        let mut first = Buffer::take();
        assert_eq!(first.next(1).as_ptr().align_offset(ALIGN), 0);
        let address = first.used().as_ptr();
        assert_eq!(first.copy_from(b"hello"), 5);
        let frame = first.freeze(1..5);
        assert_eq!(&frame[..], b"ello");
        drop(frame);
        let second = Buffer::take();
        assert_eq!(second.used().as_ptr(), address);
        assert_eq!((second.len(), second.room()), (0, ROOM));
    }

    #[test]
    fn a_thread_that_takes_none_keeps_none() {
        let buffer = Buffer::take();
        let kept = std::thread::spawn(move || {
            drop(buffer);
            super::POOL.with(|pool| pool.borrow().kept.len())
        });
        assert_eq!(kept.join().ok(), Some(0));
    }
}
