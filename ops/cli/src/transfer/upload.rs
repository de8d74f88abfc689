//! A file's way to the server: one PUT, or parts of which several are on their way at a time.
//!
//! Memory is bounded by the pieces in flight, not by parts: a part is read from the file while it is sent, and read again
//! when it must be sent again. A multipart upload that does not complete is aborted, unless nobody knows whether it did.

use std::cell::Cell;
use std::io::SeekFrom;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use sealgate_data_plane::backend::{
    Backend as _, BackendError, ByteStream, Conditions, LengthMismatch, PutOptions, StreamError, Upload,
};
use sealgate_data_plane::large::is_refusal;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::connection::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::location::Location;

/// The least size of a part; larger for files that would need too many of them.
const PART: u64 = 16 << 20;
/// S3's most parts.
const MOST_PARTS: u64 = 10_000;
/// S3's largest object.
const LARGEST: u64 = 50 << 40;
/// Parts on their way at a time.
const IN_FLIGHT: usize = 4;
/// Bytes a read from disk.
const PIECE: usize = 256 << 10;
/// How often a part is sent.
const ATTEMPTS: u32 = 4;

/// The file.
pub struct Source {
    pub path: Rc<Path>,
    pub size: u64,
    pub bar: ProgressBar,
}

impl Source {
    fn stretch(&self, from: u64, length: u64, counted: Rc<Cell<u64>>) -> Upload {
        let (path, bar) = (self.path.clone(), self.bar.clone());
        let stream: ByteStream = Box::pin(stream::try_unfold((None, length), move |(file, left)| {
            let (path, bar, counted) = (path.clone(), bar.clone(), counted.clone());
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let mut file = match file {
                    Some(file) => file,
                    None => {
                        let mut file = File::open(&path).await?;
                        file.seek(SeekFrom::Start(from)).await?;
                        file
                    }
                };
                let room = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
                let mut piece = BytesMut::with_capacity(room);
                if (&mut file).take(room as u64).read_buf(&mut piece).await? == 0 {
                    return Err(StreamError::Source(Box::new(LengthMismatch { declared: length })));
                }
                let read = piece.len() as u64;
                bar.inc(read);
                counted.set(counted.get() + read);
                Ok(Some((piece.freeze(), (Some(file), left - read))))
            }
        }));
        Upload { length, stream }
    }

    fn failure(&self, to: &Location, error: &BackendError) -> Failure {
        match error {
            BackendError::Upload(source) if source.is::<LengthMismatch>() => Failure::new(
                Exit::Failure,
                format!("{}: became shorter while it was read; nothing was stored", self.path.display()),
            ),
            BackendError::Upload(source) => {
                Failure::new(Exit::Failure, format!("{}: {source}", self.path.display()))
            }
            other => Failure::s3(to, other),
        }
    }

    /// Sends something anew as long as the server cannot be reached, waiting longer each time.
    async fn persist<T>(
        &self,
        to: &Location,
        attempt: impl AsyncFn(Rc<Cell<u64>>) -> Result<T, BackendError>,
    ) -> Outcome<T> {
        let mut wait = Duration::from_millis(200);
        for left in (0..ATTEMPTS).rev() {
            let counted = Rc::new(Cell::new(0));
            match attempt(counted.clone()).await {
                Ok(done) => return Ok(done),
                Err(BackendError::Unavailable(_)) if left > 0 => {
                    self.bar.dec(counted.get());
                    tokio::time::sleep(wait).await;
                    wait *= 4;
                }
                Err(error) => return Err(self.failure(to, &error)),
            }
        }
        Err(Failure::new(Exit::Unavailable, format!("{to}: not stored")))
    }
}

/// What to do when nobody knows what became of an upload.
pub const UNKNOWN: &str = "it is not known whether the server made the object: look, or run the command again. An upload that stays there is \
                           for its lifecycle rules";

/// One PUT; gives the ETag.
pub fn whole(client: &Client, to: &Location, source: &Source, options: PutOptions) -> Outcome<String> {
    client.run_until_signal(source.persist(to, async |counted| {
        let body = source.stretch(0, source.size, counted);
        Ok(client.backend.put(&to.bucket, &to.key, options.clone(), body).await?.etag)
    }))
}

/// A multipart upload; gives the ETag.
pub fn in_parts(client: &Client, to: &Location, source: &Source, options: PutOptions) -> Outcome<String> {
    let part = part_size(source.size)
        .ok_or_else(|| Failure::usage(format!("{}: larger than any object may be", source.path.display())))?;
    let failed = |error| source.failure(to, &error);
    let backend = &client.backend;
    let id = client.run(backend.create_upload(&to.bucket, &to.key, options)).map_err(failed)?;
    // Once it may have become the object it stays: some servers destroy an object whose upload is aborted.
    let aborted = Cell::new(true);
    let done = client.run_until_signal(async {
        let parts = send_parts(client, to, source, &id, part).await?;
        aborted.set(false);
        let complete = backend.complete_upload(&to.bucket, &to.key, &id, &parts, Conditions::default()).await;
        aborted.set(complete.as_ref().is_err_and(is_refusal));
        Ok(complete.map_err(failed)?.etag)
    });
    match done {
        Err(failure) if aborted.get() => {
            // The first failure is the one to report. Parts that stay are for the server's lifecycle rules.
            let _ = client.run(backend.abort_upload(&to.bucket, &to.key, &id));
            Err(failure)
        }
        done => done.map_err(|failure| failure.hint_instead(UNKNOWN)),
    }
}

async fn send_parts(
    client: &Client,
    to: &Location,
    source: &Source,
    id: &str,
    part: u64,
) -> Outcome<Vec<(u16, String)>> {
    let count = u16::try_from(source.size.div_ceil(part)).unwrap_or(u16::MAX);
    let uploads = stream::iter(1..=count).map(|number| async move {
        let from = u64::from(number - 1) * part;
        let length = part.min(source.size - from);
        let sent = source.persist(to, async |counted| {
            let body = source.stretch(from, length, counted);
            client.backend.upload_part(&to.bucket, &to.key, id, number, body).await
        });
        Ok::<_, Failure>((number, sent.await?.etag))
    });
    uploads.buffered(IN_FLIGHT).try_collect().await
}

/// The size of parts of a file; `None` for one larger than any object.
pub fn part_size(size: u64) -> Option<u64> {
    let needed = size.div_ceil(MOST_PARTS).next_multiple_of(1 << 20);
    (size <= LARGEST).then_some(needed.max(PART))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn every_size_fits_into_the_parts() {
        assert_eq!(part_size((64 << 20) + 1), Some(PART));
        for size in [PART * MOST_PARTS, PART * MOST_PARTS + 1, 5 << 40, LARGEST] {
            let part = part_size(size).unwrap();
            assert!(part >= PART && size.div_ceil(part) <= MOST_PARTS, "{size}");
        }
        assert_eq!(part_size(LARGEST + 1), None);
    }
}
