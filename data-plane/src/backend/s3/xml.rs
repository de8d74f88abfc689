//! The XML that servers answer with, read event by event, and the XML that they are sent.

use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;

use crate::backend::BackendError;

/// The longest document: 1,000 keys of 1,024 bytes, each byte percent-encoded and then some.
pub(super) const MAX_DOCUMENT: usize = 16 << 20;
/// The longest error.
pub(super) const MAX_ERROR: usize = 64 << 10;
/// The deepest nesting.
const MAX_DEPTH: usize = 8;

/// What the reader meets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node<'a> {
    /// An element begins.
    Open(&'a str),
    /// An element ends; the text directly in it, its name and its parent's.
    Close(&'a str, &'a str, String),
}

/// Reads a listing: a document of any other kind is no empty one, as an error or a page of HTML under the status 200.
pub(super) fn read_listing(
    document: &[u8],
    mut each: impl FnMut(Node<'_>) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let mut is_listing = None;
    let told = read(document, |node| {
        if let (Node::Open(name), None) = (&node, is_listing) {
            is_listing = Some(name.starts_with("List") && name.ends_with("Result"));
        }
        if is_listing == Some(true) { each(node) } else { Ok(()) }
    });
    if is_listing != Some(true) {
        super::answer::error_in_body(document)?;
        return Err(nonsense("an answer that is no listing"));
    }
    told
}

fn nonsense(what: impl std::fmt::Display) -> BackendError {
    BackendError::Protocol(format!("XML: {what}"))
}

/// Reads a document and hands its elements over, names without prefixes.
pub(super) fn read(
    document: &[u8],
    mut each: impl FnMut(Node<'_>) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let document = std::str::from_utf8(document).map_err(nonsense)?;
    let mut reader = Reader::from_str(document);
    let mut stack: Vec<(String, String)> = Vec::new();
    loop {
        match reader.read_event().map_err(nonsense)? {
            Event::Start(start) => {
                if stack.len() == MAX_DEPTH {
                    return Err(nonsense("nested too deeply"));
                }
                let name = start.local_name().as_ref().to_owned();
                each(Node::Open(&name))?;
                stack.push((name, String::new()));
            }
            Event::Empty(empty) => {
                let name = empty.local_name().as_ref().to_owned();
                each(Node::Open(&name))?;
                each(Node::Close(&name, parent(&stack), String::new()))?;
            }
            Event::End(_) => {
                let (name, text) = stack.pop().ok_or_else(|| nonsense("ends too often"))?;
                each(Node::Close(&name, parent(&stack), text))?;
            }
            Event::Text(text) => append(&mut stack, &text.xml10_content()),
            Event::CData(text) => append(&mut stack, &text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(nonsense)? {
                Some(character) => append(&mut stack, character.encode_utf8(&mut [0; 4])),
                None => {
                    let text =
                        resolve_predefined_entity(&reference).ok_or_else(|| nonsense("unknown entity"))?;
                    append(&mut stack, text);
                }
            },
            Event::Eof if stack.is_empty() => return Ok(()),
            Event::Eof => return Err(nonsense("cut")),
            Event::DocType(_) => return Err(nonsense("a document type")),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
        }
    }
}

fn parent(stack: &[(String, String)]) -> &str {
    stack.last().map_or("", |(name, _)| name)
}

fn append(stack: &mut [(String, String)], text: &str) {
    if let Some((_, so_far)) = stack.last_mut() {
        so_far.push_str(text);
    }
}

/// Code and message of an error document, if it is one.
pub(super) fn error(document: &[u8]) -> Option<(String, String)> {
    let (mut root, mut code, mut message) = (String::new(), String::new(), String::new());
    let outcome = read(document, |node| {
        match node {
            Node::Open(name) if root.is_empty() => root = name.to_owned(),
            Node::Close("Code", "Error", text) => code = text,
            Node::Close("Message", "Error", text) => message = text,
            _ => {}
        }
        Ok(())
    });
    (outcome.is_ok() && root == "Error").then_some((code, message))
}

/// Undoes `encoding-type=url`. Servers write a space as `%20` or as `+`, but a plus always as `%2B`.
pub(super) fn url_decode(text: &str) -> Result<String, BackendError> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(nonsense)?;
    Ok(decoded.into_owned())
}

/// Text for an element.
pub(super) fn escaped(text: &str) -> String {
    // Control characters can't stand in XML 1.0 as they are; S3 reads references to them.
    let mut out = String::with_capacity(text.len());
    for character in escape(text).chars() {
        if character.is_control() {
            out.push_str(&format!("&#x{:X};", u32::from(character)));
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_no_listing_is_no_empty_one() {
        let kind =
            |document: &str| read_listing(document.as_bytes(), |_| Ok(())).map_err(|error| error.to_string());
        assert_eq!(kind("<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"></ListBucketResult>"), Ok(()));
        assert_eq!(kind("<x:ListVersionsResult xmlns:x=\"x\"/>"), Ok(()));
        for other in ["", " ", "<?xml version=\"1.0\"?>", "<html><body>Please wait</body></html>", "<Other/>"]
        {
            assert!(kind(other).unwrap_err().contains("no listing"), "{other}");
        }
        let error = read_listing(b"<Error><Code>SlowDown</Code><Message>no</Message></Error>", |_| Ok(()))
            .unwrap_err();
        assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
        let error = read_listing(b"<Error><Code>NoSuchUpload</Code></Error>", |_| Ok(())).unwrap_err();
        assert!(error.is("NoSuchUpload"), "{error}");
        assert!(kind("<ListBucketResult><Contents>").unwrap_err().contains("cut"));
    }

    #[test]
    fn texts_with_references_and_sections() {
        let document = b"<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><a>1 &amp; &#x41;<![CDATA[<]]></a><b/></R>";
        let mut seen = Vec::new();
        read(document, |node| {
            if let Node::Close(name, parent, text) = node {
                seen.push(format!("{parent}/{name}={text}"));
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, ["R/a=1 & A<", "R/b=", "/R="]);
    }

    #[test]
    fn bad_documents_are_refused() {
        let deep = "<a>".repeat(100);
        for bad in ["<a>", "<a></b>", "<a>&evil;</a>", "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", &deep] {
            assert!(read(bad.as_bytes(), |_| Ok(())).is_err(), "{bad}");
        }
        assert!(read(b"\xff", |_| Ok(())).is_err());
    }

    #[test]
    fn errors() {
        let found = error(b"<Error><Code>NoSuchKey</Code><Message>a &lt; b</Message></Error>").unwrap();
        assert_eq!(found, ("NoSuchKey".to_owned(), "a < b".to_owned()));
        assert_eq!(error(b"<CompleteMultipartUploadResult/>"), None);
        assert_eq!(error(b"<html>"), None);
    }

    #[test]
    fn text_out_and_in() {
        assert_eq!(escaped("a<b>&\"\r\u{1}"), "a&lt;b&gt;&amp;&quot;&#13;&#x1;");
        assert_eq!(url_decode("a%20b+c%2B%C3%BC").unwrap(), "a b c+ü");
    }
}
