//! The framing of `aws-chunked` bodies: `hex size [;extensions] CRLF data CRLF`, a chunk of size 0, trailer lines, an empty line.
//!
//! Chunk signatures are skipped over, not checked.

use bytes::{Buf, Bytes};

/// No size line or trailer line that a gateway sends comes near this many bytes.
const LINE: usize = 4096;

/// What is wrong with a framed body.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// A line without its end within [`LINE`] bytes, or a size that is no hexadecimal number.
    #[error("malformed chunk header or trailer")]
    Line,
    /// Data that is not followed by CRLF, or bytes after the last empty line.
    #[error("malformed end of a chunk")]
    End,
}

#[derive(Debug)]
enum State {
    Size,
    Data(u64),
    DataEnd(usize),
    Trailer,
    Done,
}

/// An incremental reader of one body.
#[derive(Debug)]
pub struct Deframer {
    state: State,
    line: Vec<u8>,
    trailers: Vec<(String, String)>,
}

impl Default for Deframer {
    fn default() -> Self {
        Self { state: State::Size, line: Vec::new(), trailers: Vec::new() }
    }
}

impl Deframer {
    /// Gives the data within `input` to `out`, slice by slice, without copying.
    ///
    /// # Errors
    /// At the first byte that breaks the framing.
    pub fn feed(&mut self, mut input: Bytes, mut out: impl FnMut(Bytes)) -> Result<(), FrameError> {
        while !input.is_empty() {
            match &mut self.state {
                State::Size => {
                    if let Some(line) = self.take_line(&mut input)? {
                        let digits = line.split(';').next().unwrap_or_default();
                        let size = u64::from_str_radix(digits, 16).map_err(|_| FrameError::Line)?;
                        self.state = if size == 0 { State::Trailer } else { State::Data(size) };
                    }
                }
                State::Data(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    out(input.split_to(n));
                    *left -= n as u64;
                    if *left == 0 {
                        self.state = State::DataEnd(0);
                    }
                }
                State::DataEnd(seen) => {
                    if input.get_u8() != b"\r\n"[*seen] {
                        return Err(FrameError::End);
                    }
                    *seen += 1;
                    if *seen == 2 {
                        self.state = State::Size;
                    }
                }
                State::Trailer => {
                    if let Some(line) = self.take_line(&mut input)? {
                        if line.is_empty() {
                            self.state = State::Done;
                        } else {
                            let (name, value) = line.split_once(':').ok_or(FrameError::Line)?;
                            self.trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                        }
                    }
                }
                State::Done => return Err(FrameError::End),
            }
        }
        Ok(())
    }

    /// The trailers of a body that has ended, or nothing if it has not.
    pub fn finish(self) -> Option<Vec<(String, String)>> {
        matches!(self.state, State::Done).then_some(self.trailers)
    }

    fn take_line(&mut self, input: &mut Bytes) -> Result<Option<String>, FrameError> {
        while !input.is_empty() {
            let byte = input.get_u8();
            if byte == b'\n' && self.line.last() == Some(&b'\r') {
                self.line.pop();
                let line = String::from_utf8(std::mem::take(&mut self.line)).map_err(|_| FrameError::Line)?;
                return Ok(Some(line));
            }
            self.line.push(byte);
            if self.line.len() > LINE {
                return Err(FrameError::Line);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    const FRAMED: &[u8] =
        b"5\r\nhello\r\n6;chunk-signature=00\r\n world\r\n0\r\nx-amz-checksum-crc64nvme: AAAAAAAAAAA=\r\n\r\n";

    fn split_at_every(step: usize) -> (Vec<u8>, Option<Vec<(String, String)>>) {
        let mut deframer = Deframer::default();
        let mut data = Vec::new();
        for piece in FRAMED.chunks(step) {
            deframer.feed(Bytes::from_static(piece), |b| data.extend_from_slice(&b)).unwrap();
        }
        (data, deframer.finish())
    }

    #[test]
    fn any_split_gives_the_same_data_and_trailers() {
        for step in 1..=FRAMED.len() {
            let (data, trailers) = split_at_every(step);
            assert_eq!(data, b"hello world");
            let expected = vec![("x-amz-checksum-crc64nvme".to_owned(), "AAAAAAAAAAA=".to_owned())];
            assert_eq!(trailers, Some(expected));
        }
    }

    #[test]
    fn a_body_cut_short_has_no_end() {
        let mut deframer = Deframer::default();
        deframer.feed(Bytes::from_static(&FRAMED[..FRAMED.len() - 2]), |_| {}).unwrap();
        assert_eq!(deframer.finish(), None);
    }

    #[test]
    fn a_wrong_size_is_an_error() {
        for body in [&b"4\r\nhello\r\n"[..], b"zz\r\n", b"0\r\n\r\nmore"] {
            let mut deframer = Deframer::default();
            assert!(deframer.feed(Bytes::from_static(body), |_| {}).is_err());
        }
    }
}
