//! Bodies on their way out. A read goes on undisturbed when its object is overwritten or deleted meanwhile: the file of a
//! body of one segment is open before the first byte is promised; of many segments the metadata file is held locked, and
//! whoever replaces it leaves the bodies to the reader's end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::stream;

use super::record::{Id, Kind, Record};
use super::space::{self, Bucket};
use super::{sweep, versions};
use crate::backend::{BackendError, ByteStream, PartSpan, StoredRange, StreamError};
use crate::pipeline::AHEAD;

/// Bytes a read from disk. Another such piece is read meanwhile: a disk does not read by itself as a server sends.
const PIECE: usize = AHEAD / 2;
/// How often a reader may lose against writers of the same key before it gives up.
const ATTEMPTS: usize = 64;

/// An object's metadata with what keeps its body alive.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) record: Record,
    bucket: Bucket,
    first: Option<File>,
    lease: Option<Lease>,
}

/// Opens an object for reading, the current version or the one named, or answers `NoSuchKey`, `NoSuchVersion`, or what is
/// said of delete markers.
pub(crate) fn open(bucket: &Bucket, key: &str, version_id: Option<&str>) -> Result<Opened, BackendError> {
    let leaf = bucket.leaf(key)?;
    for _ in 0..ATTEMPTS {
        let path = match version_id {
            None => leaf.clone(),
            Some(version_id) => {
                std::fs::metadata(&bucket.dir).map_err(space::missing_bucket)?;
                versions::find(bucket, key, version_id)?.ok_or_else(versions::no_such_version)?.path
            }
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            // It moved: became the current version, or ceased to be.
            Err(e) if space::is_missing(&e) && version_id.is_some() => continue,
            Err(e) if space::is_missing(&e) => {
                std::fs::metadata(&bucket.dir).map_err(space::missing_bucket)?;
                return Err(BackendError::s3(404, "NoSuchKey", "The specified key does not exist."));
            }
            Err(e) => return Err(e.into()),
        };
        let mut bytes = Vec::new();
        (&file).take(super::record::MAX_RECORD as u64 + 1).read_to_end(&mut bytes)?;
        let record = Record::decode(&bytes)?;
        if record.head.key != key || !matches!(record.head.kind, Kind::Object | Kind::Marker) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "metadata file of another key").into());
        }
        if version_id.is_some_and(|wanted| wanted != record.head.version_id()) {
            continue;
        }
        if record.head.kind == Kind::Marker {
            return Err(versions::marked(&record.head, version_id.is_some()));
        }
        let opened = Opened { record, bucket: bucket.clone(), first: None, lease: None };
        match *opened.record.segments.as_slice() {
            [] => return Ok(opened),
            // The one part of an upload, with nothing in it: no body was made for it.
            [only] if only.length == 0 => return Ok(opened),
            [only] => match File::open(bucket.body(only.id)) {
                Ok(first) => return Ok(Opened { first: Some(first), ..opened }),
                // Replaced since its metadata was read; if not, the body is lost.
                Err(e) if space::is_missing(&e) && !space::is_at(&file, &path)? => {}
                Err(e) => return Err(lost(e).into()),
            },
            _ => {
                file.lock_shared()?;
                let lease = Lease { file, path: path.clone(), bucket: bucket.clone() };
                if space::is_at(&lease.file, &path)? {
                    return Ok(Opened { lease: Some(lease), ..opened });
                }
            }
        }
    }
    Err(BackendError::Unavailable("the object is being replaced faster than it can be opened".to_owned()))
}

/// First and last byte of a range in a body of `size` bytes, or `InvalidRange`.
pub(crate) fn resolve(range: StoredRange, size: u64) -> Result<(u64, u64), BackendError> {
    let (first, last) = match range {
        StoredRange::Inclusive(first, last) => (first, last.min(size.saturating_sub(1))),
        StoredRange::From(first) => (first, size.saturating_sub(1)),
        StoredRange::Suffix(count) => (size - count.min(size), size.saturating_sub(1)),
    };
    if first < size && first <= last {
        return Ok((first, last));
    }
    let mut headers = http::HeaderMap::new();
    if let Ok(value) = http::HeaderValue::from_str(&format!("bytes */{size}")) {
        headers.insert(http::header::CONTENT_RANGE, value);
    }
    Err(BackendError::S3 {
        status: 416,
        code: "InvalidRange".to_owned(),
        message: "the range lies beyond the object".to_owned(),
        headers: Box::new(headers),
    })
}

impl Opened {
    /// Where a part lies. Parts count by their place among those that the upload was completed with: numbers are not kept.
    ///
    /// # Errors
    /// `InvalidPartNumber`.
    pub(crate) fn part(&self, number: u16) -> Result<PartSpan, BackendError> {
        let Record { head, segments } = &self.record;
        let at = usize::from(number).checked_sub(1);
        let lengths: Vec<u64> = match head.upload.is_empty() {
            true => vec![head.size],
            false => segments.iter().map(|segment| segment.length).collect(),
        };
        let (at, length) = at.and_then(|at| Some((at, *lengths.get(at)?))).ok_or_else(|| {
            BackendError::s3(416, "InvalidPartNumber", "the object has no part of this number")
        })?;
        let first = lengths.iter().take(at).sum::<u64>();
        Ok(PartSpan { length, range: (length > 0).then(|| (first, first + length - 1, head.size)) })
    }

