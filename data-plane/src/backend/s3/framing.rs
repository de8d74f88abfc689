//! A request's body as it goes over the wire: held until the server wants it, counted, checksummed, framed.
//!
//! Streams go as `aws-chunked` with a checksum in the trailer: the server can tell a whole body from a cut one. The last
//! piece waits until the stream has ended well, since a producer's last check comes there: without a trailer the server
//! would store the object the moment its last byte arrives.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};

use super::config::Checksum;
use super::progress::Progress;
use crate::backend::{BackendError, ByteStream, LengthMismatch, Upload};

/// Bytes of one `aws-chunked` chunk: few headers, and below what any server takes.
const CHUNK: u64 = 1 << 20;

impl Checksum {
    /// The name of the header or trailer.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Self::Crc64Nvme => Some("x-amz-checksum-crc64nvme"),
            Self::Crc32 => Some("x-amz-checksum-crc32"),
            Self::None => None,
        }
    }

    fn digest(self) -> Option<Digest> {
        match self {
            Self::Crc64Nvme => Some(Digest::new(CrcAlgorithm::Crc64Nvme)),
            Self::Crc32 => Some(Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Self::None => None,
        }
    }

    fn encode(self, crc: u64) -> String {
        let bytes = crc.to_be_bytes();
        STANDARD.encode(if self == Self::Crc32 { &bytes[4..] } else { &bytes[..] })
    }

    /// The value of the header for a body that is known whole.
    pub(super) fn of(self, body: &[u8]) -> Option<String> {
        let mut digest = self.digest()?;
        digest.update(body);
        Some(self.encode(digest.finalize()))
    }
}

/// Bytes on the wire for a body of `length` bytes.
pub(super) fn framed_length(checksum: Checksum, length: u64) -> u64 {
    let Some(name) = checksum.header() else { return length };
    let chunk = |size: u64| if size == 0 { 0 } else { chunk_header(size).len() as u64 + size + 2 };
    let value = checksum.encode(0).len() as u64;
    (length / CHUNK) * chunk(CHUNK)
        + chunk(length % CHUNK)
        + "0\r\n".len() as u64
        + name.len() as u64
        + 1
        + value
        + 4
}

fn chunk_header(size: u64) -> String {
    format!("{size:x}\r\n")
}

/// Opened when the server wants the body.
#[derive(Debug, Default)]
pub(super) struct Gate {
    open: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_open() {
            self.waker.register(cx.waker());
            if !self.is_open() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

/// The error that makes hyper drop the connection; the reason itself waits beside it, since it may not be cloned.
#[derive(Debug, thiserror::Error)]
#[error("the upload ended early")]
pub(super) struct Abandoned;

/// Why the stream failed, once it has.
pub(super) type Failure = Rc<RefCell<Option<BackendError>>>;

/// A streaming body.
pub(super) struct Framed {
    stream: ByteStream,
    length: u64,
    /// Bytes that have not come yet.
    remaining: u64,
    /// Bytes that the current chunk still lacks.
    chunk_left: u64,
    begun: bool,
    finished: bool,
    ready: VecDeque<Bytes>,
    /// Pieces that wait for the stream to end.
    held: VecDeque<Bytes>,
    checksum: Checksum,
    digest: Option<Digest>,
    gate: Arc<Gate>,
    failure: Failure,
    progress: Rc<Progress>,
}

impl Framed {
    pub(super) fn new(
        upload: Upload,
        checksum: Checksum,
        gate: Arc<Gate>,
        failure: Failure,
        progress: Rc<Progress>,
    ) -> Self {
        Self {
            stream: upload.stream,
            length: upload.length,
            remaining: upload.length,
            chunk_left: 0,
            begun: false,
            finished: false,
            ready: VecDeque::new(),
            held: VecDeque::new(),
            digest: checksum.digest(),
            checksum,
            gate,
            failure,
            progress,
        }
    }

    fn accept(&mut self, mut piece: Bytes) -> Result<(), BackendError> {
        if piece.len() as u64 > self.remaining {
            return Err(BackendError::Upload(Box::new(LengthMismatch { declared: self.length })));
        }
        if let Some(digest) = &mut self.digest {
            digest.update(&piece);
        }
        while !piece.is_empty() {
            let mut queue = std::mem::take(&mut self.ready);
            if self.digest.is_some() && self.chunk_left == 0 {
                self.chunk_left = self.remaining.min(CHUNK);
                let end_of_last = if self.begun { "\r\n" } else { "" };
                queue.push_back(format!("{end_of_last}{}", chunk_header(self.chunk_left)).into());
                self.begun = true;
            }
            let limit = if self.digest.is_some() { self.chunk_left } else { self.remaining };
            let taken = piece.split_to(piece.len().min(usize::try_from(limit).unwrap_or(usize::MAX)));
            self.chunk_left = self.chunk_left.saturating_sub(taken.len() as u64);
            self.remaining -= taken.len() as u64;
            queue.push_back(taken);
            self.ready = queue;
        }
        if self.remaining == 0 {
            self.held.append(&mut self.ready);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), BackendError> {
        if self.remaining > 0 {
            return Err(BackendError::Upload(Box::new(LengthMismatch { declared: self.length })));
        }
        self.ready.append(&mut self.held);
        if let (Some(digest), Some(name)) = (&self.digest, self.checksum.header()) {
            let end_of_last = if self.begun { "\r\n" } else { "" };
            let value = self.checksum.encode(digest.finalize());
            self.ready.push_back(format!("{end_of_last}0\r\n{name}:{value}\r\n\r\n").into());
        }
        self.finished = true;
        Ok(())
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                // hyper does not ask again once it has as many bytes as were announced.
                if self.finished && self.ready.is_empty() {
                    self.progress.sent();
                } else {
                    self.progress.taken();
                }
                return Poll::Ready(Some(piece));
            }
            if self.finished {
                self.progress.sent();
                return Poll::Ready(None);
            }
            if self.gate.poll_open(cx).is_pending() {
                return Poll::Pending;
            }
            let outcome = match self.stream.as_mut().poll_next(cx) {
                Poll::Pending => {
                    self.progress.waiting_for_source();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(piece))) => self.accept(piece),
                Poll::Ready(Some(Err(error))) => Err(error.into()),
                Poll::Ready(None) => self.end(),
            };
            if let Err(error) = outcome {
                *self.failure.borrow_mut() = Some(error);
                return Poll::Ready(None);
            }
        }
    }
}

