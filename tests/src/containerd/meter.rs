//! The processor time of everything that a daemon causes: itself, its shims and runtimes, the commands of its client, the containers.
//!
//! All of them are in cgroups below the daemon's name, and a cgroup counts those that are no more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::daemon::Daemon;

/// A running account. This process is in it until it is dropped: so are the commands that it starts.
#[derive(Debug)]
pub struct Meter {
    account: PathBuf,
    home: PathBuf,
}

impl Meter {
    /// Open the account of `daemon`; none if this machine keeps none.
    #[must_use]
    pub fn open(daemon: &Daemon) -> Option<Self> {
        let (root, own) = account()?;
        let account = root.join(daemon.name());
        let engine = account.join("engine");
        fs::create_dir_all(&engine).unwrap();
        for pid in [daemon.pid().as_raw(), std::process::id().cast_signed()] {
            fs::write(engine.join("cgroup.procs"), pid.to_string()).unwrap();
        }
        Some(Self { account, home: root.join(own.trim_start_matches('/')) })
    }

    /// The time used since it was opened, or longer.
    #[must_use]
    pub fn time(&self) -> Duration {
        if let Ok(text) = fs::read_to_string(self.account.join("cpuacct.usage")) {
            return Duration::from_nanos(text.trim().parse().unwrap());
        }
        let text = fs::read_to_string(self.account.join("cpu.stat")).unwrap();
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
        Duration::from_micros(usage.parse().unwrap())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        fs::write(self.home.join("cgroup.procs"), std::process::id().to_string()).ok();
    }
}

/// The hierarchy that counts processor time, and where this process is in it.
fn account() -> Option<(PathBuf, String)> {
    let table = fs::read_to_string("/proc/self/cgroup").ok()?;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.splitn(3, ':').collect()).collect();
    let legacy = lines.iter().find(|line| line[1].split(',').any(|controller| controller == "cpuacct"));
    if let Some(line) = legacy {
        let mounts = ["cpuacct", line[1]].map(|name| Path::new("/sys/fs/cgroup").join(name));
        return mounts.into_iter().find(|mount| mount.join("cpuacct.usage").exists()).map(|mount| (mount, line[2].to_owned()));
    }
    let unified = lines.iter().find(|line| line[0] == "0")?;
    Some((PathBuf::from("/sys/fs/cgroup"), unified[2].to_owned()))
}
