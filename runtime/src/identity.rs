//! What a process of the container is: the part of the specification that `hshim-enter` needs for every further process.
//!
//! It is prepared at `create` (`enter.bin`), from the specification as the caller wrote it, so that neither an exec nor a
//! probe reads a specification or compiles a filter.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;

use anyhow::Context;
use hshim_enter::{Capabilities, Identity, Rlimit};
use libcontainer::oci_spec::runtime::{Capabilities as OciCapabilities, LinuxCapabilities, PosixRlimit, Process, Spec};

use crate::atomic_file;
use crate::home::home;
use crate::rlimit;
use crate::scheduling;
use crate::seccomp::SeccompCache;
use crate::spec_normalise::{UMASK, clamped, may_raise_limits};

/// Of a specification's process, whose root file system is at `rootfs`.
pub(crate) fn of_process(spec: &Spec, rootfs: &Path, cache: &SeccompCache) -> anyhow::Result<Identity> {
    let process = spec.process().as_ref().context("process: is missing")?;
    let root = File::open(rootfs).with_context(|| format!("open the root file system {}", rootfs.display()))?;
    let mut identity = of(process, &root)?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    identity.seccomp = profile.map(|profile| cache.filter(profile)).transpose()?;
    let linux = spec.linux().as_ref();
    identity.personality = linux.and_then(scheduling::personality);
    let policy = linux.and_then(|linux| linux.memory_policy().as_ref());
    identity.scheduling.memory_policy = policy.map(scheduling::memory_policy).transpose()?;
    Ok(identity)
}

/// Of a process object, without what belongs to the container: filter, personality, memory policy.
pub(crate) fn of(process: &Process, root: &File) -> anyhow::Result<Identity> {
    let user = process.user();
    let variables = process.env().iter().flatten().cloned().collect();
    Ok(Identity {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        capabilities: process.capabilities().as_ref().map(capabilities).transpose()?.unwrap_or_default(),
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        seccomp: None,
        apparmor: process.apparmor_profile().clone().filter(|profile| !profile.is_empty()),
        rlimits: process.rlimits().iter().flatten().map(limit).collect(),
        umask: Some(user.umask().unwrap_or(UMASK.bits())),
        cwd: text("process.cwd", process.cwd().to_string_lossy().into_owned())?,
        env: environment(variables, user.uid(), root)?,
        oom_score_adj: process.oom_score_adj().filter(|score| may_set_oom_score_adj(*score)),
        personality: None,
        scheduling: scheduling::of_process(process)?,
    })
}

/// Writes `enter.bin`.
pub(crate) fn store(identity: &Identity, file: &Path) -> anyhow::Result<()> {
    atomic_file::write(file, &identity.to_bytes()).with_context(|| format!("write {}", file.display()))
}

/// Reads `enter.bin`.
pub(crate) fn load(file: &Path) -> anyhow::Result<Identity> {
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    Identity::from_bytes(&bytes).with_context(|| format!("understand {}", file.display()))
}

/// The variables as strings for the kernel: of one name the last counts, and HOME is there.
pub(crate) fn environment(mut variables: Vec<String>, uid: u32, root: &File) -> anyhow::Result<Vec<CString>> {
    if !variables.iter().any(|variable| variable.starts_with("HOME=") && variable != "HOME=") {
        variables.push(format!("HOME={}", home(root, uid)));
    }
    let mut seen = BTreeSet::new();
    let mut last: Vec<&String> = variables.iter().rev().filter(|variable| seen.insert(name(variable))).collect();
    last.reverse();
    last.into_iter().map(|variable| text("process.env", variable.clone())).collect()
}

/// A capability's bit by its name, with or without `CAP_`.
pub(crate) fn capability(name: &str) -> anyhow::Result<u64> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    let capability: caps::Capability = full.parse().ok().with_context(|| format!("unknown capability {name:?}"))?;
    Ok(capability.bitmask())
}

/// Text without NUL, as system calls take it.
pub(crate) fn text(what: &str, text: String) -> anyhow::Result<CString> {
    CString::new(text).with_context(|| format!("{what}: contains NUL"))
}

fn name(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _value)| name)
}

fn capabilities(written: &LinuxCapabilities) -> anyhow::Result<Capabilities> {
    let bits = |set: &Option<OciCapabilities>| {
        set.iter().flatten().try_fold(0, |bits, written| Ok::<u64, anyhow::Error>(bits | capability(&written.to_string())?))
    };
    let (inheritable, permitted) = (bits(written.inheritable())?, bits(written.permitted())?);
    Ok(Capabilities {
        bounding: bits(written.bounding())?,
        effective: bits(written.effective())?,
        inheritable,
        permitted,
        // The kernel raises no other (capabilities(7)), and runc passes over those silently.
        ambient: bits(written.ambient())? & inheritable & permitted,
    })
}

fn limit(written: &PosixRlimit) -> Rlimit {
    let limit = if may_raise_limits() { *written } else { clamped(written) };
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "an enum of small non-negative numbers, signed in musl")]
    let resource = rlimit::resource(limit.typ()) as u32;
    Rlimit { resource, reserved: 0, soft: limit.soft(), hard: limit.hard() }
}

/// Without CAP_SYS_RESOURCE it can be raised only (proc_pid_oom_score_adj(5)); `create` has said so already.
fn may_set_oom_score_adj(score: i32) -> bool {
    let current = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse::<i32>().ok());
    may_raise_limits() || current.is_none_or(|current| score >= current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repeated_variable_the_last_counts_and_home_is_added() {
        let root = File::open("/").unwrap();
        let env = environment(vec!["A=1".into(), "B=2".into(), "A=3".into()], 0, &root).unwrap();
        let env: Vec<&str> = env.iter().map(|variable| variable.to_str().unwrap()).collect();
        assert_eq!(env, ["B=2", "A=3", "HOME=/root"]);
        let env = environment(vec!["HOME=/h".into()], 0, &root).unwrap();
        assert_eq!(env.len(), 1);
    }

    #[test]
    fn capabilities_are_bits_by_name() {
        assert_eq!(capability("CAP_CHOWN").unwrap(), 1);
        assert_eq!(capability("kill").unwrap(), 1 << 5);
        assert!(capability("CAP_FLY").is_err());
    }
}
