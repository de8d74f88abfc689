//! aws-chunked, S3's framing of streamed bodies (AWS: "Signature calculations … transferring payload in multiple
//! chunks"): `<hex size>[;chunk-signature=<hex>]` CRLF data CRLF …, a chunk of size 0, trailers, an empty line.
//!
//! Frames are streamed, never held: clients send them from 64 KiB to the size of a whole part. What comes out of
//! [`ChunkedDecoder::push`] is therefore not proved yet: a chunk's signature can only be compared at its end. The proof
//! is a successful [`ChunkedDecoder::finish`], and whoever stores the data must be able to take it back until then.

use crate::auth::{StreamSeed, decode_signature};
use crate::s3::error::{Code, S3Error};
use bytes::{Buf, Bytes};
use signer::ChunkSigner;
use std::sync::Arc;
use trailers::TrailerReader;

mod signer;
mod trailers;

pub use trailers::Trailers;

/// The longest line before a chunk, in bytes: 16 digits, `;chunk-signature=` and 64 digits are 97.
const MAX_SIZE_LINE: usize = 128;

/// Takes a body apart, whatever the splits of its input.
pub struct ChunkedDecoder {
    state: State,
    line: Vec<u8>,
    /// Bytes of plaintext that must still come, by `x-amz-decoded-content-length`.
    missing: u64,
    signer: Option<ChunkSigner>,
    trailers: Option<TrailerReader>,
    /// The trailer line before ended in LF alone.
    bare_end: bool,
    failed: bool,
}

enum State {
    /// In the line before a chunk.
    Size,
    /// In a chunk's data; bytes that are left.
    Data(u64),
    /// Before the line end after a chunk's data; bytes of it that have come.
    DataEnd(u8),
    /// In the trailers, up to and with the empty line.
    Trailers,
    /// After all that is needed, where one more CRLF may come; bytes of it that have come.
    Spare(u8),
    Done,
}

impl ChunkedDecoder {
    /// A decoder for signed chunks. `decoded` is the plaintext's length in bytes; `declared` are the lower-case trailer
    /// names of `x-amz-trailer`, or `None` where no trailers may come.
    #[must_use]
    pub fn signed(seed: Arc<StreamSeed>, decoded: u64, declared: Option<Vec<String>>) -> ChunkedDecoder {
        let trailers = declared.map(|names| TrailerReader::new(names, true));
        ChunkedDecoder::new(Some(ChunkSigner::new(seed)), decoded, trailers)
    }

    /// A decoder for chunks without signatures.
    #[must_use]
    pub fn unsigned(decoded: u64, declared: Vec<String>) -> ChunkedDecoder {
        ChunkedDecoder::new(None, decoded, Some(TrailerReader::new(declared, false)))
    }

    fn new(signer: Option<ChunkSigner>, decoded: u64, trailers: Option<TrailerReader>) -> ChunkedDecoder {
        let line = Vec::with_capacity(MAX_SIZE_LINE);
        ChunkedDecoder {
            state: State::Size,
            line,
            missing: decoded,
            signer,
            trailers,
            bare_end: false,
            failed: false,
        }
    }

    /// Takes the next piece of the body and appends the plaintext in it to `out`, as slices of the input.
    ///
    /// # Errors
    /// SignatureDoesNotMatch, IncompleteBody (more or less data than declared, broken framing, anything after the end),
    /// MalformedTrailerError. After an error nothing more is taken, and what came out before is void.
    pub fn push(&mut self, input: Bytes, out: &mut Vec<Bytes>) -> Result<(), S3Error> {
        if self.failed {
            return Err(malformed("it has already failed"));
        }
        let result = self.take(input, out);
        self.failed = result.is_err();
        result
    }

