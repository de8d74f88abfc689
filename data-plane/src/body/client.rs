//! A client's body as it comes off the connection, and what becomes of one that nobody reads to its end.
//!
//! A connection that is closed while its client still sends is reset, and the reset takes with it the answer that the
//! client has not read yet. So the rest of a refused body is read and dropped while the answer goes out: bounded, since
//! whoever sends it may be anyone. A client that waits for `100 Continue` and was not asked has sent nothing, and reading
//! would ask it to: that body is left alone.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming};
use tokio::runtime::Handle;

/// Bytes of a refused body that are read at most: a part of the size that clients choose by themselves (8 MiB), and what
/// its framing adds, with room to spare.
const MOST: usize = 16 << 20;
/// How long it is read at most.
const LONGEST: Duration = Duration::from_secs(5);

/// A client's body. Nothing is read before the first call of [`ClientBody::frame`].
pub struct ClientBody {
    body: Option<Incoming>,
    /// The client sends nothing before it is asked to.
    waits: bool,
}

impl ClientBody {
    /// The body of a request with these headers.
    pub fn new(body: Incoming, headers: &HeaderMap) -> Self {
        Self { body: Some(body), waits: headers.contains_key(header::EXPECT) }
    }

    /// One that has been read.
    #[cfg(test)]
    pub fn none() -> Self {
        Self { body: None, waits: false }
    }

    /// Whether there is nothing to read, or nothing any more.
    pub fn is_end(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    /// The next frame; none at the body's end.
    ///
    /// # Errors
    /// The connection's.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        self.waits = false;
        let frame = self.body.as_mut()?.frame().await;
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        frame
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !self.waits && !body.is_end_stream());
        // Without a runtime there is no connection any more either.
        if let (Some(body), Ok(runtime)) = (unread, Handle::try_current()) {
            runtime.spawn(read_away(body));
        }
    }
}

/// Reads what is left, within bounds. As long as the body is held, the connection stays open for it.
async fn read_away(mut body: Incoming) {
    let rest = async {
        let mut left = MOST;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(less) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
            left = less;
        }
    };
    // What has not come by then is the client's loss.
    let _ = tokio::time::timeout(LONGEST, rest).await;
}
