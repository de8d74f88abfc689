//! Tags of a copy: the request's, or the source's, as one header that every storage takes.

use http::{HeaderMap, HeaderValue, Method};

use super::asked::{Directive, TAGGING};
use super::source::Source;
use crate::backend::Forward;
use crate::gate::Admitted;
use crate::s3::error::{Code, S3Error};
use crate::s3::uri::encode;
use crate::s3::xml::tags::parse_tags;

const HEADER: &str = "x-amz-tagging";
const COUNT: &str = "x-amz-tagging-count";

/// What goes to the storage beside a copy. None: the source has no tags that the storage tells of, and none are asked for.
///
/// # Errors
/// InvalidArgument for another directive; the storage's, when it has tags and does not give them: a copy without them would
/// have lost something quietly.
pub async fn of_copy(admitted: &Admitted, source: &Source) -> Result<Option<HeaderValue>, S3Error> {
    let tagged = has_tags(&source.meta.headers);
    match Directive::from_header(&admitted.headers, TAGGING)? {
        Directive::Replace => {
            let given = admitted.headers.get(HEADER).cloned();
            Ok(given.or_else(|| tagged.then(|| HeaderValue::from_static(""))))
        }
        Directive::Copy if tagged => of_source(admitted, source).await.map(Some),
        Directive::Copy => Ok(None),
    }
}

/// Whether the storage says that an object has tags.
#[must_use]
pub fn has_tags(headers: &HeaderMap) -> bool {
    headers.get(COUNT).is_some_and(|count| count.as_bytes() != b"0")
}

async fn of_source(admitted: &Admitted, source: &Source) -> Result<HeaderValue, S3Error> {
    let mut query = vec![("tagging".to_owned(), String::new())];
    query.extend(source.meta.version_id.iter().map(|version| ("versionId".to_owned(), version.clone())));
    let request = Forward {
        method: Method::GET,
        bucket: source.bucket.backend_bucket.clone(),
        key: Some(source.key.clone()),
        query,
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    let told = source.backend.forward(request).await.map_err(|error| admitted.backend_failed(error))?;
    as_header(&told.body)
        .ok_or_else(|| S3Error::with(Code::InternalError, "The storage's tags cannot be read."))
}

/// The document that GetObjectTagging gives, as the header of a new object.
#[must_use]
pub fn as_header(document: &[u8]) -> Option<HeaderValue> {
    let pair = |(name, value): (String, String)| {
        format!("{}={}", encode(name.as_bytes(), false), encode(value.as_bytes(), false))
    };
    let pairs: Vec<String> = parse_tags(document).ok()?.into_iter().map(pair).collect();
    HeaderValue::from_str(&pairs.join("&")).ok()
}
