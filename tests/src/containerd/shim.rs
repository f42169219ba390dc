//! Shim processes of a daemon, found by what containerd passes them, and what they cost.

use std::fs;
use std::path::Path;

/// A running shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shim {
    /// Its process id.
    pub pid: i32,
    /// Its command line.
    pub command: Vec<String>,
}

/// The shims that speak to the containerd in `home`.
#[must_use]
pub fn shims_below(home: &Path) -> Vec<Shim> {
    let home = home.to_str().unwrap();
    let all = processes().into_iter().map(|pid| Shim { pid, command: command_line(pid) });
    all.filter(|it| {
        it.command.first().is_some_and(|name| name.contains("containerd-shim-"))
            && it.command.iter().any(|word| word.contains(home))
    })
    .collect()
}

impl Shim {
    /// Kilobytes of a line of `/proc/PID/smaps_rollup`, such as `Rss` or `Pss`.
    #[must_use]
    pub fn memory(&self, what: &str) -> u64 {
        self.line("smaps_rollup", what)
    }

    /// How many threads it has.
    #[must_use]
    pub fn threads(&self) -> u64 {
        self.line("status", "Threads")
    }

    /// How often it was put on a processor because something woke it: voluntary switches of all threads.
    #[must_use]
    pub fn wake_ups(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let of_task =
            |path: &Path| number(&fs::read_to_string(path.join("status")).unwrap_or_default(), "voluntary_ctxt_switches");
        tasks.map(|task| of_task(&task.path())).sum()
    }

    /// Open descriptors.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count)
    }

    fn line(&self, file: &str, name: &str) -> u64 {
        number(&fs::read_to_string(format!("/proc/{}/{file}", self.pid)).unwrap_or_default(), name)
    }
}

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

pub(super) fn processes() -> Vec<i32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

pub(super) fn command_line(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}
