//! `response-*` parameters of GetObject and HeadObject: headers that the client wants in the answer.

use crate::s3::error::{Code, S3Error};
use crate::s3::request::Query;
use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES, HeaderName,
};

const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-content-type", CONTENT_TYPE),
    ("response-content-language", CONTENT_LANGUAGE),
    ("response-expires", EXPIRES),
    ("response-cache-control", CACHE_CONTROL),
    ("response-content-disposition", CONTENT_DISPOSITION),
    ("response-content-encoding", CONTENT_ENCODING),
];

/// The headers to set in the answer, over the object's own.
///
/// # Errors
/// InvalidArgument for a value that no header can carry (line ends: a header of its own could be smuggled in).
pub fn response_overrides(query: &Query) -> Result<Vec<(HeaderName, HeaderValue)>, S3Error> {
    let mut found = Vec::new();
    for (parameter, header) in OVERRIDES {
        if let Some(text) = query.get(parameter) {
            let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
                S3Error::with(Code::InvalidArgument, "The value cannot stand in a header.")
                    .field("ArgumentName", parameter)
            })?;
            found.push((header, value));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::response_overrides;
    use crate::s3::error::Code;
    use crate::s3::request::Query;

    #[test]
    fn values_are_taken_and_line_ends_are_not() {
        let query =
            Query::parse("response-content-type=text%2Fplain&response-expires=x&x-id=GetObject").unwrap();
        let found = response_overrides(&query).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0.as_str(), found[0].1.to_str().unwrap()), ("content-type", "text/plain"));
        let query = Query::parse("response-content-type=a%0d%0aset-cookie:b").unwrap();
        assert_eq!(response_overrides(&query).unwrap_err().code(), Code::InvalidArgument);
    }
}
