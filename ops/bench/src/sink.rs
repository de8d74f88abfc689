//! A backend that is just S3 enough for a gateway to work against, and cheap enough not to be what is measured.
//!
//! It takes plain and aws-chunked bodies, checks their framing, their decoded length and a CRC64NVME trailer, and keeps
//! what it must give back: bodies up to [`SMALL`] and bodies of keys that contain `keep`. All other bodies are counted
//! and dropped, so that a long run of uploads needs no memory. It checks no signature and has no durability; ETags
//! are counters in MD5's clothes and Last-Modified is a constant. It is for loopback only.

mod aws_chunked;
mod list;
mod objects;
mod request;
mod upload;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use objects::Buckets;

/// Bodies up to this many bytes are kept whatever their key is: a gateway's own records are among them.
pub const SMALL: u64 = 1 << 20;

/// Reads and writes of up to this many bytes a system call.
const BUFFER: usize = 1 << 20;

/// Serves on `address` until the process ends. Needs a `LocalSet` on a current-thread runtime.
///
/// # Errors
/// When the address cannot be bound, or accepting fails.
pub async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let buckets = Rc::new(RefCell::new(Buckets::default()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let buckets = buckets.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| request::answer(request, buckets.clone()));
            let mut server = hyper::server::conn::http1::Builder::new();
            server.max_buf_size(BUFFER);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                // A client that hangs up is no event for a sink, but a framing error would explain a wrong result.
                if !error.is_incomplete_message() {
                    eprintln!("sink: {error}");
                }
            }
        });
    }
}
