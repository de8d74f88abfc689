//! What reqwest connects with, so that a connection outlives the request that it was begun for.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::timeout;
use tower::{Layer, Service, ServiceExt as _, util::BoxCloneSyncService};

use super::http::CONNECT;
use crate::connecting::Left;

type BoxError = Box<dyn Error + Send + Sync>;

/// See the module. A client has one address, and this is within one client.
#[derive(Clone)]
pub(super) struct Outliving;

pub(super) struct Outlives<R, T> {
    inner: BoxCloneSyncService<R, T, BoxError>,
    left: Left<T, BoxError>,
}

impl<R, T> Clone for Outlives<R, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), left: self.left.clone() }
    }
}

impl<R, T> Layer<BoxCloneSyncService<R, T, BoxError>> for Outliving {
    type Service = Outlives<R, T>;

    fn layer(&self, inner: BoxCloneSyncService<R, T, BoxError>) -> Self::Service {
        Outlives { inner, left: Left::default() }
    }
}

impl<R: Send + 'static, T: Send + 'static> Service<R> for Outlives<R, T> {
    type Response = T;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, to: R) -> Self::Future {
        let (inner, left) = (self.inner.clone(), self.left.clone());
        Box::pin(async move {
            // reqwest's own bound is around this, and would leave the task without one.
            left.connect(|| async { timeout(CONNECT, inner.oneshot(to)).await? }).await?
        })
    }
}
