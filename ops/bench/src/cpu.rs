//! What a process has used, from `/proc`.

use std::io;
use std::path::PathBuf;

/// `utime` and `stime` are counted in these for user space, whatever the kernel's own tick is (proc(5), USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU-seconds of a process and of all its threads. Resolution 10 ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Used {
    /// In the program itself.
    pub user: f64,
    /// In the kernel on its behalf.
    pub system: f64,
}

/// What a process has used since it began.
///
/// # Errors
/// When there is no such process.
pub fn used(pid: u32) -> io::Result<Used> {
    let text = std::fs::read_to_string(proc_file(pid, "stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable stat line"))
}

/// Peak resident memory in MiB since the process began.
///
/// # Errors
/// When there is no such process.
pub fn peak_rss_mib(pid: u32) -> io::Result<f64> {
    let text = std::fs::read_to_string(proc_file(pid, "status"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<f64>().ok())
        .map(|kib| kib / 1024.0)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no VmHWM"))
}

/// Processor model and number of processors, for the report.
pub fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, v)| v.trim()));
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{count} × {}, Linux {}", model.unwrap_or("unknown"), kernel.trim())
}

fn proc_file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// Fields 14 and 15; the command name before them may itself contain spaces and parentheses.
fn parse_stat(text: &str) -> Option<Used> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(Used { user: user / TICKS_PER_SECOND, system: system / TICKS_PER_SECOND })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn user_and_system_time_are_fields_14_and_15() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 5 6 7";
        assert_eq!(parse_stat(line), Some(Used { user: 1.5, system: 0.5 }));
    }
}
