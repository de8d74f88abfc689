//! How many connections a node takes: as many as it has file descriptors for, with enough left for what serves them.
//!
//! A node that runs out of descriptors answers nobody: it can neither open a file nor reach its storage, and its health cannot be
//! asked either. One connection too many must therefore wait in the kernel's queue, where it costs this process nothing.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::{BackendConfig, Config};
use crate::health;

/// Connections that a worker takes at once, however many descriptors there are.
const MOST: u64 = 10_000;

/// What a warning asks for at least, in connections a worker.
const LOW: u64 = 1_000;

/// Threads of a worker that wait for a local disk: enough to keep it busy with syncs, and each holds buffers of its own.
pub(crate) const BLOCKING_THREADS: usize = 8;

/// Descriptors that a client may take: its connection, and what its request has open meanwhile. On an S3 server that is a connection of
/// the backend's for as long as a body is under way, on a file system the file that is read or written.
const PER_CLIENT: u64 = 2;

/// Files that one step on a file system has open for a moment beyond that: the directory that is synced, a record and its
/// successor, the other one of two that are swapped.
const PER_STEP: u64 = 4;

/// The process itself: event queues and wakers of its threads, listeners, logs, the config's stream and the fetching of keys, the backends
/// of the threads that sweep and wrap anew, and in `sealgate dev` a control plane with its store.
const OWN: u64 = 192;

/// Raises the limit of open files as far as this process may, and gives it. Service managers give 1,024 and allow far more, for the sake of
/// programs that call select(2); nothing here does.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Connections that each worker may take under a limit of open files. Told to the log.
pub fn connections(limit: u64, config: &Config) -> usize {
    let workers = config.workers.max(1) as u64;
    // Connections to an S3 server that nobody uses: those for uploads and those for all else.
    let kept = config.backends.values().map(|backend| match backend {
        BackendConfig::S3(config) => 2 * config.max_idle as u64,
        BackendConfig::Filesystem { .. } => 0,
    });
    let each = kept.sum::<u64>() + BLOCKING_THREADS as u64 * PER_STEP;
    let wanted = OWN + health::CONNECTIONS as u64 + workers * each;
    // Where there are so few that clients would be left none, both sides get half.
    let reserve = wanted.min(limit / 2);
    let connections = ((limit - reserve) / (PER_CLIENT * workers)).clamp(1, MOST);
    let whole = connections * workers;
    if reserve < wanted {
        warn!(
            open_files = limit,
            connections = whole,
            "the limit of open files is low: give LimitNOFILE (systemd), or ulimit -Hn, of {} or more",
            wanted + LOW * PER_CLIENT * workers
        );
    } else {
        info!(open_files = limit, connections = whole, "clients at once");
    }
    usize::try_from(connections).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Each test is a process of its own: the limit is nobody else's.
    #[test]
    fn the_limit_is_raised_to_what_is_allowed() {
        setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum: Some(300) }).unwrap();
        assert_eq!(raise(), 300);
        assert_eq!(getrlimit(Resource::Nofile).current, Some(300));
        assert_eq!(raise(), 300, "nothing is left to raise");
    }
}
