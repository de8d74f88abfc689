//! Sends requests and receives answers.
//!
//! Bodies up to 256 KiB are kept and sent once more when a connection that had waited in the pool turns out to be closed
//! before a byte of an answer. Larger ones cannot be repeated: they go with `Expect: 100-continue`, and their stream is
//! not polled before the server has said so, or has said nothing for a second.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout};

use super::config::{Checksum, S3Config};
use super::connection::{Connection, Pool, Use};
use super::framing::{Failure, Framed, Gate, OutBody, framed_length};
use super::progress::Progress;
use super::request::{Call, Payload, header_value};
use super::{answer, xml};
use crate::backend::{BackendError, ByteStream, LengthMismatch, StreamError, Upload};
use crate::pipeline::AHEAD;

/// Bodies up to this many bytes are collected before they are sent.
pub(super) const COLLECTED: u64 = 256 * 1024;

/// Bytes of an answer after which others have their turn.
const TURN: usize = AHEAD / 2;

/// How long a document may take in all.
const DOCUMENT_TIME: Duration = Duration::from_secs(120);

/// What a success means that comes before the body's end, or although the server stopped taking bytes.
const NOT_WHOLE: &str = "success for a body that was not taken whole";

/// One worker's way to one server.
pub(super) struct Client {
    pub(super) config: Rc<S3Config>,
    uploads: Rc<Pool>,
    pool: Rc<Pool>,
}

impl Client {
    pub(super) fn new(config: S3Config) -> Result<Self, BackendError> {
        let config = Rc::new(config);
        let pool = |carries| Ok::<_, BackendError>(Rc::new(Pool::new(config.clone(), carries)?));
        let (uploads, pool) = (pool(Use::Uploads)?, pool(Use::Other)?);
        Ok(Self { config, uploads, pool })
    }