    fn take(&mut self, mut input: Bytes, out: &mut Vec<Bytes>) -> Result<(), S3Error> {
        while !input.is_empty() {
            match self.state {
                State::Size => {
                    match take_line(&mut self.line, &mut input, MAX_SIZE_LINE)
                        .ok_or_else(|| malformed("a chunk's header is too long"))?
                    {
                        Some(LineEnd::CrLf) => {
                            self.start_chunk()?;
                            self.line.clear();
                        }
                        Some(LineEnd::Lf) => return Err(malformed("a chunk's header ends without CR")),
                        None => {}
                    }
                }
                State::Data(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let data = input.split_to(length);
                    if let Some(signer) = &mut self.signer {
                        signer.update(&data);
                    }
                    out.push(data);
                    let left = left - length as u64;
                    self.state = if left == 0 { State::DataEnd(0) } else { State::Data(left) };
                }
                State::DataEnd(at) => {
                    if input.get_u8() != b"\r\n"[usize::from(at)] {
                        return Err(malformed("a chunk's data does not end where its size says"));
                    }
                    self.state = State::DataEnd(at + 1);
                    if at == 1 {
                        self.end_chunk()?;
                        self.state = State::Size;
                    }
                }
                State::Trailers => self.take_trailer(&mut input)?,
                State::Spare(at) if input.get_u8() == b"\r\n"[usize::from(at)] => {
                    self.state = if at == 0 { State::Spare(1) } else { State::Done };
                }
                State::Spare(_) | State::Done => return Err(malformed("there is something after its end")),
            }
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// IncompleteBody when the end has not come, or less data than declared.
    pub fn finish(self) -> Result<Trailers, S3Error> {
        match self.state {
            State::Done | State::Spare(0) if !self.failed => {
                Ok(self.trailers.map(TrailerReader::into_trailers).unwrap_or_default())
            }
            _ if self.failed => Err(malformed("it has already failed")),
            _ => Err(malformed("it ends before its last chunk")),
        }
    }

    fn start_chunk(&mut self) -> Result<(), S3Error> {
        let text = std::str::from_utf8(&self.line).map_err(|_| malformed("a chunk's header is not text"))?;
        let (size, signature) = match (text.split_once(';'), &self.signer) {
            (Some((size, extension)), Some(_)) => {
                let signature = extension
                    .strip_prefix("chunk-signature=")
                    .and_then(decode_signature)
                    .ok_or_else(|| malformed("a chunk's signature is malformed"))?;
                (size, Some((signature, &extension["chunk-signature=".len()..])))
            }
            (None, None) => (text, None),
            (None, Some(_)) => return Err(malformed("a chunk has no signature")),
            (Some(_), None) => return Err(malformed("a chunk has an extension")),
        };
        let size = parse_size(size).ok_or_else(|| malformed("a chunk's size is not a number"))?;
        if let (Some(signer), Some((bytes, text))) = (&mut self.signer, signature) {
            signer.start(bytes, text);
        }
        self.missing = self.missing.checked_sub(size).ok_or_else(|| S3Error::new(Code::IncompleteBody))?;
        if size > 0 {
            self.state = State::Data(size);
            return Ok(());
        }
        // The last chunk: its signature covers no data, so it can be compared at once.
        self.end_chunk()?;
        if self.missing > 0 {
            return Err(S3Error::new(Code::IncompleteBody));
        }
        self.state = State::Trailers;
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), S3Error> {
        match &mut self.signer {
            Some(signer) => signer.end(),
            None => Ok(()),
        }
    }

    /// Takes a trailer line. S3 writes "trailer LF" CRLF in its own example and takes it from clients (minio-go sends it so):
    /// before the trailers' signature, and before the empty line of trailers that are not signed.
    fn take_trailer(&mut self, input: &mut Bytes) -> Result<(), S3Error> {
        let Some(end) = take_line(&mut self.line, input, trailers::MAX_LINE)
            .ok_or_else(|| S3Error::new(Code::MalformedTrailerError))?
        else {
            return Ok(());
        };
        let line = std::mem::take(&mut self.line);
        let bare_before = std::mem::replace(&mut self.bare_end, end == LineEnd::Lf);
        match (&mut self.trailers, line.is_empty()) {
            (None, true) => self.state = State::Done,
            (None, false) => return Err(malformed("there is something after its last chunk")),
            (Some(reader), false) => reader.line(&line)?,
            (Some(reader), true) if bare_before && reader.awaits_signature() => {}
            (Some(reader), true) => {
                reader.end(self.signer.as_ref())?;
                self.state = if bare_before { State::Spare(0) } else { State::Done };
            }
        }
        Ok(())
    }
}

/// How a line ended.
#[derive(PartialEq, Eq)]
enum LineEnd {
    Lf,
    CrLf,
}

/// Moves input up to a line's end into `line`, without the CRLF (or LF). `Some(Some(_))` when the line is whole, `None` when
/// it is longer than `limit`.
fn take_line(line: &mut Vec<u8>, input: &mut Bytes, limit: usize) -> Option<Option<LineEnd>> {
    let end = memchr::memchr(b'\n', input);
    let length = end.unwrap_or(input.len());
    if line.len() + length > limit + 1 {
        return None;
    }
    line.extend_from_slice(&input[..length]);
    input.advance(end.map_or(length, |at| at + 1));
    if end.is_none() {
        return Some(None);
    }
    if line.last() != Some(&b'\r') {
        return Some(Some(LineEnd::Lf));
    }
    line.pop();
    Some(Some(LineEnd::CrLf))
}

fn parse_size(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

/// S3's error for broken framing: what follows cannot be told from an end that never comes.
fn malformed(why: &str) -> S3Error {
    S3Error::with(Code::IncompleteBody, "The request body terminated unexpectedly")
        .field("Reason", format!("The aws-chunked body is malformed: {why}."))
}

#[cfg(test)]
mod tests;
