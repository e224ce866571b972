//! What processes of this machine use, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;

/// Ticks of the kernel's accounting in a second. Linux has said 100 to programs for as long as there is `/proc`.
const TICKS_PER_S: u64 = 100;
/// Bytes of a kilobyte as `/proc` has it.
const KB: u64 = 1_024;

/// Processor time used so far, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// By process: `server` (all servers together; absent unless all are known), `postgres`, `kafka`, `redis`, `bench`.
    pub(super) by_process: BTreeMap<&'static str, u64>,
    /// By server, in the order asked; `None` of those that are not known.
    pub(super) by_server: Vec<Option<u64>>,
}

/// The processor time that these servers and the processes beside them used so far.
///
/// Children that ended are counted with their parent, so a group's figure never falls while its first process lives.
pub(super) fn cpu(servers: &[Option<u32>]) -> Used {
    let mut by_server = vec![None; servers.len()];
    let mut used: BTreeMap<&'static str, u64> = BTreeMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may be gone by now.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let Some((name, ticks)) = read_stat(&stat) else {
            continue;
        };
        let ms = ticks * (1_000 / TICKS_PER_S);
        if let Some(n) = servers.iter().position(|server| *server == Some(pid)) {
            by_server[n] = Some(ms);
            continue;
        }
        let group = if pid == std::process::id() {
            "bench"
        } else if name == "postgres" {
            "postgres"
        } else if name == "redis-server" {
            "redis"
        } else if name == "java" && is_kafka(pid) {
            "kafka"
        } else {
            continue;
        };
        *used.entry(group).or_default() += ms;
    }
    if let Some(all) = by_server.iter().copied().sum::<Option<u64>>() {
        used.insert("server", all);
    }
    Used {
        by_process: used,
        by_server,
    }
}

fn is_kafka(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"kafka.Kafka")
}

/// A process' name and the ticks that it and its ended children used, from its `stat`.
fn read_stat(stat: &str) -> Option<(&str, u64)> {
    // The name may hold blanks and parentheses.
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    // Counted from the third field on: utime, stime, cutime and cstime are the 14th to the 17th.
    let ticks = rest.split_whitespace().skip(11).take(4);
    let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>().ok()?;
    (ticks.len() == 4).then(|| (name, ticks.iter().sum()))
}

/// The memory that a process holds, in bytes; `None` when there is no such process.
pub(super) fn memory_bytes(pid: u32) -> Option<u64> {
    Some(number_after(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")? * KB)
}

/// The bytes that a process had the system write to its disks; `None` when that is not to be known.
pub(super) fn written_bytes(pid: u32) -> Option<u64> {
    number_after(&fs::read_to_string(format!("/proc/{pid}/io")).ok()?, "write_bytes:")
}

/// How many files this process may have open.
pub(super) fn open_files_max() -> Option<u64> {
    number_after(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files")
}

/// The number behind a name at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_process_is_called() {
        let stat = "42 (a (bad) name) S 1 42 42 0 -1 4194560 900 0 3 0 150 25 7 1 20 0 9 0 100 1000 20";
        assert_eq!(read_stat(stat), Some(("a (bad) name", 183)));
        assert_eq!(read_stat("42 (cut) S 1 42"), None);
    }

    #[test]
    fn numbers_are_found_by_name() {
        let text = "VmPeak:\t  900 kB\nVmRSS:\t  120 kB\nMax open files            1024    4096   files\n";
        assert_eq!(number_after(text, "VmRSS:"), Some(120));
        assert_eq!(number_after(text, "Max open files"), Some(1_024));
        assert_eq!(number_after(text, "Threads:"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let pid = std::process::id();
        let used = cpu(&[None]);
        assert!(used.by_process.contains_key("bench") && !used.by_process.contains_key("server"));
        let used = cpu(&[Some(pid)]);
        assert!(used.by_server[0].is_some() && used.by_process.get("server").copied() == used.by_server[0]);
        assert!(!cpu(&[Some(pid), Some(u32::MAX)]).by_process.contains_key("server"));
        assert!(memory_bytes(pid).is_some_and(|bytes| bytes > 100_000));
        assert!(open_files_max().is_some_and(|files| files > 10));
        assert_eq!(memory_bytes(u32::MAX), None);
    }
}
