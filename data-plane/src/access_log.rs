//! The access log: a line a request in S3's own format (AWS: "Amazon S3 server access log format"), written when the last
//! byte of the answer has gone out or the client has gone away, so that bytes and times are what they were.
//!
//! After S3's fields come three of the gateway's: the object's stored size, the storage's request ids, and the gateway's
//! operation. Nothing that signs is in a line: such parameters of a presigned URL are blotted out.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tracing::{Level, enabled, info};

use crate::auth::SignatureVersion;
use crate::gate;
use crate::reply::{BodyError, ReplyBody};
use crate::s3::uri::encode;
use crate::worker::Worker;

mod fields;
use fields::{operation, quoted, uri};

/// Request ids of the storage that a line has at most: a large upload's many parts are requests of their own.
const MAX_IDS: usize = 8;
/// The longest of them, in bytes.
const MAX_ID: usize = 128;

/// Who a connection comes from.
#[derive(Debug, Default)]
pub struct Peer {
    /// The client's address.
    pub address: Option<SocketAddr>,
    /// Cipher suite and protocol of TLS.
    pub tls: Option<(String, &'static str)>,
}

/// What is learned of a request on its way. Nothing of it is secret.
#[derive(Debug, Default, Clone)]
pub struct Noted {
    /// The gateway's own id of the request.
    pub request_id: String,
    /// S3's name of the operation.
    pub operation: &'static str,
    /// The bucket, as clients name it.
    pub bucket: Option<String>,
    /// The bucket's owner: the tenant.
    pub owner: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// The access key id that signed.
    pub requester: Option<String>,
    /// Where the signature was: `AuthHeader` or `QueryString`.
    pub auth_type: Option<&'static str>,
    /// By which scheme.
    pub signature: Option<SignatureVersion>,
    /// S3's code of the error that was answered.
    pub error: Option<String>,
    /// Plaintext bytes of the object.
    pub size: Option<u64>,
    /// Its bytes on the storage.
    pub stored: Option<u64>,
    /// The storage's request ids.
    pub storage_ids: Vec<String>,
}

tokio::task_local! {
    static NOTED: RefCell<Noted>;
}

/// Notes something for the line of the request that is being served; nothing happens outside of one, or without a log.
pub fn note(learn: impl FnOnce(&mut Noted)) {
    let _ = NOTED.try_with(|noted| {
        if let Ok(mut noted) = noted.try_borrow_mut() {
            learn(&mut noted);
        }
    });
}

/// Notes an object's sizes.
pub fn note_sizes(size: u64, stored: u64) {
    note(|noted| (noted.size, noted.stored) = (Some(size), Some(stored)));
}

/// Notes what the storage calls a request of the gateway.
pub fn note_storage(headers: &HeaderMap) {
    note(|noted| {
        let id = headers.get("x-amz-request-id").and_then(|id| id.to_str().ok());
        if let Some(id) = id.filter(|id| id.len() <= MAX_ID && noted.storage_ids.len() < MAX_IDS) {
            noted.storage_ids.push(encode(id.as_bytes(), false));
        }
    });
}

/// Serves a request, and sees to its line.
pub async fn logged(worker: Rc<Worker>, peer: Rc<Peer>, request: Request<Incoming>) -> Response<Logged> {
    if !enabled!(target: "access", Level::INFO) {
        return gate::handle(worker, request).await.map(|body| Logged { body, line: None });
    }
    let mut line = Box::new(Line::begin(peer, &request));
    let served = async {
        let reply = gate::handle(worker, request).await;
        (reply, NOTED.with(|noted| noted.borrow().clone()))
    };
    let (reply, noted) = NOTED.scope(RefCell::default(), served).await;
    line.noted = noted;
    line.answered(reply.status(), reply.headers());
    reply.map(|body| Logged { body, line: Some(line) })
}

/// An answer's body that knows how much of it went out.
pub struct Logged {
    body: ReplyBody,
    line: Option<Box<Line>>,
}

impl Body for Logged {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(line)) = (&frame, &mut this.line) {
            line.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            info!(target: "access", "{}", line.text());
        }
    }
}

/// A line that is being gathered.
struct Line {
    started: Instant,
    at: time::OffsetDateTime,
    peer: Rc<Peer>,
    method: Method,
    uri: String,
    query: String,
    host: String,
    referrer: String,
    agent: String,
    noted: Noted,
    status: StatusCode,
    version_id: String,
    turn_around: Duration,
    sent: u64,
}

impl Line {
    fn begin(peer: Rc<Peer>, request: &Request<Incoming>) -> Line {
        let text = |name| request.headers().get(name).map(|value: &http::HeaderValue| value.as_bytes());
        let version = if request.version() == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
        Line {
            started: Instant::now(),
            at: time::OffsetDateTime::now_utc(),
            peer,
            method: request.method().clone(),
            uri: quoted(Some(format!("{} {} {version}", request.method(), uri(request.uri())).as_bytes())),
            query: request.uri().query().unwrap_or_default().to_owned(),
            host: quoted(text(header::HOST)).trim_matches('"').replace(' ', "%20"),
            referrer: quoted(text(header::REFERER).map(fields::referrer).as_deref()),
            agent: quoted(text(header::USER_AGENT)),
            noted: Noted::default(),
            status: StatusCode::OK,
            version_id: String::new(),
            turn_around: Duration::ZERO,
            sent: 0,
        }
    }

    fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = status;
        self.turn_around = self.started.elapsed();
        let version = headers.get("x-amz-version-id").map_or(&b""[..], http::HeaderValue::as_bytes);
        self.version_id = encode(version, false);
    }

    /// The line, with `-` for what there is not.
    fn text(&self) -> String {
        let noted = &self.noted;
        let or_none = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let (cipher, tls) = match &self.peer.tls {
            Some((cipher, version)) => (cipher.as_str(), *version),
            None => ("-", "-"),
        };
        let ids = noted.storage_ids.join(",");
        let fields = [
            or_none(noted.owner.as_deref()),
            or_none(noted.bucket.as_deref()),
            fields::moment(self.at),
            self.peer.address.map_or_else(|| "-".to_owned(), |address| address.ip().to_string()),
            or_none(noted.requester.as_deref()),
            or_none(Some(&noted.request_id)),
            operation(noted.operation, &self.method, &self.query, noted.key.is_some()),
            or_none(noted.key.as_deref().map(|key| encode(key.as_bytes(), true)).as_deref()),
            self.uri.clone(),
            self.status.as_u16().to_string(),
            or_none(noted.error.as_deref()),
            number(Some(self.sent).filter(|sent| *sent > 0)),
            number(noted.size),
            self.started.elapsed().as_millis().to_string(),
            self.turn_around.as_millis().to_string(),
            self.referrer.clone(),
            self.agent.clone(),
            or_none(Some(&self.version_id)),
            gate::HOST_ID.to_owned(),
            match noted.signature {
                Some(SignatureVersion::V2) => "SigV2",
                Some(SignatureVersion::V4) => "SigV4",
                None => "-",
            }
            .to_owned(),
            cipher.to_owned(),
            or_none(noted.auth_type),
            or_none(Some(&self.host)),
            tls.to_owned(),
            // Access points and ACLs do not exist here.
            "-".to_owned(),
            "-".to_owned(),
            number(noted.stored),
            or_none(Some(&ids)),
            or_none(Some(noted.operation)),
        ];
        let mut line = String::with_capacity(512);
        for (at, field) in fields.iter().enumerate() {
            let _ = write!(line, "{}{field}", if at > 0 { " " } else { "" });
        }
        line
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Line, Noted, Peer, SignatureVersion, quoted};
    use http::{HeaderMap, HeaderValue, Method, StatusCode};
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    fn line(noted: Noted) -> Line {
        Line {
            started: Instant::now(),
            at: time::OffsetDateTime::from_unix_timestamp(1_549_411_238).unwrap(),
            peer: Rc::new(Peer { address: Some("192.0.2.3:4711".parse().unwrap()), tls: None }),
            method: Method::GET,
            uri: quoted(Some(b"GET /b/k HTTP/1.1")),
            query: String::new(),
            host: "h:1".to_owned(),
            referrer: quoted(None),
            agent: quoted(Some(b"S3Console/0.4 \"x\"")),
            noted,
            status: StatusCode::OK,
            version_id: String::new(),
            turn_around: Duration::from_millis(3),
            sent: 0,
        }
    }

    #[test]
    fn a_line_has_s3s_fields_in_s3s_order() {
        let noted = Noted {
            request_id: "RID".to_owned(),
            operation: "GetObject",
            bucket: Some("b".to_owned()),
            owner: Some("owner".to_owned()),
            key: Some("a b/ü".to_owned()),
            requester: Some("AKID".to_owned()),
            auth_type: Some("AuthHeader"),
            signature: Some(SignatureVersion::V4),
            error: None,
            size: Some(10),
            stored: Some(348),
            storage_ids: vec!["S1".to_owned(), "S2".to_owned()],
        };
        let mut line = line(noted);
        line.sent = 10;
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-version-id", HeaderValue::from_static("v 1"));
        line.answered(StatusCode::PARTIAL_CONTENT, &headers);
        let text = line.text();
        let (before, after) = text.split_once(" \"-\" ").unwrap();
        assert!(
            before.starts_with(
                "owner b [06/Feb/2019:00:00:38 +0000] 192.0.2.3 AKID RID REST.GET.OBJECT a%20b/%C3%BC \
                 \"GET /b/k HTTP/1.1\" 206 - 10 10 "
            ),
            "{before}"
        );
        assert_eq!(
            after,
            "\"S3Console/0.4 %22x%22\" v%201 sealgate SigV4 - AuthHeader h:1 - - - 348 S1,S2 GetObject"
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let text = line(Noted { operation: "Unknown", ..Noted::default() }).text();
        assert!(
            text.starts_with("- - [06/Feb/2019:00:00:38 +0000] 192.0.2.3 - - REST.GET.BUCKET - "),
            "{text}"
        );
        assert!(text.ends_with("- sealgate - - - h:1 - - - - - Unknown"), "{text}");
    }
}
