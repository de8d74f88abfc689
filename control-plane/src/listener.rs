//! The gRPC listener: TLS 1.3 with client certificates, and connections that carry their peer's identity.
//!
//! Hybrid key exchange (X25519MLKEM768) comes first, since intermediate keys cross these connections. No resumption:
//! every connection proves its certificate anew.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

use crate::{Error, identity::Identity, registry::Registry, tls::Current};

/// Handshakes at the same time; more wait in the kernel's queue.
const HANDSHAKES: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection from a node whose certificate was verified.
pub(crate) struct NodeStream {
    inner: TlsStream<TcpStream>,
    identity: Arc<Identity>,
}

impl Connected for NodeStream {
    type ConnectInfo = Arc<Identity>;

    fn connect_info(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// The TLS side of the listener, with the certificate that is current when a connection comes in.
pub(crate) fn tls(registry: &Registry, certificate: Arc<Current>) -> Result<Arc<ServerConfig>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Internal(format!("TLS: {error}"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(registry.authority().certificate_der()?).map_err(|error| failed(&error))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| failed(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed(&error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Accepts until `out` is closed; hands over connections of nodes that are known.
pub(crate) async fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    registry: Arc<Registry>,
    out: mpsc::Sender<io::Result<NodeStream>>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = out.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: others must end before this works again.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, registry, out) =
            (TlsAcceptor::from(Arc::clone(&config)), Arc::clone(&registry), out.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(stream, &acceptor, &registry)).await {
                Ok(Ok(stream)) => drop(out.send(Ok(stream)).await),
                Ok(Err(error)) => tracing::warn!(target: "audit", %error, "a node's connection was refused"),
                Err(_) => tracing::debug!("a handshake took too long"),
            }
            drop(permit);
        });
    }
}

async fn handshake(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    registry: &Registry,
) -> Result<NodeStream, Error> {
    let refused = |error: io::Error| Error::Unauthenticated(format!("TLS handshake: {error}"));
    stream.set_nodelay(true).map_err(refused)?;
    let inner = acceptor.accept(stream).await.map_err(refused)?;
    let certificate = inner.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or_else(|| Error::Unauthenticated("no certificate".to_owned()))?;
    let identity = Identity::from_certificate(certificate)?;
    // One that is revoked comes in to be told so, by every service: a node that only finds no connection goes on with what it has.
    match identity.check(registry) {
        Ok(()) | Err(Error::Revoked) => {}
        Err(refused) => return Err(refused),
    }
    Ok(NodeStream { inner, identity: Arc::new(identity) })
}
