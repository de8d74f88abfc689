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

/// Switches huge pages off for this process: each is held as a whole for the few KiB that lie in it, which made 150 MiB of a node's 50
/// under load. A kernel that has none to switch off is none the worse.
pub fn use_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages cannot be switched off");
    }
}

/// Keeps the memory, which holds keys, out of swap, where the system allows: with `CAP_IPC_LOCK`, or where locked memory has no limit.
/// Pages are locked when they are first used; what is freed is not given back to the system any more. Under a limit nothing is locked,
/// since an allocation beyond it would fail.
pub fn lock_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::{Resource, getrlimit};
    use rustix::thread::{CapabilitySet, capabilities};

    let capable = capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::IPC_LOCK));
    let allowed = capable || getrlimit(Resource::Memlock).current.is_none();
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if allowed && mlockall(all).is_ok() {
        return;
    }
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() > 1 {
        tracing::warn!(
            "keys may be written to swap: give CAP_IPC_LOCK or LimitMEMLOCK=infinity, or have no swap on this machine"
        );
    }
}

/// From now on SIGTERM and SIGINT do not end the process; gives what waits for one. Inside a runtime. To be called before anybody is told that the process
/// is there: a signal that comes before would end it without draining.
///
/// # Errors
/// When signals cannot be waited for.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    fn of_this_process(field: &str) -> String {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    }

    /// Each test is a process of its own: nothing else is locked by it.
    #[test]
    fn memory_is_locked_where_that_is_allowed_and_an_allocation_never_fails_for_it() {
        let locked = || of_this_process("VmLck").trim_end_matches(" kB").parse::<u64>().unwrap();
        assert_eq!(locked(), 0);
        super::lock_memory();
        // Far beyond what is there, and used.
        let large = vec![1_u8; 64 << 20];
        let ipc_lock = u64::from_str_radix(&of_this_process("CapEff"), 16).unwrap() & 1 << 14 != 0;
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let unlimited = limits.lines().any(|line| {
            line.starts_with("Max locked memory") && line.split_whitespace().nth(3) == Some("unlimited")
        });
        assert_eq!(locked() > (32 << 10), ipc_lock || unlimited, "{} KiB of {}", locked(), large.len());
    }
}
