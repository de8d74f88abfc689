//! A small S3 client: one request a connection, signed in the header, bodies whole or by hand.

use std::net::SocketAddr;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub const REGION: &str = "eu-central-1";

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text between `<tag>` and `</tag>`.
    pub fn tag(&self, tag: &str) -> String {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap_or_else(|| panic!("no {tag}: {text}"));
        rest.split_once('<').unwrap().0.to_owned()
    }

    pub fn etag(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text());
        self
    }
}

/// Who asks, and where.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub access_key: String,
    pub secret_key: String,
}

impl Client {
    /// The same client at another address.
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// The headers that a request needs, Host included. `target` is path and query, already escaped.
    pub fn signed(&self, method: &str, target: &str, when: SystemTime) -> Vec<(String, String)> {
        self.signed_with(method, target, when, &[])
    }

    fn signed_with(
        &self,
        method: &str,
        target: &str,
        when: SystemTime,
        more: &[(&str, String)],
    ) -> Vec<(String, String)> {
        let identity = Credentials::new(&self.access_key, &self.secret_key, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("s3")
            .time(when)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let host = self.address.to_string();
        let url = format!("http://{host}{target}");
        let mut headers = vec![("host", host.as_str())];
        headers.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
        let signable =
            SignableRequest::new(method, &url, headers.iter().copied(), SignableBody::UnsignedPayload)
                .unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        let (signed, _) = instructions.into_parts();
        let mut all: Vec<_> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        all.extend(signed.iter().map(|header| (header.name().to_owned(), header.value().to_owned())));
        all
    }

    /// One request, signed now. A transport failure is an error: the node was killed, or is gone.
    pub async fn try_send(&self, method: &str, target: &str, body: Bytes) -> Result<Answer, String> {
        self.try_send_at(method, target, body, SystemTime::now()).await
    }

    /// One request, signed at `when`.
    pub async fn try_send_at(
        &self,
        method: &str,
        target: &str,
        body: Bytes,
        when: SystemTime,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in self.signed(method, target, when) {
            request = request.header(name, value);
        }
        exchange(self.address, request.body(Full::new(body)).unwrap()).await
    }

    pub async fn send(&self, method: &str, target: &str, body: impl Into<Bytes>) -> Answer {
        self.try_send(method, target, body.into()).await.unwrap()
    }

    /// One request with more headers, signed with them.
    pub async fn send_with(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, String)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in self.signed_with(method, target, SystemTime::now(), headers) {
            request = request.header(name, value);
        }
        exchange(self.address, request.body(Full::new(body.into())).unwrap()).await.unwrap()
    }

    pub async fn put(&self, target: &str, body: impl Into<Bytes>) -> Answer {
        self.send("PUT", target, body).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, Bytes::new()).await
    }

    /// Begins a multipart upload; gives its id.
    pub async fn create_upload(&self, target: &str) -> String {
        self.send("POST", &format!("{target}?uploads="), Bytes::new()).await.ok().tag("UploadId")
    }

    /// Completes a multipart upload of parts 1, 2, … with these ETags.
    pub async fn complete(&self, target: &str, upload_id: &str, etags: &[String]) -> Answer {
        let parts: String = (1..)
            .zip(etags)
            .map(|(number, etag)| {
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            })
            .collect();
        let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        self.send("POST", &format!("{target}?uploadId={upload_id}"), document).await
    }

    /// A request's head as bytes, for bodies that are sent by hand.
    pub fn head(&self, method: &str, target: &str, more: &str) -> String {
        let headers: String = self
            .signed(method, target, SystemTime::now())
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        format!("{method} {target} HTTP/1.1\r\n{headers}{more}\r\n")
    }
}

/// Sends a request over a connection of its own and reads the whole answer.
pub async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    drop(sender);
    connection.abort();
    Ok(Answer { status: head.status, headers: head.headers, body })
}

/// Bytes that differ from piece to piece: `size` of them, told apart by `seed`.
pub fn bytes(size: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(size);
    out.into()
}
