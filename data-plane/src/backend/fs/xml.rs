//! The documents of buckets, read and written by the front end's own reader and writer.

use crate::backend::BackendError;
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::reader;
use crate::s3::xml::writer::Writer;

/// The largest document.
const MAX_BYTES: usize = 1024 * 1024;

/// Reads a document: `closed` is called at each element's end, see [`reader::read`].
pub(crate) fn parse(
    body: &[u8],
    root: &str,
    closed: impl FnMut(&[&str], &str) -> Result<(), S3Error>,
) -> Result<(), BackendError> {
    reader::read(body, MAX_BYTES, root, closed).map_err(refused)
}

/// An error of the front end's as this backend's.
pub(crate) fn refused(error: S3Error) -> BackendError {
    BackendError::s3(error.status().as_u16(), error.code().as_str(), error.message())
}

/// S3's error for a document that is not what it should be.
pub(crate) fn malformed() -> BackendError {
    refused(S3Error::new(Code::MalformedXML))
}

/// A document being written.
pub(crate) type Document = Writer;
