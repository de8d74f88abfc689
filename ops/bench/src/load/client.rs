//! One client: one connection, one request at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use tokio::net::TcpStream;

use super::{LoadError, Target, Times};

/// Bodies are this block over and over: it is never copied.
const BLOCK: usize = 256 << 10;
/// Reads and writes of up to this many bytes a system call.
const BUFFER: usize = 1 << 20;

/// A connection to the target.
pub(super) struct Client {
    target: Rc<Target>,
    sender: SendRequest<Repeated>,
    block: Bytes,
}

impl Client {
    pub(super) async fn connect(target: Rc<Target>) -> Result<Self, LoadError> {
        let stream = TcpStream::connect(&target.authority).await.map_err(transport)?;
        stream.set_nodelay(true).map_err(transport)?;
        let mut builder = Builder::new();
        builder.max_buf_size(BUFFER);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(transport)?;
        tokio::task::spawn_local(connection);
        Ok(Self { target, sender, block: block() })
    }

    pub(super) async fn create_bucket(&mut self) -> Result<(), LoadError> {
        let path = format!("/{}", self.target.bucket);
        let response = self.send("PUT", &path, 0).await?;
        // A bucket that was made by an earlier run is as good.
        let made = if response.status() == 409 {
            response.into_body()
        } else {
            ensure_ok("PUT", &path, response).await?
        };
        // Read to its end, or the connection cannot carry the next request.
        made.collect().await.map_err(transport)?;
        Ok(())
    }

    pub(super) async fn put(&mut self, key: &str, size: u64) -> Result<Times, LoadError> {
        let path = format!("/{}/{key}", self.target.bucket);
        let begin = Instant::now();
        let response = self.send("PUT", &path, size).await?;
        let head = begin.elapsed();
        ensure_ok("PUT", &path, response).await?.collect().await.map_err(transport)?;
        Ok(Times { head, whole: begin.elapsed() })
    }

    /// Reads an object; `check` compares each byte with what [`Client::put`] sent, else the length alone is compared.
    pub(super) async fn get(&mut self, key: &str, size: u64, check: bool) -> Result<Times, LoadError> {
        let path = format!("/{}/{key}", self.target.bucket);
        let begin = Instant::now();
        let response = self.send("GET", &path, 0).await?;
        let head = begin.elapsed();
        let mut body = ensure_ok("GET", &path, response).await?;
        let mut got = 0;
        let mut equal = true;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(transport)?.into_data() else { continue };
            if check {
                equal &= self.is_block_at(got, &data);
            }
            got += data.len() as u64;
        }
        if got != size || !equal {
            return Err(LoadError::Body { path, got, expected: size });
        }
        Ok(Times { head, whole: begin.elapsed() })
    }

    async fn send(
        &mut self,
        method: &'static str,
        path: &str,
        size: u64,
    ) -> Result<Response<Incoming>, LoadError> {
        let target = &self.target;
        let request = Request::builder().method(method).uri(path);
        let now = OffsetDateTime::now_utc();
        let request = target.signer.sign(request, method, &target.authority, path, "", now)?;
        let body = Repeated { block: self.block.clone(), left: size };
        let request = request.body(body).map_err(transport)?;
        self.sender.ready().await.map_err(transport)?;
        self.sender.send_request(request).await.map_err(transport)
    }

    fn is_block_at(&self, position: u64, mut data: &[u8]) -> bool {
        let mut at = (position % BLOCK as u64) as usize;
        while !data.is_empty() {
            let n = data.len().min(BLOCK - at);
            if data[..n] != self.block[at..at + n] {
                return false;
            }
            data = &data[n..];
            at = 0;
        }
        true
    }
}

async fn ensure_ok(
    method: &'static str,
    path: &str,
    response: Response<Incoming>,
) -> Result<Incoming, LoadError> {
    let status = response.status().as_u16();
    if status == 200 {
        return Ok(response.into_body());
    }
    let body = response.into_body().collect().await.map_err(transport)?.to_bytes();
    let text = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
    Err(LoadError::Refused { method, path: path.to_owned(), status, text })
}

fn transport(error: impl std::fmt::Display) -> LoadError {
    LoadError::Transport(error.to_string())
}

/// Bytes that no compression and no de-duplication of zeros could make cheaper: an xorshift sequence.
fn block() -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(BLOCK);
    while bytes.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}

/// A body of `left` bytes out of one shared block.
struct Repeated {
    block: Bytes,
    left: u64,
}

impl Body for Repeated {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let n = self.left.min(BLOCK as u64);
        self.left -= n;
        Poll::Ready(Some(Ok(Frame::data(self.block.slice(..n as usize)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
