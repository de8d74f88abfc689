//! The byte path: plaintext from a client becomes the stored body, and back, in bounded memory.
//!
//! One chunk of an upload is withheld until the client's body is verified, one chunk of a whole download until the
//! trailer is: so a backend never keeps what a client did not vouch for, and a client never sees a complete body that is
//! not the object.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sealgate_envelope::size::STORED_CHUNK;

use crate::backend::{BackendError, ByteStream, StreamError, Upload};

pub mod open;
pub mod pool;
pub mod seal;
pub mod source;
pub mod tables;

/// What a node reads of an object, at most, for a client that takes nothing, in bytes. Shared out below: a storage is read
/// only when the client's connection asks for more, and all that was read before has been opened and handed to it, but for
/// the beginning of a chunk.
pub const HELD: usize = 1 << 20;
/// What is read of a storage before a client's connection asks for more, in bytes.
pub const AHEAD: usize = 512 << 10;
/// What a client's connection gathers before it writes, in bytes; with less it asks for more.
pub const GATHERED: usize = HELD - AHEAD - STORED_CHUNK;

/// A body that is in memory already.
pub fn upload(bytes: impl Into<Bytes>) -> Upload {
    let bytes = bytes.into();
    Upload { length: bytes.len() as u64, stream: Box::pin(stream::iter([Ok(bytes)])) }
}

/// Reads a small body to its end.
///
/// # Errors
/// `Protocol` when it has more than `limit` bytes; the stream's own.
pub async fn collect(mut body: ByteStream, limit: usize) -> Result<Vec<u8>, BackendError> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(stream_error)?;
        if bytes.len() + piece.len() > limit {
            return Err(BackendError::Protocol(format!("an answer has more than {limit} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// A stream's end as a backend's failure.
pub fn stream_error(error: StreamError) -> BackendError {
    match error {
        StreamError::Source(source) => BackendError::Upload(source),
        StreamError::Truncated(text) => BackendError::Unavailable(text),
        StreamError::Io(error) => BackendError::Io(error),
    }
}
