//! The actor that changes the registry: one change at a time, on a thread of its own that may wait for the disk.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};

use crate::{Error, registry::Registry};

/// Changes that wait; more are refused.
const MAILBOX: usize = 1024;

type Change<T> = Box<dyn FnOnce(&Registry) -> Result<T, Error> + Send>;

/// See the module.
pub(crate) struct RegistryActor {
    registry: Arc<Registry>,
}

impl RegistryActor {
    /// Rebuilt means: the store is read again.
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

impl Actor for RegistryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

/// A change to make.
pub(crate) struct Run<T>(Change<T>);

impl<T> Run<T> {
    pub(crate) fn new(change: impl FnOnce(&Registry) -> Result<T, Error> + Send + 'static) -> Self {
        Self(Box::new(change))
    }
}

impl<T: Send + 'static> Message for Run<T> {
    type Result = Result<T, Error>;
}

impl<T: Send + 'static> Handler<Run<T>> for RegistryActor {
    type Result = Result<T, Error>;

    fn handle(&mut self, message: Run<T>, _: &mut Self::Context) -> Self::Result {
        (message.0)(&self.registry)
    }
}
