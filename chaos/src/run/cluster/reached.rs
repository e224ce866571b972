//! What the nodes say of the fail points: that they look what is armed, and that they were struck.

use std::path::{Path, PathBuf};

/// The file to which each process adds its lines, in the language of `src/failpoints.rs`.
#[derive(Clone, Debug)]
pub(super) struct Reached(PathBuf);

impl Reached {
    /// The one of this directory.
    pub(super) fn of(directory: &Path) -> Self {
        Self(directory.join("reached"))
    }

    fn lines(&self) -> Vec<Line> {
        read(&std::fs::read_to_string(&self.0).unwrap_or_default())
    }

    /// Whether a process says that it looks.
    pub(super) fn is_watched_by(&self, pid: u32) -> bool {
        self.lines().contains(&Line::Watching { pid })
    }

    /// The process that was struck at what was armed under this number.
    pub(super) fn struck_at(&self, number: u64) -> Option<u32> {
        struck_at(&self.lines(), number)
    }

    /// Whether a process is gone, or stands still, because it came to a point that was armed.
    pub(super) fn is_struck(&self, pid: u32) -> bool {
        is_struck(&self.lines(), pid)
    }
}

/// What a process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// It begins to look.
    Watching { pid: u32 },
    /// It is there, where this was armed.
    Struck { number: u64, pid: u32 },
}

fn read(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["watching", pid] => Some(Line::Watching { pid: pid.parse().ok()? }),
            [number, _, pid] => Some(Line::Struck {
                number: number.parse().ok()?,
                pid: pid.parse().ok()?,
            }),
            _ => None,
        }
    };
    text.lines().filter_map(line).collect()
}

fn struck_at(lines: &[Line], wanted: u64) -> Option<u32> {
    lines.iter().find_map(|line| match *line {
        Line::Struck { number, pid } if number == wanted => Some(pid),
        _ => None,
    })
}

/// The last that is said of this number counts: a later process may have it again, and says first that it looks.
fn is_struck(lines: &[Line], wanted: u32) -> bool {
    let last = lines.iter().rfind(|line| match line {
        Line::Watching { pid } | Line::Struck { pid, .. } => *pid == wanted,
    });
    matches!(last, Some(Line::Struck { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_struck_is_told_from_who_ended_by_itself() {
        let lines =
            read("watching 7\nwatching 70\n1 shard::taken 7\nwatching 8\n2 journal::commit 70\n11 shard::taken 9\n");
        assert_eq!(lines.len(), 6);
        assert_eq!(struck_at(&lines, 1), Some(7));
        assert_eq!(struck_at(&lines, 2), Some(70));
        assert_eq!(struck_at(&lines, 11), Some(9));
        assert_eq!(struck_at(&lines, 3), None);
        let struck = |pids: [u32; 4]| pids.map(|pid| is_struck(&lines, pid));
        assert_eq!(struck([7, 70, 9, 8]), [true, true, true, false]);
        assert!(!is_struck(&lines, 1), "nobody of this number has said anything");
        assert_eq!(read("watching\n1 shard::taken\nx shard::taken 7\n"), []);
    }

    #[test]
    fn a_process_is_not_taken_for_an_earlier_one_of_its_number() {
        assert!(!is_struck(&read("watching 7\n1 shard::taken 7\nwatching 7\n"), 7));
        assert!(is_struck(
            &read("watching 7\n1 shard::taken 7\nwatching 7\n2 shard::taken 7\n"),
            7
        ));
    }
}
