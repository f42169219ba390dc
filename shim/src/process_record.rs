//! What /proc says about processes: their identity, their parents, their namespaces.

use std::fs;
use std::io;

use hshim_health::record::ProcessIdentity;

use crate::clock;

/// The fields of /proc/PID/stat (proc_pid_stat(5)) that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Process id.
    pub(crate) pid: u32,
    /// Command name.
    pub(crate) name: String,
    /// Parent.
    pub(crate) parent: u32,
    /// Field 22: clock ticks since boot.
    pub(crate) start_time: u64,
}

/// Reads /proc/PID/stat.
pub(crate) fn stat(pid: u32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(pid, &text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not understood: {text}")))
}

/// Which process this is, to be recognised later.
pub(crate) fn identity(pid: u32) -> io::Result<ProcessIdentity> {
    Ok(ProcessIdentity { pid, start_time: stat(pid)?.start_time, boot_id: boot_id()? })
}

/// /proc/sys/kernel/random/boot_id.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

/// Ids of this process' children, zombies too. A child that ends meanwhile may hide another one (proc_pid_children(5)). A kernel without
/// that file is asked about each process of the machine, which takes a hundred times as long.
pub(crate) fn listed_children() -> Vec<u32> {
    let me = std::process::id();
    match fs::read_to_string(format!("/proc/{me}/task/{me}/children")) {
        Ok(list) => list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        Err(_none) => children_of_this_process().into_iter().map(|child| child.pid).collect(),
    }
}

/// All processes whose parent is this one.
pub(crate) fn children_of_this_process() -> Vec<Stat> {
    let me = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| stat(pid).ok()).filter(|stat| stat.parent == me).collect()
}

/// Now, in the unit of [`Stat::start_time`].
pub(crate) fn ticks_since_boot() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let now = clock::now().as_duration();
    u64::try_from(now.as_millis() * u128::from(ticks.unsigned_abs()) / 1000).unwrap_or(u64::MAX)
}

/// Whether it is pid 1 of a pid namespace of its own: then nothing of the container outlives it.
pub(crate) fn is_first_of_its_namespace(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    ids.split_whitespace().count() > 1 && ids.split_whitespace().next_back() == Some("1")
}

fn parse_stat(pid: u32, text: &str) -> Option<Stat> {
    // The name may contain spaces and parentheses; the last parenthesis ends it.
    let (head, tail) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let start_time = fields.get(19)?.parse().ok()?;
    Some(Stat { pid, name: name.to_owned(), parent, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 5 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse_stat(7, text), Some(Stat { pid: 7, name: "a) b (c".into(), parent: 5, start_time: 4711 }));
    }

    #[test]
    fn this_process_has_an_identity_and_is_not_first_of_a_namespace_of_its_own() {
        let me = std::process::id();
        assert_eq!(identity(me).unwrap(), identity(me).unwrap());
        assert!(identity(me).unwrap().start_time > 0);
        assert!(identity(0).is_err());
    }
}
