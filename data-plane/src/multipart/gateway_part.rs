//! The gateway's own part, the last of every upload: the stash of the client's last part where that was too small to stand
//! before it, then the trailer.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sealgate_envelope::size::chunks_size;
use sealgate_envelope::{PartOpener, PartReader};

use super::part::GATEWAY_PART;
use super::uploads::OpenUpload;
use crate::backend::{Backend, BackendError, ByteStream, GetOptions, StreamError, Upload};
use crate::snapshot::Bucket;

/// A part that is read again from its stash.
#[derive(Clone, Debug)]
pub struct Stashed {
    /// The client's part number.
    pub number: u16,
    /// Plaintext bytes, from its note.
    pub size: u64,
    /// Salt of its chunks, from its note.
    pub salt: [u8; sealgate_envelope::SALT],
}

/// Writes the gateway's part: its ETag, and its stored bytes.
///
/// # Errors
/// The backend's; `InvalidPart` when the stash is not what its note says.
pub async fn write(
    backend: &Rc<dyn Backend>,
    bucket: &Bucket,
    key: &str,
    upload: &OpenUpload,
    stashed: Option<&Stashed>,
    trailer: &[u8],
) -> Result<(String, u64), BackendError> {
    let trailer = Bytes::copy_from_slice(trailer);
    let body = match stashed {
        None => crate::pipeline::upload(trailer),
        Some(stashed) => {
            let length =
                chunks_size(stashed.size).ok_or_else(|| invalid("its note gives an impossible size"))?;
            let before: ByteStream = if length == 0 {
                Box::pin(stream::empty())
            } else {
                let name = upload.record.stash_key(stashed.number, &stashed.salt);
                let answer = match backend.get(&bucket.work_bucket, &name, GetOptions::default()).await {
                    Err(error) if error.is("NoSuchKey") => return Err(invalid("its stash is gone")),
                    answer => answer?,
                };
                if answer.length != length {
                    return Err(invalid("its stash has another size than its note says"));
                }
                let reader = PartOpener::new(&upload.keys, stashed.number, Some(stashed.salt))
                    .and_then(|opener| PartReader::new(opener, stashed.size))
                    .map_err(|_| invalid("its note gives an impossible number"))?;
                proved(answer.body, reader)
            };
            let total = length + trailer.len() as u64;
            Upload { length: total, stream: Box::pin(before.chain(stream::iter([Ok(trailer)]))) }
        }
    };
    let length = body.length;
    backend
        .upload_part(&bucket.backend_bucket, key, &upload.upload_id, GATEWAY_PART, body)
        .await
        .map(|stored| (stored.etag, length))
}

fn invalid(why: &str) -> BackendError {
    BackendError::s3(400, "InvalidPart", format!("the last part cannot be read again: {why}"))
}

/// Passes stored chunks on, each only when it opens.
fn proved(body: ByteStream, reader: PartReader) -> ByteStream {
    struct Proving {
        body: ByteStream,
        reader: PartReader,
        chunk: Vec<u8>,
        pending: Bytes,
    }
    let proving = Proving { body, reader, chunk: Vec::new(), pending: Bytes::new() };
    Box::pin(stream::try_unfold(proving, |mut proving| async move {
        let Some(length) = proving.reader.next_stored_len() else { return Ok(None) };
        while proving.chunk.len() < length {
            if proving.pending.is_empty() {
                match proving.body.next().await.transpose()? {
                    Some(piece) => proving.pending = piece,
                    None => return Err(StreamError::Truncated("a stash ends early".to_owned())),
                }
            }
            let take = (length - proving.chunk.len()).min(proving.pending.len());
            proving.chunk.extend_from_slice(&proving.pending.split_to(take));
        }
        let chunk = std::mem::take(&mut proving.chunk);
        let mut plaintext = zeroize::Zeroizing::new(vec![0; length]);
        proving
            .reader
            .open_next_into(&chunk, &mut plaintext)
            .map_err(|_| StreamError::Source(Box::new(invalid("a chunk of its stash does not open"))))?;
        Ok(Some((Bytes::from(chunk), proving)))
    }))
}
