//! The file of a form, streamed: its length is known before its end.
//!
//! An object's length goes to the storage before its bytes, but a form says only how long all of it is. What surrounds the
//! file is known when the file begins, if nothing follows it but the form's end: `CRLF--boundary--CRLF`, as browsers and
//! all libraries tried write it. So the length is taken from there, and a form that turns out to be otherwise is refused
//! when its end comes, before the last chunk is let go. A file of [`SMALL`] bytes at most is read whole instead, so that
//! such forms may have more fields behind it (a named submit button), which S3 ignores.

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memmem;
use zeroize::Zeroizing;

use super::ClientBody;
use crate::s3::error::{Code, S3Error};
use crate::s3::form::malformed;

/// What is read whole, in bytes: one chunk.
pub const SMALL: u64 = 64 << 10;

/// A form's file on its way in.
pub struct FormFile {
    body: ClientBody,
    /// What has come and was not looked at.
    pending: VecDeque<Bytes>,
    end: End,
}

/// How the file's end is known.
enum End {
    /// It has been seen; the bytes are in `pending`.
    Found,
    /// It is where the length says.
    Counted(CountedEnd),
}

impl FormFile {
    /// Takes a body up where the file begins: `rest` is what has come of it, `left` the bytes of the body from there on.
    /// Gives the file's length, too.
    ///
    /// # Errors
    /// MalformedPOSTRequest, IncompleteBody.
    pub async fn open(
        body: ClientBody,
        rest: Bytes,
        left: u64,
        boundary: &str,
    ) -> Result<(FormFile, u64), S3Error> {
        if left > SMALL {
            let end = CountedEnd::new(boundary, left)?;
            let length = end.left;
            return Ok((FormFile { body, pending: VecDeque::from([rest]), end: End::Counted(end) }, length));
        }
        let mut body = body;
        // Plaintext: in one buffer that does not grow, and is wiped with its last slice.
        let whole = usize::try_from(left).unwrap_or(usize::MAX);
        let mut all = Zeroizing::new(Vec::<u8>::with_capacity(whole));
        let mut next = Some(Ok(rest));
        while let Some(piece) = next {
            let piece = piece?;
            if piece.len() > whole - all.len() {
                return Err(S3Error::new(Code::IncompleteBody));
            }
            all.extend_from_slice(&piece);
            next = next_piece(&mut body).await;
        }
        if all.len() != whole {
            return Err(S3Error::new(Code::IncompleteBody));
        }
        let length = file_length(&all, boundary)?;
        let file = Bytes::from_owner(all).slice(..length);
        let length = file.len() as u64;
        Ok((FormFile { body, pending: VecDeque::from([file]), end: End::Found }, length))
    }

    /// The next bytes of the file; none at its end, when the form ends as it should.
    pub async fn next(&mut self) -> Option<Result<Bytes, S3Error>> {
        loop {
            let piece = match self.pending.pop_front() {
                Some(piece) => piece,
                None => match next_piece(&mut self.body).await {
                    Some(Ok(piece)) => piece,
                    Some(Err(error)) => return Some(Err(error)),
                    None => {
                        return match &self.end {
                            End::Counted(end) => end.finish().err().map(Err),
                            End::Found => None,
                        };
                    }
                },
            };
            let file = match &mut self.end {
                End::Found => piece,
                End::Counted(end) => match end.push(piece) {
                    Ok(file) => file,
                    Err(error) => return Some(Err(error)),
                },
            };
            if !file.is_empty() {
                return Some(Ok(file));
            }
        }
    }
}

/// The next data of a body.
pub async fn next_piece(body: &mut ClientBody) -> Option<Result<Bytes, S3Error>> {
    loop {
        match body.frame().await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
            Err(_) => return Some(Err(S3Error::new(Code::IncompleteBody))),
        }
    }
}

