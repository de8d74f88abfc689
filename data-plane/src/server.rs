//! The listener for objects: hyper on actix's workers, one thread a core, each with backend connections of its own.
//!
//! docs/adr/0001-byte-path.md has the measurements behind this choice.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_server::Server;
use actix_service::{fn_factory, fn_service};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, error};

use crate::access_log::{Peer, logged};
use crate::descriptors::BLOCKING_THREADS;
use crate::node::Node;
use crate::pipeline::GATHERED;
use crate::tls::Certificates;
use crate::worker::{Backends, Worker};

/// Time for a request's headers, and for a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What one connection buffers, either way: large reads and writes are what saves CPU, small ones what bounds memory. A
/// write takes one frame more, a read at most twice this (the buffer may double once when a head came in pieces).
const BUFFER: usize = GATHERED;
/// A head beyond this is refused by the HTTP parser itself, with a bare 431. S3's own limit is far below and checked after:
/// what lies between is read so that it gets S3's own error, and no more, since nobody is known to be a client yet.
const HEAD_LIMIT: usize = 128 << 10;
const MAX_HEADERS: usize = 256;
/// How long a client may take nothing of an answer.
const STALL: Duration = Duration::from_secs(300);
const BACKLOG: u32 = 2_048;

/// Starts serving clients, each worker so many connections at once; the address is where it listens (port 0 in the config: any).
/// What comes beyond that waits in the kernel's queue.
///
/// # Errors
/// The socket's.
pub fn start(
    node: &Arc<Node>,
    certificates: Option<Arc<Certificates>>,
    connections: usize,
) -> io::Result<(Server, SocketAddr)> {
    let listener = listen(node.config.listen)?;
    let address = listener.local_addr()?;
    let shared = Arc::clone(node);
    let server = Server::build()
        .workers(node.config.workers)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .max_concurrent_connections(connections)
        .shutdown_timeout(node.config.drain_seconds)
        .disable_signals()
        .listen("s3", listener, move || {
            let node = Arc::clone(&shared);
            let certificates = certificates.clone();
            fn_factory(move || {
                let node = Arc::clone(&node);
                let certificates = certificates.clone();
                async move {
                    let backends = Backends::open(&node.config.backends).map_err(|error| {
                        error!(error, "a worker cannot open its backends");
                        node.fail("a worker cannot open its backends");
                    })?;
                    let worker = Rc::new(Worker { node, backends: Rc::new(backends) });
                    Ok::<_, ()>(fn_service(move |stream: TcpStream| {
                        connection(Rc::clone(&worker), certificates.clone(), stream)
                    }))
                }
            })
        })?
        .run();
    Ok((server, address))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

async fn connection(
    worker: Rc<Worker>,
    certificates: Option<Arc<Certificates>>,
    stream: TcpStream,
) -> Result<(), Infallible> {
    let _ = stream.set_nodelay(true);
    // A client that is gone, or takes nothing, must not hold a stream and its backend connection for ever.
    let socket = socket2::SockRef::from(&stream);
    let _ = socket.set_tcp_user_timeout(Some(STALL));
    let _ = socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(STALL));
    let metrics = Arc::clone(&worker.node.metrics);
    metrics.connected();
    let address = stream.peer_addr().ok();
    match certificates {
        None => serve(worker, Peer { address, tls: None }, stream).await,
        Some(certificates) => {
            match tokio::time::timeout(HEAD_TIMEOUT, certificates.acceptor().accept(stream)).await {
                Ok(Ok(stream)) => {
                    let tls = negotiated(stream.get_ref().1);
                    serve(worker, Peer { address, tls }, stream).await;
                }
                Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
                Err(_) => debug!("TLS handshake timed out"),
            }
        }
    }
    metrics.disconnected();
    Ok(())
}

/// Cipher suite and protocol as S3 names them.
fn negotiated(connection: &rustls::ServerConnection) -> Option<(String, &'static str)> {
    let version = match connection.protocol_version()? {
        rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
        rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "-",
    };
    Some((connection.negotiated_cipher_suite()?.suite().as_str()?.to_owned(), version))
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(worker: Rc<Worker>, peer: Peer, stream: S) {
    let peer = Rc::new(peer);
    let mut draining = worker.node.draining();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER)
        .max_header_size(HEAD_LIMIT)
        .max_headers(MAX_HEADERS)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let (worker, peer) = (Rc::clone(&worker), Rc::clone(&peer));
                async move { Ok::<_, Infallible>(logged(worker, peer, request).await) }
            }),
        );
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = draining.wait_for(|draining| *draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended with an error");
    }
}