/// Any request body.
pub(super) enum OutBody {
    Empty,
    Whole(Option<Bytes>),
    Stream(Box<Framed>),
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = Abandoned;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abandoned>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Stream(framed) => framed.poll_piece(cx).map(|piece| match piece {
                Some(piece) => Some(Ok(Frame::data(piece))),
                None if framed.finished => None,
                None => Some(Err(Abandoned)),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(body) => body.is_none(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Empty => 0,
            Self::Whole(body) => body.as_ref().map_or(0, |body| body.len() as u64),
            Self::Stream(framed) => framed_length(framed.checksum, framed.length),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use futures_util::stream;
    use http_body_util::BodyExt as _;
    use tokio::time::Instant;

    fn framed(checksum: Checksum, length: u64, pieces: Vec<Bytes>) -> (OutBody, Failure) {
        let failure = Failure::default();
        let gate = Arc::new(Gate::default());
        gate.open();
        let stream: ByteStream = Box::pin(stream::iter(pieces.into_iter().map(Ok)));
        let progress = Rc::new(Progress::new(Instant::now()));
        let body = Framed::new(Upload { length, stream }, checksum, gate, failure.clone(), progress);
        (OutBody::Stream(Box::new(body)), failure)
    }

    #[tokio::test]
    async fn length_on_the_wire_is_the_one_announced() {
        for checksum in [Checksum::Crc64Nvme, Checksum::Crc32, Checksum::None] {
            for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77] {
                for piece in [64 * 1024, 700_001] {
                    let whole = Bytes::from(vec![7; usize::try_from(length).unwrap()]);
                    let pieces = whole.chunks(piece).map(Bytes::copy_from_slice).collect();
                    let (body, _) = framed(checksum, length, pieces);
                    let sent = body.collect().await.unwrap().to_bytes();
                    assert_eq!(
                        sent.len() as u64,
                        framed_length(checksum, length),
                        "{checksum:?} {length} {piece}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn bytes_of_the_framing() {
        let (body, _) =
            framed(Checksum::Crc32, 9, vec![Bytes::from_static(b"1234"), Bytes::from_static(b"56789")]);
        let sent = body.collect().await.unwrap().to_bytes();
        // CRC-32 of "123456789" is cbf43926: the check value of its catalogue.
        assert_eq!(sent, "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n");
        assert_eq!(
            Checksum::Crc64Nvme.of(b"123456789").unwrap(),
            STANDARD.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes())
        );
    }

    #[tokio::test]
    async fn the_last_piece_never_leaves_before_a_good_end() {
        for checksum in [Checksum::Crc64Nvme, Checksum::None] {
            let (mut body, failure) =
                framed(checksum, 4, vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cdX")]);
            let mut sent = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                sent.extend_from_slice(&frame.into_data().unwrap());
            }
            assert!(!sent.contains(&b'c'), "{sent:?}");
            assert!(matches!(failure.borrow_mut().take(), Some(BackendError::Upload(_))));
        }
    }
}