/// The length of a file that lies at the beginning of `all`, which reaches to the end of the form.
///
/// # Errors
/// MalformedPOSTRequest when the form does not end.
pub fn file_length(all: &[u8], boundary: &str) -> Result<usize, S3Error> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let unended = || malformed("It does not end with its boundary.");
    let length = memmem::find(all, &delimiter).ok_or_else(unended)?;
    let behind = all.get(length + delimiter.len()..).unwrap_or_default();
    let last = [&delimiter[..], b"--"].concat();
    let ended = behind.starts_with(b"--")
        || (behind.trim_ascii_start().len() < behind.len() && memmem::find(behind, &last).is_some());
    if ended { Ok(length) } else { Err(unended()) }
}

/// A file whose end is where the length of the body says: what comes there is checked, and that it does not come before.
pub struct CountedEnd {
    /// Bytes of the file still to come.
    left: u64,
    delimiter: Vec<u8>,
    /// The last bytes of the file so far, shorter than a delimiter. Plaintext, in a buffer that does not grow.
    overlap: Zeroizing<Vec<u8>>,
    /// What must follow the file, and has not come yet.
    closing: Vec<u8>,
}

impl CountedEnd {
    /// A file that begins `left` bytes before the end of the body.
    ///
    /// # Errors
    /// MalformedPOSTRequest when there is no room for the form's end.
    pub fn new(boundary: &str, left: u64) -> Result<CountedEnd, S3Error> {
        let closing = format!("\r\n--{boundary}--\r\n").into_bytes();
        let left = left
            .checked_sub(closing.len() as u64)
            .ok_or_else(|| malformed("It does not end with its boundary."))?;
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // That of two pieces, while a delimiter is looked for across them.
        let overlap = Zeroizing::new(Vec::with_capacity(2 * delimiter.len()));
        Ok(CountedEnd { left, delimiter, overlap, closing })
    }

    /// Takes bytes of the body and gives those of the file among them.
    ///
    /// # Errors
    /// MalformedPOSTRequest when the file ends elsewhere.
    pub fn push(&mut self, mut bytes: Bytes) -> Result<Bytes, S3Error> {
        let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let file = bytes.split_to(here);
        self.left -= file.len() as u64;
        self.look(&file)?;
        if !self.closing.starts_with(&bytes) {
            return Err(unexpected());
        }
        self.closing.drain(..bytes.len());
        Ok(file)
    }

    /// Checks that the form has ended.
    ///
    /// # Errors
    /// IncompleteBody.
    pub fn finish(&self) -> Result<(), S3Error> {
        if self.left == 0 && self.closing.is_empty() {
            Ok(())
        } else {
            Err(S3Error::new(Code::IncompleteBody))
        }
    }

    /// Looks for a delimiter in the file, also across the pieces that it comes in.
    fn look(&mut self, file: &[u8]) -> Result<(), S3Error> {
        let most = self.delimiter.len() - 1;
        let border = self.overlap.len();
        self.overlap.extend_from_slice(file.get(..most).unwrap_or(file));
        if memmem::find(&self.overlap, &self.delimiter).is_some()
            || memmem::find(file, &self.delimiter).is_some()
        {
            return Err(unexpected());
        }
        self.overlap.truncate(border);
        self.overlap.extend_from_slice(file.get(file.len().saturating_sub(most)..).unwrap_or(file));
        let surplus = self.overlap.len().saturating_sub(most);
        self.overlap.drain(..surplus);
        Ok(())
    }
}

