//! SIGINT and SIGTERM for work that does not wait for anything: it asks now and then, and ends in order, so that no half
//! of a plaintext stays behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Exit, Failure, Outcome};

/// Tells whether the process was asked to end.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on, on a thread of its own.
    ///
    /// # Errors
    /// When the system gives neither thread nor signals.
    pub fn watch() -> Outcome<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let failed = |error| Failure::io(&"signals", &error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let stop = {
            let _inside = runtime.enter();
            sealgate_data_plane::process::stop_signal().map_err(failed)?
        };
        let flag = asked.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(stop);
                flag.store(true, Ordering::Relaxed);
            })
            .map_err(failed)?;
        Ok(Self(asked))
    }

    /// Fails when the process was asked to end.
    ///
    /// # Errors
    /// Then only.
    pub fn check(&self) -> Outcome<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Failure::new(Exit::Failure, "interrupted"));
        }
        Ok(())
    }
}
