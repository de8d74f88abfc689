//! CompleteMultipartUpload: the client's list of parts.

use super::reader::{malformed, read};
use crate::body::checksum::{Algorithm, Checksum};
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::conditions::unquote;

/// The largest document, in bytes: 10,000 parts with a SHA-512 each stay below.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The most parts.
pub const MAX_PARTS: usize = 10_000;

/// A part as the client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// 1 to 10,000.
    pub number: u16,
    /// The ETag without quotes.
    pub etag: String,
    /// The checksum that the client repeats, if it does.
    pub checksum: Option<Checksum>,
}

#[derive(Default)]
struct Part {
    number: Option<u16>,
    etag: Option<String>,
    checksum: Option<Checksum>,
}

/// Reads the list: with or without namespace and declaration, ETags quoted, escaped or bare, unknown fields skipped.
///
/// # Errors
/// MalformedXML (no parts, too many, a field missing), InvalidPartOrder when numbers do not ascend, InvalidArgument for a
/// number out of range, a checksum that is none, and a second one.
pub fn parse_complete(body: &[u8]) -> Result<Vec<CompletedPart>, S3Error> {
    let mut parts: Vec<CompletedPart> = Vec::new();
    let mut part = Part::default();
    read(body, MAX_BYTES, "CompleteMultipartUpload", |path, text| {
        match path {
            ["Part", "PartNumber"] => once(&mut part.number, listed_number(text.trim())?)?,
            ["Part", "ETag"] => once(&mut part.etag, unquote(text).to_owned())?,
            ["Part", name] => {
                if let Some(algorithm) = Algorithm::ALL.iter().find(|algorithm| algorithm.element() == *name)
                    && !text.trim().is_empty()
                {
                    let checksum = Checksum::from_base64(*algorithm, text.trim());
                    once(&mut part.checksum, checksum.ok_or_else(invalid_checksum)?)
                        .map_err(|_| invalid_checksum())?;
                }
            }
            ["Part"] => {
                let Part { number: Some(number), etag: Some(etag), checksum } = std::mem::take(&mut part)
                else {
                    return Err(malformed());
                };
                if parts.len() == MAX_PARTS {
                    return Err(malformed());
                }
                if parts.last().is_some_and(|last| last.number >= number) {
                    return Err(S3Error::new(Code::InvalidPartOrder));
                }
                parts.push(CompletedPart { number, etag, checksum });
            }
            _ => {}
        }
        Ok(())
    })?;
    if parts.is_empty() { Err(malformed()) } else { Ok(parts) }
}

/// Reads a part's number, in XML or in a query.
///
/// # Errors
/// InvalidArgument unless it is 1 to 10,000.
pub fn part_number(text: &str) -> Result<u16, S3Error> {
    let number = if text.bytes().all(|b| b.is_ascii_digit()) { text.parse::<u16>().ok() } else { None };
    number.filter(|number| (1..=10_000).contains(number)).ok_or_else(|| {
        S3Error::invalid_argument(
            "partNumber",
            text.chars().take(64).collect::<String>(),
            "Part number must be an integer between 1 and 10000, inclusive.",
        )
    })
}

