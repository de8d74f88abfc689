//! The process: no core files, and the signals that end it.

use tokio::signal::unix::{SignalKind, signal};

/// Forbids core dumps and debuggers of other users: memory holds keys.
///
/// # Errors
/// The system's.
pub fn harden() -> std::io::Result<()> {
    rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit { current: Some(0), maximum: Some(0) },
    )?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When signals cannot be waited for.
pub async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
