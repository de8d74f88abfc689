//! Answers that carry a secret: written from what is borrowed into one buffer, which is wiped once actix has copied it for its
//! connection. That copy, and what TLS makes of it, are the libraries'.

use std::io;

use actix_web::{HttpResponse, http::header, web::Bytes};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::Error;

/// 201 with a document that nobody on its way may keep.
pub(super) fn created(document: &impl Serialize) -> Result<HttpResponse, Error> {
    let body = Bytes::from_owner(written(document)?);
    Ok(HttpResponse::Created()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(header::ContentType::json())
        .body(body))
}

/// A buffer that grows leaves copies behind, so the document is measured first.
fn written(document: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |_| Error::Internal("an answer could not be written".to_owned());
    let mut length = Length(0);
    serde_json::to_writer(&mut length, document).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, document).map_err(failed)?;
    Ok(bytes)
}

/// How much is written to it.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use actix_web::{body::MessageBody as _, http::header};
    use serde::Serialize;

    use super::{created, written};
    use crate::memory::Needle;

    #[derive(Serialize)]
    struct Document<'a> {
        name: &'a str,
        secret: &'a str,
    }

    #[test]
    fn an_answer_is_wiped_when_it_was_sent() {
        let (secret, needle) = Needle::new(40);
        let answer = created(&Document { name: "node-\"1\"", secret: &secret }).unwrap();
        drop(secret);
        let headers = [header::CONTENT_TYPE, header::CACHE_CONTROL].map(|name| answer.headers().get(name));
        assert_eq!(headers.map(|value| value.unwrap().as_bytes()), [&b"application/json"[..], b"no-store"]);
        let body = answer.into_body().try_into_bytes().unwrap();
        assert!(body.starts_with(br#"{"name":"node-\"1\"","secret":""#), "{} bytes", body.len());
        assert!(needle.found().unwrap() > 0, "the search finds what is there");
        drop(body);
        assert_eq!(needle.found().unwrap(), 0, "of an answer that was sent");
    }

    #[test]
    fn its_buffer_never_grows() {
        let bytes = written(&Document { name: &"n\n".repeat(1_000), secret: "" }).unwrap();
        assert_eq!(bytes.len(), r#"{"name":"","secret":""}"#.len() + 3_000);
        assert_eq!(bytes.capacity(), bytes.len());
    }
}
