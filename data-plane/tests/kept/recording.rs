//! A client's recording: a text file, a JSON object a line, as `ops/compat/clients/record.py` writes it.
//!
//! Bodies are kept as what they were made of: a file's bytes follow from its size, aws-chunked frames and HTTP chunks from
//! their lengths, chunk signatures from the request's. That what comes out is what was on the wire, a digest says.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::head::Head;
use crate::sigv4::{Chain, hash};

/// All that one client was seen to send.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// The client's name.
    pub client: String,
    /// Its version.
    pub version: String,
    /// Its runs.
    #[serde(skip)]
    pub sessions: Vec<Session>,
}

/// One run of it, against a gateway that was empty before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// `http`, or `https` where TLS ended before the recorder.
    pub scheme: String,
    /// In the order sent.
    #[serde(skip)]
    pub requests: Vec<Request>,
}

/// A request, and what became of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Unix seconds.
    pub at: u64,
    /// The gateway's name of the operation.
    pub operation: String,
    /// The answer's status.
    pub status: u16,
    head: Vec<String>,
    /// None where it has none, or was never asked for it.
    pub body: Option<Body>,
    /// What the answer gave that later requests may name.
    #[serde(default)]
    pub gave: Gave,
    /// The object's bytes that were answered.
    pub answer: Option<Bytes>,
}

/// Names that a gateway makes up.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct Gave {
    /// Of an object or a part, without quotes.
    pub etag: Option<String>,
    /// Of an upload.
    pub upload_id: Option<String>,
    /// Of a version.
    pub version_id: Option<String>,
}

/// Bytes, by their digest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bytes {
    /// How many.
    pub length: usize,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// A body: its content, and how it was framed.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Bytes of the file of this size …
    file: Option<u64>,
    /// … from here …
    #[serde(default)]
    from: u64,
    /// … so many; without it to the file's end.
    length: Option<u64>,
    /// The content itself.
    pub text: Option<String>,
    base64: Option<String>,
    /// aws-chunked: data frames as (bytes, how many of this size).
    frames: Option<Vec<(usize, usize)>>,
    /// Its trailers, without their signature.
    #[serde(default)]
    trailers: Vec<String>,
    /// They end in LF, and a CRLF follows them, as in AWS's own example.
    #[serde(default)]
    bare: bool,
    /// The frames' lengths are in upper-case digits.
    #[serde(default)]
    upper: bool,
    /// HTTP's own chunks, in the same way.
    chunks: Option<Vec<(usize, usize)>>,
    /// SHA-256 of what was on the wire.
    sha256: String,
}

impl Recording {
    /// Reads a file.
    pub fn read(path: &Path) -> Recording {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().unwrap();
        let mut recording: Recording = parse(path, 0, first);
        for (at, line) in lines {
            if line.starts_with("{\"scheme\"") {
                recording.sessions.push(parse(path, at, line));
            } else {
                recording.sessions.last_mut().unwrap().requests.push(parse(path, at, line));
            }
        }
        recording
    }
}

impl Request {
    /// Its head.
    pub fn head(&self) -> Head {
        Head::new(self.head.clone())
    }

    /// For messages: what it is, in short.
    pub fn title(&self) -> String {
        format!("{} ({})", self.head[0], self.operation)
    }
}

impl Body {
    /// What was sent, without framing.
    pub fn content(&self) -> Vec<u8> {
        match (self.file, &self.text, &self.base64) {
            (Some(size), None, None) => file_bytes(size, self.from, self.length.unwrap_or(size - self.from)),
            (None, Some(text), None) => text.clone().into_bytes(),
            (None, None, Some(text)) => BASE64_STANDARD.decode(text).unwrap(),
            _ => panic!("a body is of one of file, text and base64"),
        }
    }

