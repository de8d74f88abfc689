#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{Form, FormReader, MAX_FIELDS, boundary};
use crate::s3::error::{Code, S3Error};
use proptest::prelude::{ProptestConfig, proptest};

const BOUNDARY: &str = "xYz";

fn field(name: &str, value: &str) -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn file(disposition: &str) -> String {
    format!(
        "--{BOUNDARY}\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; {disposition}\r\n\r\nbytes"
    )
}

/// Reads a body that comes in pieces of `piece` bytes, until the file begins.
fn read(body: &str, piece: usize) -> Result<Option<(Form, usize)>, S3Error> {
    let mut reader = FormReader::new(BOUNDARY);
    let mut taken = 0;
    for bytes in body.as_bytes().chunks(piece) {
        taken += bytes.len();
        if let Some(form) = reader.push(bytes)? {
            return Ok(Some((form, taken)));
        }
    }
    Ok(None)
}

fn code(body: &str) -> Code {
    read(body, body.len()).unwrap_err().code()
}

#[test]
fn a_name_that_stands_in_the_key_often_does_not_make_it_large() {
    let name = "n".repeat(2_000);
    let body =
        [field("key", &"${filename}".repeat(800)), file(&format!("name=\"file\"; filename=\"{name}\""))]
            .concat();
    let (form, _) = read(&body, body.len()).unwrap().unwrap();
    assert_eq!(form.key().unwrap_err().code(), Code::KeyTooLongError);
}

#[test]
fn fields_come_before_the_file() {
    let body = [
        field("KEY", "a/${filename}"),
        field("empty", ""),
        field("x-amz-meta-ä", "two\r\nlines\r\n--xY"),
        file("name=\"File\"; filename=\"C:\\dir\\na\\\"me.txt\""),
    ]
    .concat();
    for piece in [1, 2, 3, 7, body.len()] {
        let (form, taken) = read(&body, piece).unwrap().unwrap();
        let fields: Vec<_> = form.fields.iter().collect();
        let wanted = [("key", "a/${filename}"), ("empty", ""), ("x-amz-meta-ä", "two\r\nlines\r\n--xY")];
        assert_eq!(fields, wanted);
        assert_eq!(form.key().unwrap(), "a/na\"me.txt");
        assert_eq!(form.head as usize + form.rest.len(), taken);
        assert_eq!(form.head as usize, body.len() - "bytes".len());
        assert!("bytes".as_bytes().starts_with(&form.rest));
    }
}

#[test]
fn names_of_files() {
    for (disposition, name) in [
        ("name=file; filename=plain.txt", "plain.txt"),
        ("name=\"file\"; filename=\"/tmp/x/y z.txt\"", "y z.txt"),
        ("name=\"file\"; filename=\"a\"; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ("name=\"file\"; filename=\"a;b=c\"", "a;b=c"),
        ("name=\"file\"", ""),
    ] {
        let (form, _) = read(&file(disposition), 9).unwrap().unwrap();
        assert_eq!(form.filename, name, "{disposition}");
    }
}

#[test]
fn what_is_no_form_is_refused() {
    assert_eq!(code("hello"), Code::MalformedPOSTRequest);
    assert_eq!(code("--xYzQ\r\n"), Code::MalformedPOSTRequest);
    assert_eq!(code("--xYz\r\nContent-Type: a/b\r\n\r\nv\r\n--xYz--"), Code::MalformedPOSTRequest);
    assert_eq!(code(&field("", "v")), Code::MalformedPOSTRequest);
    assert_eq!(code("--xYz\r\nContent-Disposition: attachment; name=a\r\n\r\n"), Code::MalformedPOSTRequest);
    let twice = field("name=a", "1").replace("\"name=a\"", "\"a\"; name=\"b\"");
    assert_eq!(code(&twice), Code::MalformedPOSTRequest);
    let repeated = [field("key", "1"), field("Key", "2"), file("name=file")].concat();
    assert_eq!(code(&repeated), Code::InvalidArgument);
    assert_eq!(code(&format!("{}--xYz--\r\n", field("key", "1"))), Code::IncorrectNumberOfFilesInPostRequest);
    assert!(read(&field("key", "1"), 5).unwrap().is_none());
}

#[test]
fn what_comes_before_the_file_is_bounded() {
    let fits = [field("a", &"v".repeat(MAX_FIELDS - 300)), file("name=file")].concat();
    assert!(read(&fits, 1000).unwrap().is_some());
    for piece in [1000, usize::MAX >> 1] {
        let long = [field("a", &"v".repeat(MAX_FIELDS)), file("name=file")].concat();
        assert_eq!(read(&long, piece).unwrap_err().code(), Code::MaxPostPreDataLengthExceeded);
    }
    let endless = format!("--xYz\r\nContent-Disposition: {}", "x".repeat(MAX_FIELDS));
    assert_eq!(code(&endless), Code::MaxPostPreDataLengthExceeded);
}

#[test]
fn boundaries() {
    assert_eq!(boundary("multipart/form-data; boundary=abc").unwrap(), "abc");
    assert_eq!(boundary("multipart/form-data; charset=utf-8; BOUNDARY=\"a b:c\"").unwrap(), "a b:c");
    for bad in
        ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"a \""]
    {
        assert_eq!(boundary(bad).unwrap_err().code(), Code::MalformedPOSTRequest, "{bad}");
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    assert!(boundary(&long).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_reads_the_same(body in "(--xYz(\r\n|--)?|Content-Disposition: form-data; name=|file|\"|\r\n|[a-z]){0,30}", piece in 1usize..9) {
        let whole = read(&body, body.len().max(1));
        let split = read(&body, piece);
        match (whole, split) {
            (Ok(Some((a, _))), Ok(Some((b, _)))) => assert_eq!((a.fields, a.filename, a.head), (b.fields, b.filename, b.head)),
            (Ok(None), Ok(None)) => {}
            (Err(a), Err(b)) => assert_eq!(a.code(), b.code()),
            (a, b) => panic!("{a:?} and {b:?}"),
        }
    }
}