    /// A reader of `length` bytes from `from` on, both within the object.
    pub(crate) fn reader(self, from: u64, length: u64) -> BodyReader {
        let (mut skip, mut left) = (from, length);
        let mut ahead = VecDeque::new();
        for segment in &self.record.segments {
            if skip >= segment.length {
                skip -= segment.length;
                continue;
            }
            let take = left.min(segment.length - skip);
            if take == 0 {
                break;
            }
            ahead.push_back(Stretch { id: segment.id, from: skip, length: take });
            (skip, left) = (0, left - take);
        }
        BodyReader { bucket: self.bucket, first: self.first, ahead, current: None, _lease: self.lease }
    }
}

/// Part of a body file.
#[derive(Debug)]
struct Stretch {
    id: Id,
    from: u64,
    length: u64,
}

/// Reads a body, or a range of it, segment by segment.
#[derive(Debug)]
pub(crate) struct BodyReader {
    bucket: Bucket,
    first: Option<File>,
    ahead: VecDeque<Stretch>,
    current: Option<(File, u64)>,
    _lease: Option<Lease>,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some((file, left)) = &mut self.current
                && *left > 0
            {
                let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let count = file.read(&mut buffer[..wanted])?;
                if count == 0 && wanted > 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body file is too short"));
                }
                *left -= count as u64;
                return Ok(count);
            }
            let Some(next) = self.ahead.pop_front() else { return Ok(0) };
            self.current = Some((self.open_stretch(&next)?, next.length));
        }
    }
}

impl BodyReader {
    fn open_stretch(&mut self, stretch: &Stretch) -> io::Result<File> {
        let mut file = match self.first.take() {
            Some(file) => file,
            None => File::open(self.bucket.body(stretch.id)).map_err(lost)?,
        };
        if stretch.from > 0 {
            file.seek(SeekFrom::Start(stretch.from))?;
        }
        Ok(file)
    }

    /// Writes all of it into a file, from file to file, which the kernel does by itself (`copy_file_range`).
    pub(crate) fn copy_to(mut self, out: &mut File) -> io::Result<()> {
        while let Some(next) = self.ahead.pop_front() {
            let file = self.open_stretch(&next)?;
            if io::copy(&mut file.take(next.length), out)? != next.length {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body file is too short"));
            }
        }
        Ok(())
    }

    fn piece(&mut self) -> io::Result<Bytes> {
        let left = self.current.as_ref().map_or(0, |(_, left)| *left)
            + self.ahead.iter().map(|stretch| stretch.length).sum::<u64>();
        let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut buffer = vec![0; wanted];
        self.read_exact(&mut buffer)?;
        Ok(buffer.into())
    }

    /// The first piece, read in the same hop as the metadata, then the rest as it is asked for, one piece ahead.
    pub(crate) fn into_parts(mut self) -> io::Result<(Bytes, Self)> {
        let first = self.piece()?;
        Ok((first, self))
    }

    fn is_done(&self) -> bool {
        self.ahead.is_empty() && self.current.as_ref().is_none_or(|(_, left)| *left == 0)
    }
}

/// What a reader's stream does next.
enum Step {
    Yield(Bytes, BodyReader),
    Wait(tokio::task::JoinHandle<(io::Result<Bytes>, BodyReader)>),
    Done,
}

/// The body as a stream.
pub(crate) fn into_stream((first, reader): (Bytes, BodyReader)) -> ByteStream {
    Box::pin(stream::unfold(Step::Yield(first, reader), |step| async {
        let (piece, reader) = match step {
            Step::Yield(piece, reader) => (piece, reader),
            Step::Wait(handle) => match handle.await {
                Ok((Ok(piece), reader)) => (piece, reader),
                Ok((Err(error), _)) => return Some((Err(StreamError::Io(error)), Step::Done)),
                Err(error) => return Some((Err(StreamError::Io(io::Error::other(error))), Step::Done)),
            },
            Step::Done => return None,
        };
        if piece.is_empty() {
            return None;
        }
        let next = if reader.is_done() { Step::Done } else { Step::Wait(read_ahead(reader)) };
        Some((Ok(piece), next))
    }))
}

fn read_ahead(mut reader: BodyReader) -> tokio::task::JoinHandle<(io::Result<Bytes>, BodyReader)> {
    tokio::task::spawn_blocking(move || {
        let piece = reader.piece();
        (piece, reader)
    })
}

fn lost(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        io::Error::new(io::ErrorKind::InvalidData, "the body file is gone")
    } else {
        error
    }
}

/// Holds an object of many segments: see the module's text.
#[derive(Debug)]
struct Lease {
    file: File,
    path: PathBuf,
    bucket: Bucket,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.file.unlock();
        if space::is_at(&self.file, &self.path).unwrap_or(true) {
            return;
        }
        let bucket = self.bucket.clone();
        // Offline tools have no runtime, and write nothing: there the next start of a backend removes it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || sweep::sweep_pending(&bucket));
        }
    }
}