fn unexpected() -> S3Error {
    malformed(
        "The file must be its last field, and nothing but the closing boundary and a line end may follow one of more than 64 KiB.",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{CountedEnd, FormFile, file_length};
    use crate::body::ClientBody;
    use crate::memory::Needle;
    use crate::s3::error::Code;
    use crate::s3::form::FormReader;
    use bytes::Bytes;
    use zeroize::Zeroizing;

    const END: &str = "\r\n--b--\r\n";

    /// The file in a body that comes in pieces of `piece` bytes.
    fn read(body: &str, piece: usize) -> Result<Vec<u8>, Code> {
        let mut end = CountedEnd::new("b", body.len() as u64).map_err(|error| error.code())?;
        let mut file = Vec::new();
        for bytes in body.as_bytes().chunks(piece) {
            file.extend(end.push(Bytes::copy_from_slice(bytes)).map_err(|error| error.code())?);
        }
        end.finish().map_err(|error| error.code())?;
        Ok(file)
    }

    #[test]
    fn the_file_is_what_the_length_leaves() {
        for file in ["", "x", "\r\n--", "\r\n-\r\n--a\r\n--", "a\r\n--B--\r\n"] {
            for piece in [1, 2, 3, 5, 100] {
                assert_eq!(read(&format!("{file}{END}"), piece).unwrap(), file.as_bytes(), "{file:?}");
            }
        }
    }

    #[test]
    fn anything_else_at_the_end_is_refused() {
        let field = "\r\n--b\r\nContent-Disposition: form-data; name=submit\r\n\r\nUpload";
        for piece in [1, 3, 7, 500] {
            assert_eq!(read(&format!("file{field}{END}"), piece), Err(Code::MalformedPOSTRequest));
            assert_eq!(read(&format!("file{END}{END}"), piece), Err(Code::MalformedPOSTRequest));
            assert_eq!(read("file\r\n--b--", piece), Err(Code::MalformedPOSTRequest));
            assert_eq!(read("file, and then nothing", piece), Err(Code::MalformedPOSTRequest));
        }
        assert_eq!(read("x", 1), Err(Code::MalformedPOSTRequest));
        let mut cut = CountedEnd::new("b", 20).unwrap();
        cut.push(Bytes::from_static(b"file")).unwrap();
        assert_eq!(cut.finish().unwrap_err().code(), Code::IncompleteBody);
    }

    #[test]
    fn a_small_file_may_be_followed_by_fields() {
        let length = |all: &str| file_length(all.as_bytes(), "b").map_err(|error| error.code());
        assert_eq!(length("file\r\n--b--\r\n"), Ok(4));
        assert_eq!(length("\r\n--b--"), Ok(0));
        assert_eq!(length("file\r\n--b\r\nContent-Disposition: x\r\n\r\nv\r\n--b--\r\n"), Ok(4));
        for bad in ["file", "file\r\n--b", "file\r\n--bc--\r\n", "file\r\n--b\r\nmore"] {
            assert_eq!(length(bad), Err(Code::MalformedPOSTRequest), "{bad:?}");
        }
    }

    #[test]
    fn the_beginning_of_a_file_is_wiped() {
        let head = b"--b\r\nContent-Disposition: form-data; name=file; filename=f\r\n\r\n";
        let (file, needle) = Needle::new(1_000);
        // Behind what the search itself allocates of it when it is freed.
        let filler = vec![b'-'; 60_000];
        let form = Zeroizing::new([&head[..], &filler, file.as_bytes(), END.as_bytes()].concat());
        drop(file);
        let read = FormReader::new("b").push(&form).unwrap().unwrap();
        drop(form);
        assert!(needle.found().unwrap() > 0, "the search finds what was read");
        drop(read);
        assert_eq!(needle.found().unwrap(), 0);
    }

    #[actix_rt::test]
    async fn a_small_file_is_wiped() {
        let (file, needle) = Needle::new(1_000);
        let rest = Bytes::from_owner(Zeroizing::new([file.as_bytes(), END.as_bytes()].concat()));
        drop(file);
        let left = rest.len() as u64;
        let (mut file, length) = FormFile::open(ClientBody::none(), rest, left, "b").await.unwrap();
        assert_eq!(length, 1_000);
        let piece = file.next().await.unwrap().unwrap();
        assert_eq!(piece.len(), 1_000);
        drop(file);
        assert!(needle.found().unwrap() > 0, "the search finds what is stored");
        drop(piece);
        assert_eq!(needle.found().unwrap(), 0, "of a file that was stored");
    }

    #[test]
    fn what_was_kept_of_a_large_file_is_wiped() {
        let boundary = "b".repeat(70);
        let (file, needle) = Needle::new(72);
        let closing = format!("\r\n--{boundary}--\r\n");
        let mut end = CountedEnd::new(&boundary, (72 + closing.len()) as u64).unwrap();
        for piece in file.as_bytes().chunks(10) {
            end.push(Bytes::from_owner(Zeroizing::new(piece.to_vec()))).unwrap();
        }
        drop(file);
        assert!(needle.found().unwrap() > 0, "the search finds what is kept");
        drop(end);
        assert_eq!(needle.found().unwrap(), 0);
    }
}
