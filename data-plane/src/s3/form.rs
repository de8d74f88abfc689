//! POST object: the form that browsers send (AWS: "POST Object", "Creating an HTML form using SigV4"), up to the first byte
//! of its file. What comes after it is [`crate::body::form`]'s.
//!
//! A form is multipart/form-data (RFC 7578): fields first, the file last. Fields count in any case of their names, each
//! once; which of two would count is nobody's guess.

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem;
use zeroize::{Zeroize as _, Zeroizing};

use crate::s3::error::{Code, S3Error};

mod disposition;
pub mod policy;

/// Everything before the file, in bytes: S3's own limit.
pub const MAX_FIELDS: usize = 20 << 10;
/// The longest boundary (RFC 2046).
const MAX_BOUNDARY: usize = 70;

/// The fields of a form, names in lower case, values as they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of a field by its lower-case name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn add(&mut self, name: String, value: String) -> Result<(), S3Error> {
        if self.get(&name).is_some() {
            return Err(S3Error::invalid_argument(name, value, "The form has this field twice."));
        }
        self.0.push((name, value));
        Ok(())
    }
}

/// A form up to the first byte of its file.
#[derive(Debug)]
pub struct Form {
    /// The fields before the file.
    pub fields: Fields,
    /// The file's name without any directories; empty where the client gives none.
    pub filename: String,
    /// How many bytes of the body come before the file's first.
    pub head: u64,
    /// What of the file has come already, and perhaps of what follows it.
    pub rest: Bytes,
}

/// Stands for the file's name in the field `key`.
const FILENAME: &str = "${filename}";

/// S3's limit for a key, in bytes.
const MAX_KEY_BYTES: usize = 1_024;

impl Form {
    /// The object's key: the field `key` with `${filename}` filled in.
    ///
    /// # Errors
    /// InvalidArgument when there is no such field, KeyTooLongError before a name that stands in it often makes it large.
    pub fn key(&self) -> Result<String, S3Error> {
        let key = self.fields.get("key").filter(|key| !key.is_empty()).ok_or_else(|| missing("key"))?;
        let filled = key.matches(FILENAME).count().saturating_mul(self.filename.len());
        if filled > MAX_KEY_BYTES {
            return Err(S3Error::new(Code::KeyTooLongError));
        }
        Ok(key.replace(FILENAME, &self.filename))
    }
}

/// S3's error for a form without a field that it needs.
#[must_use]
pub fn missing(field: &'static str) -> S3Error {
    S3Error::invalid_argument(
        field,
        "",
        format!(
            "Bucket POST must contain a field named '{field}'.  If it is specified, please check the order of the fields."
        ),
    )
}

/// S3's error for a body that is no form.
#[must_use]
pub fn malformed(why: &str) -> S3Error {
    S3Error::new(Code::MalformedPOSTRequest).field("Reason", why)
}

/// The boundary that a Content-Type names.
///
/// # Errors
/// MalformedPOSTRequest.
pub fn boundary(content_type: &str) -> Result<String, S3Error> {
    let parameters = content_type.split_once(';').map_or("", |(_, parameters)| parameters);
    let boundary = disposition::parameters(parameters)
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value)
        .ok_or_else(|| malformed("Its Content-Type names no boundary."))?;
    let valid = (1..=MAX_BOUNDARY).contains(&boundary.len())
        && boundary.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && !boundary.ends_with(' ');
    if valid { Ok(boundary) } else { Err(malformed("Its boundary is not one.")) }
}

/// Reads a form as it comes, until its file begins.
pub struct FormReader {
    /// `CRLF--boundary`: what ends every part.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    /// Bytes of the body that have left the buffer.
    passed: u64,
    /// Where the search for the next delimiter, or for the end of a part's headers, goes on.
    searched: usize,
    stage: Stage,
    fields: Fields,
}

enum Stage {
    /// Before the first boundary.
    Start,
    /// Behind a boundary: its line's end, or the form's.
    Line,
    /// In a part's headers.
    Headers,
    /// In a field's value.
    Value(String),
}

impl Drop for FormReader {
    fn drop(&mut self) {
        // The beginning of the file is plaintext.
        self.buffer[..].zeroize();
    }
}

impl FormReader {
    /// A reader for the boundary that the request's Content-Type names.
    #[must_use]
    pub fn new(boundary: &str) -> FormReader {
        FormReader {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            buffer: BytesMut::new(),
            passed: 0,
            searched: 0,
            stage: Stage::Start,
            fields: Fields::default(),
        }
    }

