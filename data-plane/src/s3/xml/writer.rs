//! Writes documents: elements in order, text escaped.

use crate::s3::error::{XMLNS, escape_into};
use crate::s3::uri::encode_into;

/// How keys are written in listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEncoding {
    /// As XML text. What XML 1.0 cannot carry becomes a character reference that strict parsers refuse, as S3's does.
    Plain,
    /// `encoding-type=url`: percent-encoded, `/` kept. A space is `%20`, which every client decodes (`+` is not).
    Url,
}

impl KeyEncoding {
    /// Reads `encoding-type`.
    ///
    /// # Errors
    /// InvalidArgument for anything but `url`.
    pub fn parse(value: Option<&str>) -> Result<KeyEncoding, crate::s3::S3Error> {
        match value {
            None | Some("") => Ok(KeyEncoding::Plain),
            Some("url") => Ok(KeyEncoding::Url),
            Some(other) => Err(crate::s3::S3Error::invalid_argument(
                "encoding-type",
                other,
                "Invalid Encoding Method specified in Request",
            )),
        }
    }
}

/// A document being written.
pub struct Writer {
    out: String,
    root: &'static str,
}

impl Writer {
    /// Starts a document in S3's namespace.
    #[must_use]
    pub fn document(root: &'static str) -> Writer {
        let mut out = String::with_capacity(1024);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        out.push_str(root);
        out.push_str(" xmlns=\"");
        out.push_str(XMLNS);
        out.push_str("\">");
        Writer { out, root }
    }

    /// An element with text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape_into(&mut self.out, text);
        self.close(name);
    }

    /// An element with text, if there is any.
    pub fn option(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// An element with a number.
    pub fn number(&mut self, name: &str, number: u64) {
        self.text(name, &number.to_string());
    }

    /// An element with `true` or `false`.
    pub fn flag(&mut self, name: &str, flag: bool) {
        self.text(name, if flag { "true" } else { "false" });
    }

    /// An element with a key or a piece of one.
    pub fn key(&mut self, name: &str, key: &str, encoding: KeyEncoding) {
        self.open(name);
        match encoding {
            KeyEncoding::Plain => escape_into(&mut self.out, key),
            KeyEncoding::Url => encode_into(&mut self.out, key.as_bytes(), true),
        }
        self.close(name);
    }

    /// An ETag, quoted. `etag` has no quotes.
    pub fn etag(&mut self, etag: &str) {
        self.open("ETag");
        self.out.push_str("&quot;");
        escape_into(&mut self.out, etag);
        self.out.push_str("&quot;");
        self.close("ETag");
    }

    /// An element with elements.
    pub fn nest(&mut self, name: &str, inside: impl FnOnce(&mut Writer)) {
        self.open(name);
        inside(self);
        self.close(name);
    }

    /// Text of the root itself.
    pub fn raw_text(&mut self, text: &str) {
        escape_into(&mut self.out, text);
    }

    /// Ends the document.
    #[must_use]
    pub fn finish(mut self) -> String {
        let root = self.root;
        self.close(root);
        self.out
    }

    fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }
}
