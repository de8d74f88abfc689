//! The HTTP client under the SDK: HTTP/1.1 over rustls, connections kept, everything bounded.
//!
//! Our own because the SDK's brings a second connection pool and 17 s of compiling, tells a refused connection and a
//! broken answer apart only by its texts, reads answers of any size, and leaves their bytes, in which a plaintext key
//! stands, in memory as they are. Proxies of the environment (`HTTPS_PROXY`) are not used: a KMS is reached directly or
//! by a VPC endpoint.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_kms::config::RuntimeComponents;
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header::HOST, uri::Scheme};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::{connecting::Left, resilience::step};

/// A connection idle for longer is not used again: AWS closes them after a minute.
const IDLE: Duration = Duration::from_secs(45);

/// A kept connection that is not ready within this is given up.
const READY: Duration = Duration::from_millis(50);

/// Idle connections kept an origin.
const MOST_IDLE: usize = 16;

/// The longest answer, in bytes. KMS's and STS's have a few KiB.
const LONGEST: usize = 256 << 10;

/// The longest head of an answer.
const LONGEST_HEAD: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// No connection: nothing was sent.
    #[error("no connection to {0}: {1}")]
    Connect(String, String),
    /// Sent, but no whole answer in time.
    #[error("no answer of {0} in time")]
    Late(String),
    /// Sent, but the connection ended before the answer did, or it is none.
    #[error("no whole answer of {0}: {1}")]
    Answer(String, String),
}

/// Connections to the hosts that it was asked for. Cheap to clone.
#[derive(Clone)]
pub(super) struct Http {
    tls: TlsConnector,
    idle: Arc<Mutex<HashMap<String, Vec<Idle>>>>,
    /// Connections that nobody waited for to the end.
    left: Arc<Mutex<HashMap<String, LeftHere>>>,
}

/// To one origin.
type LeftHere = Left<SendRequest<SdkBody>, Broken>;

struct Idle {
    since: Instant,
    sender: SendRequest<SdkBody>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    pub(super) fn new(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(tls)), idle: Arc::default(), left: Arc::default() })
    }

    /// Sends one request and reads its whole answer. Sent again, over a new connection, only if a kept one turned out to be
    /// closed before a byte of it went out.
    ///
    /// # Errors
    /// As [`Broken`] says; each part within its time.
    pub(super) async fn send(
        &self,
        request: Request<SdkBody>,
        connect: Duration,
        answer: Duration,
    ) -> Result<Response<Bytes>, Broken> {
        let origin = Origin::of(request.uri())?;
        let mut request = request;
        if !request.headers().contains_key(HOST) {
            let host = HeaderValue::try_from(&origin.host_header)
                .map_err(|_| Broken::Connect(origin.host_header.clone(), "no host name".to_owned()))?;
            request.headers_mut().insert(HOST, host);
        }
        *request.uri_mut() = origin.path.clone();
        loop {
            let (mut sender, kept) = match self.take(&origin.key).await {
                Some(sender) => (sender, true),
                None => (self.connect(&origin, connect).await?, false),
            };
            let broken = |why: String| Broken::Answer(origin.host_header.clone(), why);
            let exchange = async {
                match sender.try_send_request(request).await {
                    Ok(response) => whole(response).await.map(Ok).map_err(broken),
                    Err(mut error) => match error.take_message() {
                        // Hyper gives it back only when nothing of it was sent.
                        Some(unsent) if kept => Ok(Err(unsent)),
                        _ => Err(broken(error.into_error().to_string())),
                    },
                }
            };
            match timeout(answer, exchange).await {
                Err(_) => return Err(Broken::Late(origin.host_header)),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(Err(unsent))) => request = unsent,
                Ok(Ok(Ok(response))) => {
                    step();
                    self.put(origin.key, sender);
                    return Ok(response);
                }
            }
        }
    }

    async fn take(&self, key: &str) -> Option<SendRequest<SdkBody>> {
        // Lets the connections see that the server closed them.
        tokio::task::yield_now().await;
        loop {
            let mut idle = {
                let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                all.get_mut(key)?.pop()?
            };
            let fresh = idle.since.elapsed() < IDLE && !idle.sender.is_closed();
            if fresh && matches!(timeout(READY, idle.sender.ready()).await, Ok(Ok(()))) {
                return Some(idle.sender);
            }
        }
    }

    fn put(&self, key: String, sender: SendRequest<SdkBody>) {
        if sender.is_closed() {
            return;
        }
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = all.entry(key).or_default();
        idle.retain(|idle| idle.since.elapsed() < IDLE && !idle.sender.is_closed());
        if idle.len() < MOST_IDLE {
            idle.push(Idle { since: Instant::now(), sender });
        }
    }

    async fn connect(&self, origin: &Origin, within: Duration) -> Result<SendRequest<SdkBody>, Broken> {
        let left = {
            let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(origin.key.clone()).or_default().clone()
        };
        let (tls, to) = (self.tls.clone(), origin.clone());
        let connected = left.connect(|| connected(tls, to, within)).await;
        connected.unwrap_or_else(|_| {
            Err(Broken::Connect(origin.host_header.clone(), "connecting ended".to_owned()))
        })
    }
}

