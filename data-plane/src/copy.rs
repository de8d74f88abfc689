//! CopyObject and UploadPartCopy.
//!
//! Where source and target are encrypted, and lie on the same backend, no byte of the object moves: the storage copies the
//! stored body as it is, and the envelope is wrapped anew for the target (docs/format.md, section 7). Everywhere else the
//! source is opened and written anew, and parts always are: a part is sealed under its upload's keys.
//!
//! A stored body that was copied keeps its recovery block, which names the key and the bucket that it was first written in. So
//! before it goes to another bucket, that key's record is placed there ([`records`]).

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::gate::Admitted;
use crate::late;
use crate::reply::Reply;
use crate::s3::error::{Code, S3Error};

pub mod asked;
pub mod object;
pub mod part;
pub mod records;
pub mod source;
pub mod tags;

/// Copies that a worker has under way at most. They go on when their client hangs up, so connections do not bound them.
const MOST: usize = 128;

thread_local! {
    static SLOTS: Arc<Semaphore> = Arc::new(Semaphore::new(MOST));
}

/// Answers with what a copy gives, as [`late::answer`] does.
///
/// # Errors
/// SlowDown when too many are under way; those of `work`.
async fn answer(
    admitted: &Admitted,
    work: impl Future<Output = Result<Reply, S3Error>> + 'static,
) -> Result<Reply, S3Error> {
    let slot = slot()?;
    let work = async move {
        let done = work.await;
        drop(slot);
        done
    };
    late::answer(admitted.request.raw_path.clone(), admitted.request_id.clone(), work).await
}

fn slot() -> Result<OwnedSemaphorePermit, S3Error> {
    let slots = SLOTS.with(Arc::clone);
    slots.try_acquire_owned().map_err(|_| S3Error::new(Code::SlowDown).retry_after(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{MOST, slot};
    use crate::s3::error::Code;

    #[test]
    fn copies_under_way_are_bounded() {
        let mut slots: Vec<_> = (0..MOST).map(|_| slot().unwrap()).collect();
        assert_eq!(slot().unwrap_err().code(), Code::SlowDown);
        slots.pop();
        assert!(slot().is_ok());
    }
}
