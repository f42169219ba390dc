//! The ids of a user namespace that a user without privileges makes.
//!
//! The own id alone can be written by whoever has made the namespace, once setgroups(2) is given up; everything else takes
//! newuidmap(1) and newgidmap(1), which know from /etc/subuid and /etc/subgid what belongs to the user, and which must be run from outside.
//!
//! ```text
//! parent  fork ─────────────── unshare ─ "go" ──────────── hears ─ writes own ids
//! child    └ waits for "go" ─────────────└ newuidmap PARENT … ┘
//! ```

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::Command;

use anyhow::Context;
use libcontainer::oci_spec::runtime::{LinuxIdMapping, Spec};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getegid, geteuid, getpid, pipe};

use crate::sys;

/// Of user ids or of group ids.
#[derive(Clone, Debug)]
pub(crate) struct IdMap {
    kind: Kind,
    /// Of the caller.
    own: u32,
    mappings: Vec<LinuxIdMapping>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Users,
    Groups,
}

impl Kind {
    fn field(self) -> &'static str {
        match self {
            Self::Users => "linux.uidMappings",
            Self::Groups => "linux.gidMappings",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Users => "newuidmap",
            Self::Groups => "newgidmap",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Users => "/proc/self/uid_map",
            Self::Groups => "/proc/self/gid_map",
        }
    }

    fn ranges(self) -> &'static str {
        match self {
            Self::Users => "/etc/subuid",
            Self::Groups => "/etc/subgid",
        }
    }
}

impl IdMap {
    /// (Users, groups) of a specification.
    pub(crate) fn pair(spec: &Spec) -> anyhow::Result<(Self, Self)> {
        let linux = spec.linux().as_ref();
        let uids = linux.and_then(|linux| linux.uid_mappings().clone()).unwrap_or_default();
        let gids = linux.and_then(|linux| linux.gid_mappings().clone()).unwrap_or_default();
        let uids = Self { kind: Kind::Users, own: geteuid().as_raw(), mappings: uids };
        let gids = Self { kind: Kind::Groups, own: getegid().as_raw(), mappings: gids };
        uids.require_root()?;
        gids.require_root()?;
        Ok((uids, gids))
    }

    /// Whether there is nothing but the caller's own id.
    pub(crate) fn is_own_id(&self) -> bool {
        matches!(self.mappings.as_slice(), [one] if one.host_id() == self.own && one.size() == 1)
    }

    /// What makes a container is its root until the container's own process begins.
    fn require_root(&self) -> anyhow::Result<()> {
        let field = self.kind.field();
        anyhow::ensure!(!self.mappings.is_empty(), "{field}: is missing: a new user namespace needs it");
        let has_root = self.mappings.iter().any(|mapping| mapping.container_id() == 0 && mapping.size() > 0);
        anyhow::ensure!(has_root, "{field}: id 0 of the container is not mapped: its root makes the container");
        Ok(())
    }

    /// By the process that is in the new namespace.
    fn write_own(&self) -> anyhow::Result<()> {
        if self.kind == Kind::Groups {
            fs::write("/proc/self/setgroups", "deny").context("linux.gidMappings: give up setgroups")?;
        }
        let lines = self.mappings.iter();
        let text: String = lines.map(|map| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size())).collect();
        fs::write(self.kind.file(), text).with_context(|| format!("{}: write {}", self.kind.field(), self.kind.file()))
    }

    /// By the program, for another process.
    fn write_for(&self, process: Pid) -> anyhow::Result<()> {
        let (field, program) = (self.kind.field(), self.kind.program());
        let ids = self.mappings.iter().flat_map(|map| [map.container_id(), map.host_id(), map.size()]);
        let mut command = Command::new(program);
        command.arg(process.to_string()).args(ids.map(|id| id.to_string()));
        let output = command
            .output()
            .with_context(|| format!("{field}: run {program}: more than the own id takes it (package uidmap)"))?;
        anyhow::ensure!(
            output.status.success(),
            "{field}: {}: more than the own id must be a range of {}",
            String::from_utf8_lossy(&output.stderr).trim(),
            self.kind.ranges()
        );
        Ok(())
    }
}

/// Who writes the maps of the namespace that this process is about to make.
pub(crate) struct Mapper {
    maps: [IdMap; 2],
    outside: Option<Outside>,
}

/// A child that stays outside.
struct Outside {
    child: Pid,
    go: File,
    answer: File,
}

impl Mapper {
    /// Before the namespace is made.
    pub(crate) fn prepare(uids: IdMap, gids: IdMap) -> anyhow::Result<Self> {
        let maps = [uids, gids];
        let outside = if maps.iter().all(IdMap::is_own_id) { None } else { Some(Outside::begin(&maps)?) };
        Ok(Self { maps, outside })
    }

    /// When this process is in the namespace.
    pub(crate) fn write(self) -> anyhow::Result<()> {
        if let Some(outside) = self.outside {
            outside.finish()?;
        }
        self.maps.iter().filter(|map| map.is_own_id()).try_for_each(IdMap::write_own)
    }
}

impl Outside {
    fn begin(maps: &[IdMap]) -> anyhow::Result<Self> {
        let (wait, go) = pipe().context("make a pipe")?;
        let (answer, tell) = pipe().context("make a pipe")?;
        let parent = getpid();
        let Some(child) = sys::fork().context("fork")? else {
            drop((go, answer));
            let mut word = [0];
            // Nothing is said when the parent gave up.
            if File::from(wait).read_exact(&mut word).is_ok() {
                let others = maps.iter().filter(|map| !map.is_own_id());
                let failed = others.map(|map| map.write_for(parent)).find_map(Result::err);
                // Without a reader there is nobody to tell.
                drop(File::from(tell).write_all(failed.map_or_else(String::new, |error| format!("{error:#}")).as_bytes()));
            }
            sys::exit_now();
        };
        Ok(Self { child, go: go.into(), answer: answer.into() })
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.go.write_all(b"g").context("tell the child outside the user namespace")?;
        let mut message = String::new();
        self.answer.read_to_string(&mut message).context("hear from the child outside the user namespace")?;
        waitpid(self.child, None).context("wait for the child outside the user namespace")?;
        anyhow::ensure!(message.is_empty(), "{message}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(uids: serde_json::Value) -> Spec {
        let own = json!([{"containerID": 0, "hostID": getegid().as_raw(), "size": 1}]);
        serde_json::from_value(json!({"ociVersion": "1.0.2", "linux": {"uidMappings": uids, "gidMappings": own}})).unwrap()
    }

    #[test]
    fn only_the_own_id_is_written_without_a_program() {
        let own = geteuid().as_raw();
        for (map, is_own) in [
            (json!([{"containerID": 0, "hostID": own, "size": 1}]), true),
            (json!([{"containerID": 0, "hostID": own, "size": 2}]), false),
            (json!([{"containerID": 0, "hostID": own + 1, "size": 1}]), false),
            (json!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 9}]), false),
        ] {
            let (uids, gids) = IdMap::pair(&spec(map.clone())).unwrap();
            assert_eq!(uids.is_own_id(), is_own, "{map}");
            assert!(gids.is_own_id());
        }
    }

    #[test]
    fn a_map_without_root_is_refused() {
        for (map, message) in [
            (json!([]), "linux.uidMappings: is missing"),
            (json!([{"containerID": 1, "hostID": 0, "size": 1}]), "linux.uidMappings: id 0 of the container is not mapped"),
        ] {
            let error = IdMap::pair(&spec(map)).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