/// Reads a part's number in the list of parts.
fn listed_number(text: &str) -> Result<u16, S3Error> {
    match text.parse::<i64>() {
        Ok(..1) => Err(S3Error::invalid_argument("PartNumber", text, "PartNumber must be >= 1")),
        _ => part_number(text),
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), S3Error> {
    if slot.replace(value).is_some() { Err(malformed()) } else { Ok(()) }
}

fn invalid_checksum() -> S3Error {
    let text = "Invalid Base64 or multiple checksums present in request";
    S3Error::with(Code::InvalidArgument, text).field("ArgumentName", "Checksum")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{CompletedPart, MAX_BYTES, parse_complete};
    use crate::body::checksum::{Algorithm, Checksum};
    use crate::s3::error::Code;
    use proptest::prelude::proptest;
    use std::fmt::Write as _;

    fn code(body: &str) -> Code {
        parse_complete(body.as_bytes()).unwrap_err().code()
    }

    fn list(numbers: impl Iterator<Item = u32>) -> String {
        let mut body = String::from("<CompleteMultipartUpload>");
        for number in numbers {
            let _ = write!(
                body,
                "<Part><PartNumber>{number}</PartNumber><ETag>\"{}\"</ETag></Part>",
                "a".repeat(32)
            );
        }
        body + "</CompleteMultipartUpload>"
    }

    #[test]
    fn every_way_in_which_clients_write_it() {
        for etag in
            ["\"e\"", "&quot;e&quot;", "&#34;e&#34;", "&#x22;e&#x22;", "e", " \"e\"\n", "<![CDATA[\"e\"]]>"]
        {
            for (open, declaration) in [
                ("<CompleteMultipartUpload>", ""),
                (
                    "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
                ),
            ] {
                let body = format!(
                    "{declaration}{open}\n <Part><ETag>{etag}</ETag><PartNumber> 2 </PartNumber></Part>\
                     </CompleteMultipartUpload>\n"
                );
                let expected = CompletedPart { number: 2, etag: "e".to_owned(), checksum: None };
                assert_eq!(parse_complete(body.as_bytes()).unwrap(), [expected], "{body}");
            }
        }
        let prefixed = "<a:CompleteMultipartUpload xmlns:a=\"x\"><a:Part><a:PartNumber>1</a:PartNumber><a:ETag>e</a:ETag>\
                        </a:Part></a:CompleteMultipartUpload>";
        assert_eq!(parse_complete(prefixed.as_bytes()).unwrap().len(), 1);
    }

    /// Cases 17 and 24: checksums in the list are read, missing ones are not missed, unknown fields skipped.
    #[test]
    fn case_17_and_24_checksums_and_unknown_fields() {
        let value = Checksum::of(Algorithm::Sha256, b"x");
        let body = format!(
            "<CompleteMultipartUpload><New><Part>1</Part></New><Part><PartNumber>1</PartNumber><ETag>e</ETag>\
             <ChecksumSHA256>{}</ChecksumSHA256><ChecksumCRC32/><Later a=\"b\">x</Later></Part></CompleteMultipartUpload>",
            value.to_base64()
        );
        let parts = parse_complete(body.as_bytes()).unwrap();
        assert_eq!((parts.len(), parts[0].checksum), (1, Some(value)));
        assert_eq!(code(&body.replace(&value.to_base64(), "xx")), Code::InvalidArgument);
        let second =
            format!("<ChecksumSHA1>{}</ChecksumSHA1>", Checksum::of(Algorithm::Sha1, b"x").to_base64());
        assert_eq!(code(&body.replace("<ChecksumCRC32/>", &second)), Code::InvalidArgument);
    }

    /// Case 15: more than 1,000 parts.
    #[test]
    fn case_15_ten_thousand_parts() {
        assert_eq!(parse_complete(list(1..=10_000).as_bytes()).unwrap().len(), 10_000);
        assert_eq!(code(&list(1..=10_001)), Code::InvalidArgument);
    }

    #[test]
    fn what_is_wrong_gets_its_code() {
        assert_eq!(code(""), Code::MalformedXML);
        assert_eq!(code(&list([2, 1].into_iter())), Code::InvalidPartOrder);
        assert_eq!(code(&list([1, 1].into_iter())), Code::InvalidPartOrder);
        assert_eq!(code(&list([0].into_iter())), Code::InvalidArgument);
        let zero = parse_complete(list([0].into_iter()).as_bytes()).unwrap_err();
        assert_eq!(zero.message(), "PartNumber must be >= 1");
        assert_eq!(code(&" ".repeat(MAX_BYTES + 1)), Code::MaxMessageLengthExceeded);
        let good = list([1].into_iter());
        for bad in [
            list(std::iter::empty()),
            good.replace("<PartNumber>1</PartNumber>", ""),
            good.replace("</ETag>", ""),
            good.replace("CompleteMultipartUpload", "Other"),
            format!("{good}{good}"),
            format!("{good}x"),
            good[..good.len() - 5].to_owned(),
            format!("<!DOCTYPE x [<!ENTITY e \"e\">]>{good}"),
            good.replace("\"aaa", "&e;aaa"),
            format!("<CompleteMultipartUpload>{}", "<a>".repeat(100_000)),
        ] {
            assert_eq!(code(&bad), Code::MalformedXML, "{}", &bad[..bad.len().min(200)]);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = parse_complete(&body);
        }

        #[test]
        fn arbitrary_markup_never_panics(inner in "(<[a-zP]{0,4}/?>|</[a-zP]{0,4}>|&[#x0-9a-z]{0,8};?|<!\\[CDATA\\[|[ -~]{0,5}){0,20}") {
            let _ = parse_complete(format!("<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>").as_bytes());
        }
    }
}
