//! Connections to the server, kept alive between requests: one pool a worker, no locks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::config::S3Config;
use super::driven::Driven;
use super::framing::OutBody;
use crate::backend::BackendError;
use crate::pipeline::AHEAD;

/// Bytes read from a socket at a time. The next are read when these have been handed on.
const READ: usize = AHEAD;

/// What a connection for uploads gathers before it writes; it takes one frame more.
const WRITE: usize = 512 << 10;

/// The longest head of an answer.
const MAX_HEAD: usize = 64 << 10;

/// A connection that takes one request after another. Dropping it closes it.
pub(super) struct Connection {
    pub(super) sender: SendRequest<OutBody>,
    /// What makes it go.
    pub(super) driven: Driven,
    seen: Rc<Seen>,
    /// Whether it has served a request before: then the server may have closed it meanwhile.
    pub(super) reused: bool,
}

impl Connection {
    /// Bytes that came in so far.
    pub(super) fn received(&self) -> u64 {
        self.seen.received.get()
    }

    /// Whether the server stopped taking bytes: not all that was sent has arrived.
    pub(super) fn is_broken(&self) -> bool {
        self.seen.broken.get()
    }
}

/// What a connection carries: it decides what it buffers, and hyper has one figure for both ways.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    /// Long bodies to the server, short answers.
    Uploads,
    /// All else: long answers among them.
    Other,
}

/// The connections of one worker to one server, for one use.
pub(super) struct Pool {
    config: Rc<S3Config>,
    carries: Use,
    tls: Option<TlsConnector>,
    idle: RefCell<VecDeque<(Instant, Connection)>>,
}

impl Pool {
    pub(super) fn new(config: Rc<S3Config>, carries: Use) -> Result<Self, BackendError> {
        let tls = config
            .https
            .then(|| client_tls(config.ca_pem.as_deref()))
            .transpose()?
            .map(|tls| TlsConnector::from(Arc::new(tls)));
        Ok(Self { config, carries, tls, idle: RefCell::default() })
    }

    /// A connection that waited, the youngest first.
    pub(super) async fn idle(&self) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.idle.borrow_mut().pop_back()?;
            if since.elapsed() < self.config.keep_alive
                && !connection.sender.is_closed()
                && connection.sender.ready().await.is_ok()
            {
                connection.reused = true;
                return Some(connection);
            }
        }
    }

    /// Takes a connection back whose last answer was read to its end.
    pub(super) fn put(&self, connection: Connection) {
        if connection.sender.is_closed() || connection.is_broken() {
            return;
        }
        connection.driven.by_itself();
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|(since, _)| since.elapsed() >= self.config.keep_alive)
            || idle.len() >= self.config.max_idle.max(1)
        {
            idle.pop_front();
        }
        idle.push_back((Instant::now(), connection));
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Connection, BackendError> {
        let config = &self.config;
        let unreachable = |why: String| BackendError::Unavailable(format!("{}: {why}", config.authority()));
        let connecting = async {
            let host = config.host.trim_matches(['[', ']']);
            let stream = TcpStream::connect((host, config.port)).await?;
            stream.set_nodelay(true)?;
            let Some(tls) = &self.tls else { return Ok(Socket::Plain(stream)) };
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            Ok::<_, io::Error>(Socket::Tls(Box::new(tls.connect(name, stream).await?)))
        };
        let socket = timeout(config.connect_timeout, connecting)
            .await
            .map_err(|_| unreachable("no connection in time".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let seen = Rc::new(Seen::default());
        let io = TokioIo::new(Watched { socket, seen: Rc::clone(&seen) });
        let mut builder = http1::Builder::new();
        match self.carries {
            Use::Uploads => builder.max_buf_size(WRITE),
            Use::Other => builder.read_buf_exact_size(Some(READ)),
        };
        let (sender, connection) = builder
            .max_header_size(MAX_HEAD)
            .handshake(io)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let driven = Driven::start(connection.map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, "backend connection ended");
            }
        }));
        Ok(Connection { sender, driven, seen, reused: false })
    }
}

/// TLS to a server that one of these certificates (PEM) vouches for, or one of the system's.
///
/// # Errors
/// `Protocol` when there is none to trust.
pub fn client_tls(ca_pem: Option<&[u8]>) -> Result<ClientConfig, BackendError> {
    let unusable = |why: String| BackendError::Protocol(format!("TLS to the backend: {why}"));
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca_pem {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| unusable(format!("CA file: {error}")))?;
            roots.add(certificate).map_err(|error| unusable(format!("CA file: {error}")))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(unusable("no CA certificate to trust".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// What went over a connection.
#[derive(Default)]
struct Seen {
    /// Bytes that came in: whether one of an answer had arrived decides whether a request may be sent again.
    received: Cell<u64>,
    /// Whether a write failed.
    broken: Cell<bool>,
}

/// A socket whose writes end when the server takes no more, and whose reads go on: a server that refuses an upload answers
/// and closes without having read it, and hyper would throw the answer away with the first write that fails.
struct Watched {
    socket: Socket,
    seen: Rc<Seen>,
}

impl Watched {
    /// Lets what is written from now on go nowhere. What the server said, or that it said nothing, is for the reads to tell.
    fn written(&self, outcome: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Err(error))
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                self.seen.broken.set(true);
                Poll::Ready(Ok(length))
            }
            outcome => outcome,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let outcome = match &mut this.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        };
        this.seen.received.set(this.seen.received.get() + (buffer.filled().len() - before) as u64);
        outcome
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.seen.broken.get() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = match &mut this.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        };
        this.written(outcome, bytes.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = slices.iter().map(|slice| slice.len()).sum();
        if this.seen.broken.get() {
            return Poll::Ready(Ok(length));
        }
        let outcome = match &mut this.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Socket::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        };
        this.written(outcome, length)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(stream) => stream.is_write_vectored(),
            Socket::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.seen.broken.get() {
            return Poll::Ready(Ok(()));
        }
        match &mut this.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
