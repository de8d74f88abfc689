//! An answer to a client: status, headers and a body that is nothing, bytes, or a stream of a known length.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};

/// Why a streamed body ended early: the connection is aborted, and what is wrong was logged.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>>>>;

/// A body on its way to a client.
pub enum ReplyBody {
    /// Nothing.
    Empty,
    /// Bytes that are there.
    Full(Option<Bytes>),
    /// A stream, with the bytes that it still has to yield where they are known. hyper aborts the connection when it
    /// yields fewer.
    Stream {
        /// The bytes.
        pieces: Pieces,
        /// How many are left.
        left: Option<u64>,
    },
}

/// An answer.
pub type Reply = Response<ReplyBody>;

impl ReplyBody {
    /// A stream of a known length.
    pub fn stream(pieces: Pieces, length: u64) -> Self {
        Self::Stream { pieces, left: Some(length) }
    }

    /// A stream of unknown length.
    pub fn unsized_stream(pieces: Pieces) -> Self {
        Self::Stream { pieces, left: None }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream { pieces, left } => pieces.as_mut().poll_next(cx).map(|item| match item {
                Some(Ok(piece)) => {
                    if let Some(left) = left {
                        *left = left.saturating_sub(piece.len() as u64);
                    }
                    Some(Ok(Frame::data(piece)))
                }
                Some(Err(error)) => Some(Err(error)),
                None => None,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Full(None) => true,
            Self::Full(Some(_)) | Self::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream { left: Some(left), .. } => SizeHint::with_exact(*left),
            Self::Stream { left: None, .. } => SizeHint::default(),
        }
    }
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Reply {
    with(status, ReplyBody::Empty)
}

/// An answer with an XML document.
pub fn xml(status: StatusCode, document: impl Into<Bytes>) -> Reply {
    let mut reply = with(status, ReplyBody::Full(Some(document.into())));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    reply
}

/// An answer with a body.
pub fn with(status: StatusCode, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply
}

/// Sets a header from text that may hold anything; what HTTP cannot carry is left out.
pub fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}