    /// What goes over the wire after this head. A `spoiled` one has another byte in its content, and is framed, signed and
    /// summed as if it had not.
    pub fn wire(&self, head: &Head, spoiled: bool) -> Vec<u8> {
        let content = self.content();
        let (mut bytes, first) = match &self.frames {
            None => (content, 0),
            Some(frames) => self.framed(frames, &content, head),
        };
        if spoiled {
            bytes[first] ^= 1;
        }
        match &self.chunks {
            None => bytes,
            Some(chunks) => chunked(&bytes, chunks),
        }
    }

    /// Whether these bytes are what the client sent.
    pub fn is_as_recorded(&self, wire: &[u8]) -> bool {
        hash(wire) == self.sha256
    }

    /// Whether what its trailers say, or its frames' signatures, would be wrong for another content.
    pub fn is_proved(&self) -> bool {
        !self.trailers.is_empty()
    }

    /// In aws-chunked, and where the first byte of content is.
    fn framed(&self, frames: &[(usize, usize)], content: &[u8], head: &Head) -> (Vec<u8>, usize) {
        let mode = head.header("x-amz-content-sha256").unwrap();
        let mut chain = mode.starts_with("STREAMING-AWS4-HMAC-SHA256").then(|| Chain::of(head).unwrap());
        let mut out = Vec::with_capacity(content.len() + content.len() / 512 + 512);
        let mut first = 0;
        let mut left = content;
        for length in lengths(frames).chain([0]) {
            let data;
            (data, left) = left.split_at(length);
            let signature = chain.as_mut().map(|chain| format!(";chunk-signature={}", chain.chunk(data)));
            let digits = if self.upper { format!("{length:X}") } else { format!("{length:x}") };
            out.extend_from_slice(format!("{digits}{}\r\n", signature.unwrap_or_default()).as_bytes());
            if first == 0 {
                first = out.len();
            }
            out.extend_from_slice(data);
            if length > 0 {
                out.extend_from_slice(b"\r\n");
            }
        }
        assert!(left.is_empty(), "the frames are shorter than the content");
        let signed = chain.as_mut().filter(|_| mode.ends_with("-TRAILER"));
        let signature =
            signed.map(|chain| format!("x-amz-trailer-signature:{}", chain.trailers(&self.trailers)));
        for line in &self.trailers {
            out.extend_from_slice(format!("{line}{}", if self.bare { "\n" } else { "\r\n" }).as_bytes());
        }
        out.extend_from_slice(if self.bare { b"\r\n" } else { b"" });
        if let Some(line) = &signature {
            out.extend_from_slice(format!("{line}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        (out, first)
    }
}

fn parse<T: DeserializeOwned>(path: &Path, at: usize, line: &str) -> T {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{}:{}: {error}", path.display(), at + 1))
}

/// Bytes of the file of this size: a block that goes round, of SHA-256 of "sealgate kept <size> <number>" one after the other.
fn file_bytes(size: u64, from: u64, length: u64) -> Vec<u8> {
    // A prime: chunks and parts of any usual size differ from each other.
    const BLOCK: usize = 65_537;
    assert!(from + length <= size, "a body is of bytes that its file does not have");
    let digests = (0..=BLOCK / 32).map(|number| Sha256::digest(format!("sealgate kept {size} {number}")));
    let mut block = digests.collect::<Vec<_>>().concat();
    block.truncate(BLOCK);
    let (from, length) = (usize::try_from(from).unwrap() % BLOCK, usize::try_from(length).unwrap());
    let mut out = block.repeat((from + length) / BLOCK + 1);
    out.drain(..from);
    out.truncate(length);
    out
}

fn chunked(bytes: &[u8], chunks: &[(usize, usize)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 512 + 512);
    let mut left = bytes;
    for length in lengths(chunks) {
        let data;
        (data, left) = left.split_at(length);
        out.extend_from_slice(format!("{length:x}\r\n").as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
    assert!(left.is_empty(), "the chunks are shorter than what they hold");
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

fn lengths(runs: &[(usize, usize)]) -> impl Iterator<Item = usize> {
    runs.iter().flat_map(|(length, count)| std::iter::repeat_n(*length, *count))
}