    /// Takes the next bytes of the body; the form when its file begins in them.
    ///
    /// # Errors
    /// MalformedPOSTRequest, MaxPostPreDataLengthExceeded, InvalidArgument for a field that is there twice,
    /// IncorrectNumberOfFilesInPostRequest for a form that ends without a file.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Form>, S3Error> {
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.step()? {
                Step::Again => {}
                Step::More => {
                    if self.passed + self.buffer.len() as u64 > MAX_FIELDS as u64 {
                        return Err(too_long());
                    }
                    return Ok(None);
                }
                Step::File(filename) => {
                    if self.passed > MAX_FIELDS as u64 {
                        return Err(too_long());
                    }
                    return Ok(Some(Form {
                        fields: std::mem::take(&mut self.fields),
                        filename,
                        head: self.passed,
                        rest: Bytes::from_owner(Zeroizing::new(self.buffer.to_vec())),
                    }));
                }
            }
        }
    }

    fn step(&mut self) -> Result<Step, S3Error> {
        match std::mem::replace(&mut self.stage, Stage::Start) {
            Stage::Start => {
                // The first boundary begins the body, or follows an empty line.
                let openings = [self.delimiter.get(2..).unwrap_or_default(), &self.delimiter];
                let found = openings.iter().find(|opening| self.buffer.starts_with(opening));
                if let Some(length) = found.map(|opening| opening.len()) {
                    self.pass(length);
                    self.stage = Stage::Line;
                    return Ok(Step::Again);
                }
                if openings.iter().any(|opening| opening.starts_with(&self.buffer)) {
                    Ok(Step::More)
                } else {
                    Err(malformed("It does not begin with its boundary."))
                }
            }
            Stage::Line => {
                if self.buffer.starts_with(b"--") {
                    return Err(S3Error::new(Code::IncorrectNumberOfFilesInPostRequest));
                }
                let blanks = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                match self.buffer.get(blanks..).unwrap_or_default() {
                    [b'\r', b'\n', ..] => {
                        self.pass(blanks + 2);
                        self.stage = Stage::Headers;
                        Ok(Step::Again)
                    }
                    [] | [b'\r'] | [b'-'] => {
                        self.stage = Stage::Line;
                        Ok(Step::More)
                    }
                    _ => Err(malformed("Something follows a boundary on its line.")),
                }
            }
            Stage::Headers => self.headers(),
            Stage::Value(name) => match self.find(0) {
                Some(end) => {
                    let value = self.buffer.get(..end).unwrap_or_default().to_vec();
                    let value = String::from_utf8(value).map_err(|_| malformed("A field is not UTF-8."))?;
                    self.fields.add(name, value)?;
                    self.pass(end + self.delimiter.len());
                    self.stage = Stage::Line;
                    Ok(Step::Again)
                }
                None => {
                    self.stage = Stage::Value(name);
                    Ok(Step::More)
                }
            },
        }
    }

    fn headers(&mut self) -> Result<Step, S3Error> {
        let from = self.searched.saturating_sub(3);
        let window = self.buffer.get(from..).unwrap_or_default();
        let Some(end) = memmem::find(window, b"\r\n\r\n").map(|at| from + at) else {
            self.searched = self.buffer.len();
            self.stage = Stage::Headers;
            return Ok(Step::More);
        };
        let headers = self.buffer.get(..end).unwrap_or_default();
        let headers =
            std::str::from_utf8(headers).map_err(|_| malformed("A part's headers are not UTF-8."))?;
        let part = disposition::of(headers)?;
        self.pass(end + 4);
        if part.name == "file" {
            return Ok(Step::File(part.filename));
        }
        // An empty value's delimiter begins with the line end that ends the headers.
        self.stage = Stage::Value(part.name);
        Ok(Step::Again)
    }

    /// The next delimiter at or after `least`.
    fn find(&mut self, least: usize) -> Option<usize> {
        let from = self.searched.saturating_sub(self.delimiter.len()).max(least);
        let found = memmem::find(self.buffer.get(from..)?, &self.delimiter);
        self.searched = self.buffer.len();
        found.map(|at| from + at)
    }

    fn pass(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.passed += bytes as u64;
        self.searched = 0;
    }
}

enum Step {
    Again,
    More,
    File(String),
}

fn too_long() -> S3Error {
    S3Error::new(Code::MaxPostPreDataLengthExceeded).field("MaxSizeAllowed", MAX_FIELDS.to_string())
}

#[cfg(test)]
mod tests;
