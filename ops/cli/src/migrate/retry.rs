//! Trying again what a server that is busy or away may do later.

use std::time::Duration;

use sealgate_data_plane::backend::BackendError;

/// How often.
const ATTEMPTS: u32 = 7;

/// Does something until it is done, or fails for a reason that will not pass; waits longer each time.
pub async fn persist<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, BackendError>,
) -> Result<T, BackendError> {
    let mut wait = Duration::from_millis(200);
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(error) if passes(&error) => tokio::time::sleep(wait).await,
            ended => return ended,
        }
        wait *= 2;
    }
    attempt().await
}

fn passes(error: &BackendError) -> bool {
    match error {
        BackendError::Unavailable(_) => true,
        BackendError::S3 { status, .. } => matches!(status, 429 | 500 | 502..=504),
        // The source broke off while it was being copied.
        BackendError::Upload(source) => source.is::<sealgate_data_plane::backend::StreamError>(),
        _ => false,
    }
}
