//! Reads a document as a stream of closed elements. There are no DTDs, no entities beyond the five, no deep nesting, and
//! what is not known is skipped: clients send elements that came after this was written.

use crate::s3::error::{Code, S3Error};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The deepest nesting: S3's own documents have four levels.
const MAX_DEPTH: usize = 16;
/// The most elements in a document: 10,000 parts with every field there is.
const MAX_ELEMENTS: usize = 160_000;
/// The longest text of one element, in bytes.
const MAX_TEXT: usize = 8 * 1024;

/// Reads `body`, of at most `limit` bytes, whose root must be `root`. `closed` is called at each element's end with the
/// local names from below the root to the element itself, and the element's text.
///
/// # Errors
/// MalformedXML, also for an empty body, MaxMessageLengthExceeded above `limit`, and what `closed` gives.
pub(crate) fn read(
    body: &[u8],
    limit: usize,
    root: &str,
    mut closed: impl FnMut(&[&str], &str) -> Result<(), S3Error>,
) -> Result<(), S3Error> {
    if body.len() > limit {
        return Err(
            S3Error::new(Code::MaxMessageLengthExceeded).field("MaxMessageLengthBytes", limit.to_string())
        );
    }
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(malformed());
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    reader.config_mut().expand_empty_elements = true;
    let mut path: Vec<(String, String)> = Vec::new();
    let mut elements = 0usize;
    let mut done = false;
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(start) => {
                elements += 1;
                let name = local(&start).to_owned();
                let wrong_root = path.is_empty() && (done || name != root);
                if wrong_root || path.len() == MAX_DEPTH || elements > MAX_ELEMENTS {
                    return Err(malformed());
                }
                path.push((name, String::new()));
            }
            Event::End(_) => {
                let (name, text) = path.pop().ok_or_else(malformed)?;
                if path.is_empty() {
                    done = true;
                    continue;
                }
                let mut names: Vec<&str> = path.iter().skip(1).map(|(name, _)| name.as_str()).collect();
                names.push(&name);
                closed(&names, &text)?;
            }
            Event::Text(piece) => append(&mut path, &piece.into_inner())?,
            Event::CData(piece) => append(&mut path, &piece.into_inner())?,
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref().map_err(|_| malformed())? {
                    Some(c) => c,
                    None => match &*reference.into_inner() {
                        "amp" => '&',
                        "lt" => '<',
                        "gt" => '>',
                        "quot" => '"',
                        "apos" => '\'',
                        _ => return Err(malformed()),
                    },
                };
                append(&mut path, resolved.encode_utf8(&mut [0; 4]))?;
            }
            Event::Decl(_) | Event::Comment(_) => {}
            Event::DocType(_) | Event::PI(_) | Event::Empty(_) => return Err(malformed()),
            Event::Eof => break,
        }
    }
    if done && path.is_empty() { Ok(()) } else { Err(malformed()) }
}

/// S3's error for a document that is not what it should be.
pub(crate) fn malformed() -> S3Error {
    S3Error::new(Code::MalformedXML)
}

fn local<'a>(start: &'a BytesStart<'_>) -> &'a str {
    let name: &str = start.name().into_inner();
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

fn append(path: &mut [(String, String)], piece: &str) -> Result<(), S3Error> {
    match path.last_mut() {
        // Text around the root is blank or wrong.
        None if piece.trim().is_empty() => Ok(()),
        Some((_, text)) if text.len() + piece.len() <= MAX_TEXT => {
            text.push_str(piece);
            Ok(())
        }
        _ => Err(malformed()),
    }
}
