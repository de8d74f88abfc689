//! Answers that may take long: after 20 s they begin, so that no proxy and no client gives up. The status is 200 then, and an
//! error stands in the body, as S3 does for CompleteMultipartUpload and for copies.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::StatusCode;

use crate::gate::HOST_ID;
use crate::reply::{self, Reply, ReplyBody};
use crate::s3::error::{Code, S3Error};

/// When the answer has to begin; then a space every so often.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const SPACE_EVERY: Duration = Duration::from_secs(10);

/// Answers with what `work` gives. `path` and `request_id` are the request's, for an error in the body.
///
/// # Errors
/// Those of `work`, when it ends in time.
pub async fn answer(
    path: String,
    request_id: String,
    work: impl Future<Output = Result<Reply, S3Error>> + 'static,
) -> Result<Reply, S3Error> {
    answer_within(ANSWER_WITHIN, path, request_id, work).await
}

async fn answer_within(
    limit: Duration,
    path: String,
    request_id: String,
    work: impl Future<Output = Result<Reply, S3Error>> + 'static,
) -> Result<Reply, S3Error> {
    // Detached: a client that hangs up does not leave a half-made object behind.
    let mut work =
        actix_rt::spawn(work).map(|joined| joined.unwrap_or_else(|_| Err(S3Error::new(Code::InternalError))));
    match tokio::time::timeout(limit, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            let spaces = stream::unfold(Some(work), move |work| {
                let (path, request_id) = (path.clone(), request_id.clone());
                async move {
                    let mut work = work?;
                    match tokio::time::timeout(SPACE_EVERY, &mut work).await {
                        Err(_) => Some((Ok(Bytes::from_static(b" ")), Some(work))),
                        Ok(done) => Some((Ok(late(done, &path, &request_id)), None)),
                    }
                }
            });
            let start = stream::once(async {
                Ok(Bytes::from_static(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
            });
            let mut reply =
                reply::with(StatusCode::OK, ReplyBody::unsized_stream(Box::pin(start.chain(spaces))));
            reply::set(reply.headers_mut(), "content-type", "application/xml");
            Ok(reply)
        }
    }
}

/// A document without its declaration, which went out before the spaces.
fn late(done: Result<Reply, S3Error>, path: &str, request_id: &str) -> Bytes {
    let document = match done {
        Ok(reply) => match reply.into_body() {
            ReplyBody::Full(Some(bytes)) => bytes,
            _ => Bytes::new(),
        },
        Err(error) => Bytes::from(error.to_xml(path, request_id, HOST_ID)),
    };
    match document.iter().position(|byte| *byte == b'\n') {
        Some(end) if document.starts_with(b"<?xml") => document.slice(end + 1..),
        _ => document,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use futures_util::StreamExt as _;
    use http::StatusCode;

    use super::answer_within;
    use crate::reply::ReplyBody;
    use crate::s3::error::{Code, S3Error};

    #[actix_rt::test]
    async fn an_error_in_the_body_names_the_request() {
        let (fail, failed) = tokio::sync::oneshot::channel();
        let work = async {
            let _ = failed.await;
            Err(S3Error::new(Code::InternalError))
        };
        let (path, id) = ("/bucket/key".to_owned(), "0123456789ABCDEF".to_owned());
        let reply = answer_within(Duration::ZERO, path, id, work).await.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        fail.send(()).unwrap();
        let ReplyBody::Stream { pieces, .. } = reply.into_body() else { unreachable!("it began early") };
        let pieces: Vec<_> = pieces.map(Result::unwrap).collect().await;
        let document = String::from_utf8(pieces.concat()).unwrap();
        assert!(
            document.starts_with("<?xml") && document.contains("<Code>InternalError</Code>"),
            "{document}"
        );
        assert!(document.contains("<RequestId>0123456789ABCDEF</RequestId>"), "{document}");
    }
}
