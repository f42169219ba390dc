//! hshim in the place of newuidmap(1) and newgidmap(1), for libcontainer.
//!
//! A map of one line libcontainer writes itself. A longer one it leaves to those programs, which grant only what /etc/subuid says, to root as
//! well, and it does not look at how they end. Root needs no grant: so it gets links of their names to this program, in the container's
//! directory and for as long as the container is being made.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::user_ns::UserNamespaceConfig;
use libcontainer::utils;

use crate::late_mounts::has_new_namespace;
use crate::rootless::Privilege;
use crate::sealed_executable;

/// Name of the link, and the file in /proc/PID that it is for.
const PROGRAMS: [(&str, &str); 2] = [("newuidmap", "uid_map"), ("newgidmap", "gid_map")];

/// The links, until dropped.
#[derive(Debug)]
pub(crate) struct MapPrograms([PathBuf; 2]);

impl MapPrograms {
    fn link(dir: &Path) -> anyhow::Result<Self> {
        let links = PROGRAMS.map(|(name, _file)| dir.join(name));
        for link in &links {
            symlink(sealed_executable::path(), link).with_context(|| format!("create {}", link.display()))?;
        }
        Ok(Self(links))
    }
}

impl Drop for MapPrograms {
    fn drop(&mut self) {
        for link in &self.0 {
            if let Err(error) = fs::remove_file(link) {
                log::debug!("remove {}: {error}", link.display());
            }
        }
    }
}

/// What libcontainer is to know of a new user namespace, and the programs that it needs for that.
pub(crate) fn user_namespace(spec: &Spec, dir: &Path) -> anyhow::Result<(Option<UserNamespaceConfig>, Option<MapPrograms>)> {
    let linux = spec.linux().as_ref().context("linux: is missing")?;
    let is_long = [linux.uid_mappings(), linux.gid_mappings()].into_iter().flatten().any(|map| map.len() > 1);
    // Root of a user namespace may map its ids and set its groups as root may; libcontainer takes it for a user who may not.
    let is_above = Privilege::own() == Privilege::Namespace;
    if !(is_long || is_above) || !has_new_namespace(spec, LinuxNamespaceType::User) {
        utils::validate_spec_for_new_user_ns(spec, &*create_syscall()).context("user namespace")?;
        return Ok((UserNamespaceConfig::new(spec).context("user namespace")?, None));
    }
    let programs = MapPrograms::link(dir)?;
    let mut config = UserNamespaceConfig::try_from(linux).context("user namespace")?;
    config.privileged |= is_above;
    let [users, groups] = programs.0.clone();
    (config.newuidmap, config.newgidmap) = (Some(users), Some(groups));
    Ok((Some(config), Some(programs)))
}

/// Does what this process was executed for, if it has one of those names: `newuidmap PID INSIDE OUTSIDE LENGTH…`.
pub(crate) fn perform(args: &[OsString]) -> Option<ExitCode> {
    let name = Path::new(args.first()?).file_name()?;
    let (_name, file) = PROGRAMS.into_iter().find(|(program, _file)| name == *program)?;
    let written = write(args.get(1..).unwrap_or_default(), file);
    Some(written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}

fn write(args: &[OsString], file: &str) -> io::Result<()> {
    let numbers: Option<Vec<u32>> = args.iter().map(|arg| arg.to_str()?.parse().ok()).collect();
    let numbers = numbers.ok_or(io::ErrorKind::InvalidInput)?;
    let (process, map) = numbers.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    // In one write: the kernel takes only one.
    fs::write(format!("/proc/{process}/{file}"), lines(map))
}

/// As the kernel reads them (user_namespaces(7)).
fn lines(map: &[u32]) -> String {
    let line = |line: &[u32]| line.iter().map(u32::to_string).collect::<Vec<_>>().join(" ") + "\n";
    map.chunks(3).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_written_a_line_for_each_range() {
        assert_eq!(lines(&[0, 100, 10, 10, 200, 10]), "0 100 10\n10 200 10\n");
    }

    #[test]
    fn only_the_two_names_are_answered_to() {
        for (name, is_ours) in [("hshim", false), ("/x/newuidmap", true), ("newgidmap", true), ("/x/newuidmap/y", false)] {
            assert_eq!(perform(&[name.into()]).is_some(), is_ours, "{name}");
        }
        assert!(perform(&[]).is_none());
    }
}