    /// Sends a request without a body.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, BackendError> {
        self.send_whole(call, Bytes::new(), self.config.answer_timeout).await
    }

    /// Sends a request with a short body, at most twice: where the connection was pooled, it may have been closed meanwhile. A write with
    /// a condition goes out once: it may have been carried out all the same, and would not meet its own condition again.
    pub(super) async fn send_whole(
        &self,
        call: &Call<'_>,
        body: Bytes,
        wait: Duration,
    ) -> Result<Answer, BackendError> {
        let payload = if body.is_empty() { Payload::Empty } else { Payload::Unsigned };
        let mut request = call.sign(&self.config, payload)?;
        if !body.is_empty() || matches!(call.method, Method::PUT | Method::POST) {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if let Some(connection) = self.pool.idle().await {
            let before = connection.received();
            match self.exchange(connection, request.clone(), &body, wait).await {
                Err((BackendError::Unavailable(_), received))
                    if received == Some(before) && !is_conditional_write(call) => {}
                other => return other.map_err(|(error, _)| error),
            }
        }
        let connection = self.pool.connect().await?;
        self.exchange(connection, request, &body, wait).await.map_err(|(error, _)| error)
    }

    /// One attempt. An error that the connection itself had comes with the bytes it had received.
    async fn exchange(
        &self,
        mut connection: Connection,
        request: http::Request<()>,
        body: &Bytes,
        wait: Duration,
    ) -> Result<Answer, (BackendError, Option<u64>)> {
        let body = if body.is_empty() { OutBody::Empty } else { OutBody::Whole(Some(body.clone())) };
        match timeout(wait, connection.sender.send_request(request.map(|()| body))).await {
            Ok(Ok(response)) if connection.is_broken() && response.status().is_success() => {
                Err((BackendError::Protocol(NOT_WHOLE.to_owned()), None))
            }
            Ok(Ok(response)) => Ok(self.answer(response, connection, &self.pool)),
            Ok(Err(error)) => Err((lost(&error), Some(connection.received()))),
            Err(_) => Err((BackendError::Unavailable("no answer in time".to_owned()), None)),
        }
    }

    /// Sends an upload, collected or streamed by its length.
    pub(super) async fn send_upload(
        &self,
        mut call: Call<'_>,
        upload: Upload,
    ) -> Result<Answer, BackendError> {
        let checksum = self.config.used_checksum();
        if upload.length <= COLLECTED {
            let body = collect_upload(upload).await?;
            if let (Some(name), Some(value)) = (checksum.header(), checksum.of(&body)) {
                call.header(name, &value)?;
            }
            return self.send_whole(&call, body, self.config.answer_timeout).await;
        }
        let length = framed_length(checksum, upload.length);
        let payload = match checksum.header() {
            Some(name) => {
                call.header("x-amz-trailer", name)?;
                call.header("x-amz-decoded-content-length", &upload.length.to_string())?;
                let coding = match call.headers.get(CONTENT_ENCODING).map(HeaderValue::to_str) {
                    Some(Ok(kept)) => format!("aws-chunked,{kept}"),
                    _ => "aws-chunked".to_owned(),
                };
                call.header("content-encoding", &coding)?;
                Payload::UnsignedTrailer
            }
            None => Payload::Unsigned,
        };
        let mut request = call.sign(&self.config, payload)?;
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
        self.stream_upload(request, upload, checksum).await
    }

    async fn stream_upload(
        &self,
        request: http::Request<()>,
        upload: Upload,
        checksum: Checksum,
    ) -> Result<Answer, BackendError> {
        let mut connection = match self.uploads.idle().await {
            Some(connection) => connection,
            None => self.uploads.connect().await?,
        };
        let (gate, failure) = (Arc::new(Gate::default()), Failure::default());
        let progress = Rc::new(Progress::new(Instant::now()));
        progress.asked();
        let body = Framed::new(upload, checksum, gate.clone(), failure.clone(), progress.clone());
        let mut request = request.map(|()| OutBody::Stream(Box::new(body)));
        let opened = gate.clone();
        hyper::ext::on_informational(&mut request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                opened.open();
            }
        });
        let mut sending = std::pin::pin!(connection.sender.send_request(request));
        connection.driven.by_hand();
        let response = loop {
            let (deadline, expires) = progress.deadline(self.config.answer_timeout, self.config.idle_timeout);
            tokio::select! {
                response = connection.driven.until(&mut sending) => break response,
                () = sleep_until(deadline) => {
                    let (now, still) = progress.deadline(self.config.answer_timeout, self.config.idle_timeout);
                    if progress.is_asked() {
                        gate.open();
                        progress.taken();
                    } else if expires && still && now <= deadline {
                        return Err(BackendError::Unavailable("takes no more bytes, or answers none, in time".to_owned()));
                    }
                }
            }
        };
        // The source's own failure explains whatever happened to the connection then.
        if let Some(error) = failure.borrow_mut().take() {
            return Err(error);
        }
        match response {
            Ok(response) => {
                // An answer before the body's end: the rest will never be sent on this connection.
                let whole = progress.is_sent() && !connection.is_broken();
                if !whole && response.status().is_success() {
                    return Err(BackendError::Protocol(NOT_WHOLE.to_owned()));
                }
                let mut answer = self.answer(response, connection, &self.uploads);
                answer.body.reusable &= whole;
                Ok(answer)
            }
            Err(error) => Err(lost(&error)),
        }
    }

    fn answer(&self, response: http::Response<Incoming>, connection: Connection, pool: &Rc<Pool>) -> Answer {
        let (head, incoming) = response.into_parts();
        crate::access_log::note_storage(&head.headers);
        connection.driven.by_hand();
        let body = AnswerBody {
            incoming,
            connection: Some(connection),
            pool: Rc::clone(pool),
            idle: self.config.idle_timeout,
            turn: 0,
            reusable: true,
        };
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Sends a request and reads a short answer, an error included.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<(HeaderMap, Bytes), BackendError> {
        self.send(call).await?.successful(call).await?.collect().await
    }

    /// The same with a body that must arrive unaltered.
    pub(super) async fn call_with(
        &self,
        mut call: Call<'_>,
        body: String,
        wait: Duration,
    ) -> Result<(HeaderMap, Bytes), BackendError> {
        let body = Bytes::from(body);
        let checksum = self.config.used_checksum();
        match (checksum.header(), checksum.of(&body)) {
            (Some(name), Some(value)) => call.header(name, &value)?,
            _ => call.header("content-md5", &content_md5(&body))?,
        }
        call.header("content-type", "application/xml")?;
        self.send_whole(&call, body, wait).await?.successful(&call).await?.collect().await
    }
}

/// Whether to carry out a request a second time would find its condition broken by the first. A Complete may be
/// sent again: of an encrypted upload the gateway finds out what became of it.
fn is_conditional_write(call: &Call<'_>) -> bool {
    matches!(call.method, Method::PUT | Method::DELETE)
        && (call.headers.contains_key(IF_MATCH) || call.headers.contains_key(IF_NONE_MATCH))
}

pub(super) fn content_md5(body: &[u8]) -> String {
    use base64::Engine as _;
    use md5::Digest as _;
    base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(body))
}