/// A new connection, its TLS included, within its time.
async fn connected(
    tls: TlsConnector,
    origin: Origin,
    within: Duration,
) -> Result<SendRequest<SdkBody>, Broken> {
    let connecting = async {
        let stream = reach(&origin.host, origin.port, within).await?;
        stream.set_nodelay(true)?;
        if !origin.tls {
            return start(stream).await;
        }
        let name = ServerName::try_from(origin.host.clone()).map_err(io::Error::other)?;
        start(tls.connect(name, stream).await?).await
    };
    let failed = |why: String| Broken::Connect(origin.host_header.clone(), why);
    timeout(within, connecting)
        .await
        .map_err(|_| failed(format!("none within {} ms", within.as_millis())))?
        .map_err(|error| failed(error.to_string()))
}

/// The first of a host's addresses that takes the connection; one that is silent leaves time for the others.
async fn reach(host: &str, port: u16, within: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.take(8).collect();
    let each = within / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} is silent")),
        }
    }
    Err(last)
}

async fn start<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
) -> io::Result<SendRequest<SdkBody>> {
    let (sender, connection) = http1::Builder::new()
        .max_header_size(LONGEST_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // It ends with the last handle to it, or when the server closes; what was under way hears of it.
    tokio::spawn(connection);
    Ok(sender)
}

/// The answer with its body in one buffer, which is wiped when the last part of it is dropped.
async fn whole(response: Response<Incoming>) -> Result<Response<Bytes>, String> {
    let (head, mut body) = response.into_parts();
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 << 10));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
        if bytes.len() + data.len() > LONGEST {
            return Err(format!("longer than {LONGEST} bytes"));
        }
        if bytes.len() + data.len() > bytes.capacity() {
            // Grown by hand: a Vec that grows by itself leaves what it held behind.
            let mut larger = Zeroizing::new(Vec::with_capacity((bytes.len() + data.len()) * 2));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Response::from_parts(head, Bytes::from_owner(bytes)))
}

#[derive(Clone)]
struct Origin {
    tls: bool,
    host: String,
    port: u16,
    /// As signed: the port only where it is not the scheme's own.
    host_header: String,
    path: Uri,
    key: String,
}

impl Origin {
    fn of(uri: &Uri) -> Result<Self, Broken> {
        let wrong = || Broken::Connect(uri.to_string(), "no absolute http or https URL".to_owned());
        let host = uri.host().ok_or_else(wrong)?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        if !tls && uri.scheme() != Some(&Scheme::HTTP) {
            return Err(wrong());
        }
        let usual = if tls { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(usual);
        let host_header = if port == usual { host.to_owned() } else { format!("{host}:{port}") };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|_| wrong())?;
        let key = format!("{}{host}:{port}", if tls { "s:" } else { "" });
        Ok(Self { tls, host: host.trim_matches(['[', ']']).to_owned(), port, host_header, path, key })
    }
}

impl HttpClient for Http {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            http: self.clone(),
            connect: settings.connect_timeout().unwrap_or(super::CONNECT),
            answer: settings.read_timeout().unwrap_or(super::TOTAL),
        })
    }
}

#[derive(Debug)]
struct Connector {
    http: Http,
    connect: Duration,
    answer: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (http, connect, answer) = (self.http.clone(), self.connect, self.answer);
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let sent = http.send(request, connect, answer).await;
            let response = sent.map_err(|error| match error {
                Broken::Late(_) => ConnectorError::timeout(error.into()),
                Broken::Connect(..) => ConnectorError::io(error.into()).never_connected(),
                Broken::Answer(..) => ConnectorError::io(error.into()),
            })?;
            HttpResponse::try_from(response.map(SdkBody::from))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
