//! A part's Content-Disposition, and parameters as it and Content-Type write them.

use super::malformed;
use crate::s3::error::S3Error;
use crate::s3::uri::{Plus, decode};

/// A part's name, and that of the file in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// In lower case.
    pub name: String,
    /// Without directories.
    pub filename: String,
}

/// Reads the headers of a part.
///
/// # Errors
/// MalformedPOSTRequest when they name no field.
pub(super) fn of(headers: &str) -> Result<Part, S3Error> {
    let disposition = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let disposition = disposition.ok_or_else(|| malformed("A part has no Content-Disposition."))?;
    let (kind, rest) = disposition.split_once(';').unwrap_or((disposition, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(malformed("A part is no form-data."));
    }
    let (mut field, mut plain, mut extended) = (None, None, None);
    for (name, value) in parameters(rest) {
        let slot = match name.to_ascii_lowercase().as_str() {
            "name" => &mut field,
            "filename" => &mut plain,
            "filename*" => &mut extended,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(malformed("A part's Content-Disposition says something twice."));
        }
    }
    let name = field.filter(|name| !name.is_empty()).ok_or_else(|| malformed("A part has no name."))?;
    let filename = extended.and_then(|value| utf8(&value)).or(plain).unwrap_or_default();
    Ok(Part { name: name.to_ascii_lowercase(), filename: last_component(&filename).to_owned() })
}

/// `; a=b; c="d"` as pairs. A quoted value may have a `"` behind a backslash; any other backslash is itself, since
/// browsers send whole Windows paths.
pub(super) fn parameters(text: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let mut value = String::new();
        let Some(quoted) = after.strip_prefix('"') else {
            let (plain, left) = after.split_at(after.find(';').unwrap_or(after.len()));
            rest = left;
            return Some((name.trim(), plain.trim().to_owned()));
        };
        let mut left = quoted.char_indices().peekable();
        let mut end = quoted.len();
        while let Some((at, c)) = left.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' if left.peek().is_some_and(|(_, next)| *next == '"') => {
                    value.push('"');
                    left.next();
                }
                other => value.push(other),
            }
        }
        rest = quoted.get(end..).unwrap_or_default();
        Some((name.trim(), value))
    })
}

/// RFC 5987's `UTF-8''percent%20coded`.
fn utf8(value: &str) -> Option<String> {
    let mut pieces = value.splitn(3, '\'');
    let charset = pieces.next()?;
    let (_, coded) = (pieces.next()?, pieces.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    String::from_utf8(decode(coded.as_bytes(), Plus::Literal)?).ok()
}

fn last_component(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or_default()
}
