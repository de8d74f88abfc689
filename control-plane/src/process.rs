//! What a process that holds keys does to itself.

/// No core dumps: they would contain keys. Also keeps other processes of the user from reading the memory.
///
/// # Errors
/// When the operating system refuses.
pub fn forbid_core_dumps() -> std::io::Result<()> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
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

/// Raises the limit of open files as far as this process may, and gives it: each node has a connection or two. Service managers give
/// 1,024 and allow far more, for the sake of programs that call select(2); nothing here does.
pub fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
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

    /// Each test is a process of its own: the limit is nobody else's.
    #[test]
    fn the_limit_of_open_files_is_raised_to_what_is_allowed() {
        use rustix::process::{Resource, Rlimit, setrlimit};

        setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum: Some(300) }).unwrap();
        assert_eq!(super::raise_descriptors(), 300);
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(open_files.split_whitespace().nth(3), Some("300"), "{open_files}");
    }
}
