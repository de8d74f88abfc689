//! Bodies on their way to disk: at most one batch is being written while the next one arrives, so that a body of any
//! size costs 1 MiB of memory, and a disk that is slow holds its own client back.

use std::fs::File;
use std::io::Write as _;

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::blocking;
use super::commit::Pending;
use super::space::{self, Bucket};
use crate::backend::{BackendError, ByteStream, LengthMismatch, Upload};

/// Bytes that are gathered before they are written in one go.
const BATCH: usize = 256 * 1024;

/// Takes a body in and then runs `commit` with the metadata file in preparation, once the body is safely on disk.
pub(super) async fn receive<T: Send + 'static>(
    bucket: Bucket,
    body: Upload,
    commit: impl FnOnce(Pending) -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    let Upload { length, mut stream } = body;
    let mut arrived = 0;
    let first = next_batch(&mut stream, &mut arrived, length).await?;
    if arrived == length && first.is_some() {
        end_of(&mut stream, length).await?;
        // All of it fits into one batch: one hop to the blocking pool does everything.
        return blocking(move || {
            let pending = Pending::create(&bucket)?;
            let mut file = create_body(&pending)?;
            write_batch(&mut file, &first.unwrap_or_default())?;
            file.sync_all()?;
            sync_shard(&pending)?;
            commit(pending)
        })
        .await;
    }
    let Some(first) = first else {
        return blocking(move || commit(Pending::create(&bucket)?)).await;
    };
    let (pending, mut file) = blocking(move || {
        let pending = Pending::create(&bucket)?;
        let file = create_body(&pending)?;
        Ok((pending, file))
    })
    .await?;
    let mut batch = first;
    loop {
        let write = blocking(move || {
            write_batch(&mut file, &batch)?;
            Ok(file)
        });
        let next = next_batch(&mut stream, &mut arrived, length);
        let (written, following) = futures_util::try_join!(write, next)?;
        file = written;
        match following {
            Some(following) => batch = following,
            None => break,
        }
    }
    blocking(move || {
        file.sync_all()?;
        drop(file);
        sync_shard(&pending)?;
        commit(pending)
    })
    .await
}

/// The next pieces of a stream, none at its end. A stream that does not yield exactly `length` bytes is an error.
async fn next_batch(
    stream: &mut ByteStream,
    arrived: &mut u64,
    length: u64,
) -> Result<Option<Vec<Bytes>>, BackendError> {
    let (mut pieces, mut gathered) = (Vec::new(), 0);
    while gathered < BATCH && *arrived < length {
        let Some(piece) = stream.next().await.transpose()? else {
            return Err(mismatch(length));
        };
        *arrived += piece.len() as u64;
        gathered += piece.len();
        if *arrived > length {
            return Err(mismatch(length));
        }
        if !piece.is_empty() {
            pieces.push(piece);
        }
    }
    if pieces.is_empty() {
        end_of(stream, length).await?;
        return Ok(None);
    }
    Ok(Some(pieces))
}

/// Waits for the end of a stream that has yielded all it should: its last checks may still fail there.
async fn end_of(stream: &mut ByteStream, length: u64) -> Result<(), BackendError> {
    while let Some(piece) = stream.next().await.transpose()? {
        if !piece.is_empty() {
            return Err(mismatch(length));
        }
    }
    Ok(())
}

fn mismatch(length: u64) -> BackendError {
    BackendError::Upload(Box::new(LengthMismatch { declared: length }))
}

pub(super) fn create_body(pending: &Pending) -> Result<File, BackendError> {
    space::create_file(&pending.body_path()).map_err(space::missing_bucket)
}

fn write_batch(file: &mut File, pieces: &[Bytes]) -> std::io::Result<()> {
    pieces.iter().try_for_each(|piece| file.write_all(piece))
}

pub(super) fn sync_shard(pending: &Pending) -> std::io::Result<()> {
    pending.body_path().parent().map_or(Ok(()), space::sync_dir)
}