async fn collect_upload(upload: Upload) -> Result<Bytes, BackendError> {
    let Upload { length, mut stream } = upload;
    let mismatch = || BackendError::Upload(Box::new(LengthMismatch { declared: length }));
    let mut body = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
    while let Some(piece) = stream.next().await.transpose()? {
        if (body.len() + piece.len()) as u64 > length {
            return Err(mismatch());
        }
        body.extend_from_slice(&piece);
    }
    if body.len() as u64 != length {
        return Err(mismatch());
    }
    Ok(body.freeze())
}

fn lost(error: &hyper::Error) -> BackendError {
    BackendError::Unavailable(format!("connection lost: {error}"))
}

/// An answer whose body has yet to come.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: AnswerBody,
}

impl Answer {
    /// Passes answers of success on and turns others into errors.
    pub(super) async fn successful(self, call: &Call<'_>) -> Result<Self, BackendError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let (status, headers) = (self.status, self.headers);
        // HEAD and 304 have no body; one that does not come in time leaves the status to speak.
        let text = self.body.collect(xml::MAX_ERROR).await.unwrap_or_default();
        Err(answer::error(call, status, &headers, &text))
    }

    async fn collect(self) -> Result<(HeaderMap, Bytes), BackendError> {
        let document = timeout(DOCUMENT_TIME, self.body.collect(xml::MAX_DOCUMENT)).await;
        let document =
            document.map_err(|_| BackendError::Unavailable("no whole answer in time".to_owned()))?;
        Ok((self.headers, document?))
    }
}

/// The body of an answer. Its connection goes back to the pool when it was read to the end, else it is closed.
pub(super) struct AnswerBody {
    incoming: Incoming,
    connection: Option<Connection>,
    pool: Rc<Pool>,
    idle: Duration,
    /// Bytes that came since others had their turn.
    turn: usize,
    reusable: bool,
}

impl AnswerBody {
    /// The next bytes. A server and a client that are both fast must not keep a worker to themselves, so that now and then
    /// others have their turn before a read.
    async fn next(&mut self) -> Option<Result<Bytes, StreamError>> {
        loop {
            if self.incoming.is_end_stream() {
                self.release();
                return None;
            }
            let Some(connection) = &self.connection else { return None };
            if self.turn >= TURN {
                self.turn = 0;
                tokio::task::yield_now().await;
            }
            let frame = connection.driven.until(self.incoming.frame());
            let frame = match timeout(self.idle, frame).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Some(Err(StreamError::Truncated(error.to_string()))),
                Ok(None) => {
                    self.release();
                    return None;
                }
                Err(_) => return Some(Err(StreamError::Truncated("no byte in time".to_owned()))),
            };
            if let Ok(data) = frame.into_data() {
                self.turn += data.len();
                if self.incoming.is_end_stream() {
                    self.release();
                }
                return Some(Ok(data));
            }
        }
    }

    fn release(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.reusable
        {
            self.pool.put(connection);
        }
    }

    /// The whole body, which must not be longer than `limit`.
    pub(super) async fn collect(mut self, limit: usize) -> Result<Bytes, BackendError> {
        let mut out = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece.map_err(|error| BackendError::Unavailable(error.to_string()))?;
            if out.len() + piece.len() > limit {
                return Err(BackendError::Protocol("an answer is longer than any should be".to_owned()));
            }
            out.extend_from_slice(&piece);
        }
        Ok(out.freeze())
    }

    /// The body as a stream of exactly `length` bytes.
    pub(super) fn into_stream(self, length: u64) -> ByteStream {
        Box::pin(stream::unfold(Some((self, length)), |state| async {
            let (mut body, left) = state?;
            match body.next().await {
                Some(Ok(piece)) if piece.len() as u64 <= left => {
                    let left = left - piece.len() as u64;
                    Some((Ok(piece), Some((body, left))))
                }
                Some(Ok(_)) => Some((Err(StreamError::Truncated("longer than announced".to_owned())), None)),
                Some(Err(error)) => Some((Err(error), None)),
                None if left > 0 => {
                    Some((Err(StreamError::Truncated(format!("{left} bytes missing"))), None))
                }
                None => None,
            }
        }))
    }
}

/// Adds metadata headers to a call.
pub(super) fn put_metadata<'a>(
    headers: &mut HeaderMap,
    metadata: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), BackendError> {
    for (name, value) in metadata {
        let name = HeaderName::from_bytes(format!("x-amz-meta-{name}").as_bytes())
            .map_err(|_| BackendError::s3(400, "InvalidArgument", "a metadata name is not a header name"))?;
        headers.insert(name, header_value(value)?);
    }
    Ok(())
}
