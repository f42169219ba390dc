//! The specification as libcontainer gets it: what it would do wrongly or not at all is refused, taken out or put right.
//!
//! The numbers L1–L19 are those of the audit of libcontainer 0.7. The original stays beside it: `state`, `exec` and every
//! restart go by what the caller wrote.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use caps::{CapSet, Capability};
use libcontainer::oci_spec::runtime::{
    Capabilities, Linux, LinuxCapabilities, LinuxSeccomp, Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder, Process, Spec,
};
use libcontainer::validator::Validator;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::resource::getrlimit;

use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, HierarchyKind};
use crate::container_id::ContainerId;
use crate::rlimit;
use crate::seccomp;

/// What libcontainer gets.
#[derive(Debug)]
pub(crate) struct NormalSpec {
    /// Without what is done by hshim.
    pub(crate) spec: Spec,
    /// Path of its cgroup from the root of each hierarchy.
    pub(crate) cgroup_path: PathBuf,
    /// The same as directories.
    pub(crate) cgroup: Cgroup,
    /// The profile that hshim loads itself; none when there is none, or when libcontainer has to (see [`take_seccomp`]).
    pub(crate) seccomp: Option<LinuxSeccomp>,
}

/// Puts a bundle's specification into the form that libcontainer does right.
pub(crate) fn normalise(bundle: &Bundle, id: &ContainerId) -> anyhow::Result<NormalSpec> {
    let faults = faults(&bundle.spec);
    let file = bundle.dir.join("config.json");
    anyhow::ensure!(faults.is_empty(), "{}: {}", file.display(), faults.join("; "));
    Validator::validate_spec(&bundle.spec).with_context(|| file.display().to_string())?;
    refuse_symlinked_dev(&bundle.rootfs)?;
    let mut spec = bundle.spec.clone();
    if let Some(root) = spec.root_mut() {
        root.set_path(bundle.rootfs.clone());
    }
    let cgroup_path = cgroup_path(spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref()), id)?;
    let cgroup = Cgroup::locate(&cgroup_path)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(cgroup_path.clone()));
    }
    let mounts = spec.mounts().iter().flatten().flat_map(|mount| replaced(mount, &cgroup)).collect();
    spec.set_mounts(Some(mounts));
    let no_new_privileges = spec.process().as_ref().and_then(|process| process.no_new_privileges());
    let seccomp = match spec.linux_mut() {
        Some(linux) => take_seccomp(linux, no_new_privileges)?,
        None => None,
    };
    if let Some(process) = spec.process_mut() {
        normalise_process(process);
    }
    Ok(NormalSpec { spec, cgroup_path, cgroup, seccomp })
}

/// Everything in a specification that cannot be honoured, each with its path.
fn faults(spec: &Spec) -> Vec<String> {
    let mut faults = Vec::new();
    match spec.process() {
        None => faults.push("process: is missing".to_owned()),
        Some(process) => process_faults(process, &mut faults),
    }
    match spec.linux() {
        None => faults.push("linux: is missing".to_owned()),
        Some(linux) => linux_faults(linux, &mut faults),
    }
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let options = mount.options().iter().flatten();
        for unsupported in options.filter(|option| ["idmap", "ridmap", "tmpcopyup"].contains(&option.as_str())) {
            faults.push(format!("mounts[{index}].options: {unsupported} is not supported"));
        }
        if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
            faults.push(format!("mounts[{index}]: idmapped mounts are not supported"));
        }
    }
    hook_faults(spec, &mut faults);
    faults
}

fn hook_faults(spec: &Spec, faults: &mut Vec<String>) {
    let Some(hooks) = spec.hooks() else { return };
    let stages = [
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (stage, hooks) in stages {
        for (index, hook) in hooks.iter().flatten().enumerate().filter(|(_index, hook)| !hook.path().is_absolute()) {
            faults.push(format!("hooks.{stage}[{index}].path: {:?} is not an absolute path", hook.path()));
        }
    }
}

fn process_faults(process: &Process, faults: &mut Vec<String>) {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        faults.push("process.args: cannot be empty".to_owned());
    }
    if !process.cwd().is_absolute() {
        faults.push(format!("process.cwd: {:?} is not an absolute path", process.cwd()));
    }
    if process.selinux_label().as_ref().is_some_and(|label| !label.is_empty()) {
        faults.push("process.selinuxLabel: SELinux is not supported".to_owned());
    }
    let wants_apparmor = process.apparmor_profile().as_ref().is_some_and(|profile| !profile.is_empty());
    if wants_apparmor && !libcontainer::apparmor::is_enabled().unwrap_or(false) {
        faults.push("process.apparmorProfile: AppArmor is not enabled on this machine".to_owned());
    }
}

fn linux_faults(linux: &Linux, faults: &mut Vec<String>) {
    if linux.mount_label().as_ref().is_some_and(|label| !label.is_empty()) {
        faults.push("linux.mountLabel: SELinux is not supported".to_owned());
    }
    if linux.intel_rdt().is_some() {
        faults.push("linux.intelRdt: is not supported".to_owned());
    }
    if linux.personality().as_ref().is_some_and(|personality| personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()))
    {
        faults.push("linux.personality.flags: are not supported".to_owned());
    }
    if linux.seccomp().as_ref().is_some_and(seccomp::notifies) {
        faults.push("linux.seccomp: SCMP_ACT_NOTIFY is not supported yet".to_owned());
    }
}

/// L6: libcontainer makes device nodes and links below `<rootfs>/dev` from outside, so a symbolic link there would lead it
/// out of the root file system.
fn refuse_symlinked_dev(rootfs: &Path) -> anyhow::Result<()> {
    let root = File::open(rootfs).with_context(|| format!("open the root file system {}", rootfs.display()))?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_BENEATH);
    match openat2(&root, "dev", how) {
        Ok(_) | Err(nix::Error::ENOENT) => Ok(()),
        Err(nix::Error::ELOOP) => anyhow::bail!(
            "{}: is a symbolic link, which would lead out of the container: the image must have a directory there",
            rootfs.join("dev").display()
        ),
        Err(error) => Err(error).with_context(|| format!("open {}", rootfs.join("dev").display())),
    }
}

/// L18: an absolute path without `..`, from the root of each hierarchy.
fn cgroup_path(written: Option<&Path>, id: &ContainerId) -> anyhow::Result<PathBuf> {
    let Some(written) = written.filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(Path::new("/hshim").join(id.as_str()));
    };
    let mut path = PathBuf::from("/");
    for component in written.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                anyhow::bail!("linux.cgroupsPath: {} must not contain \"..\"", written.display())
            }
        }
    }
    anyhow::ensure!(path != Path::new("/"), "linux.cgroupsPath: the root cgroup cannot be a container's");
    Ok(path)
}

/// L4: on cgroup v1 libcontainer binds every hierarchy read-write, the host's root of `name=systemd` included. The
/// container gets read-only views of its own cgroups instead.
fn replaced(mount: &Mount, cgroup: &Cgroup) -> Vec<Mount> {
    if mount.typ().as_deref() != Some("cgroup") || !cgroup.is_v1() {
        return vec![mount.clone()];
    }
    let mut mounts: Vec<Mount> =
        made("tmpfs", Path::new("tmpfs"), mount.destination(), &["mode=755", "size=64k"]).into_iter().collect();
    for dir in cgroup.dirs().iter().filter(|dir| dir.kind != HierarchyKind::Unified) {
        if let Some(name) = dir.mount_point.file_name() {
            mounts.extend(made("bind", &dir.path, &mount.destination().join(name), &["bind", "ro"]));
        }
    }
    mounts
}

fn made(typ: &str, source: &Path, destination: &Path, options: &[&str]) -> Option<Mount> {
    let options = ["nosuid", "noexec", "nodev"].iter().chain(options).map(ToString::to_string).collect::<Vec<String>>();
    // All fields are given, so the builder has nothing to miss.
    MountBuilder::default().typ(typ).source(source).destination(destination).options(options).build().ok()
}

/// L17: with `noNewPrivileges: false` written out, libcontainer loads the filter after it has dropped the capability to do
/// so; only an absent field takes the right order. With `true` the filter can be loaded last, by hshim, from its cache.
fn take_seccomp(linux: &mut Linux, no_new_privileges: Option<bool>) -> anyhow::Result<Option<LinuxSeccomp>> {
    let profile = linux.seccomp().clone();
    if no_new_privileges == Some(true) {
        linux.set_seccomp(None);
        return Ok(profile);
    }
    linux.set_seccomp(profile.as_ref().map(seccomp::for_libcontainer).transpose()?);
    Ok(None)
}

fn normalise_process(process: &mut Process) {
    if process.no_new_privileges() == Some(false) {
        process.set_no_new_privileges(None);
    }
    // hshim sets it before it clones (libcontainer_builder.rs), and knows when it must not.
    process.set_oom_score_adj(None);
    let capabilities = complete(process.capabilities().as_ref());
    process.set_capabilities(Some(capabilities));
    if process.apparmor_profile().as_ref().is_some_and(String::is_empty) {
        process.set_apparmor_profile(None);
    }
    if let Some(limits) = process.rlimits().as_ref().filter(|_| !may_raise_limits()) {
        process.set_rlimits(Some(limits.iter().map(clamped).collect()));
    }
}

/// L21: libcontainer leaves a set that is not written as it is, which is the caller's full one. Not written means empty.
fn complete(written: Option<&LinuxCapabilities>) -> LinuxCapabilities {
    let set =
        |of: fn(&LinuxCapabilities) -> &Option<Capabilities>| written.and_then(|written| of(written).clone()).unwrap_or_default();
    let mut complete = written.cloned().unwrap_or_default();
    complete
        .set_bounding(Some(set(LinuxCapabilities::bounding)))
        .set_effective(Some(set(LinuxCapabilities::effective)))
        .set_permitted(Some(set(LinuxCapabilities::permitted)))
        .set_inheritable(Some(set(LinuxCapabilities::inheritable)))
        .set_ambient(Some(set(LinuxCapabilities::ambient)));
    complete
}

/// Whether hard limits and `oom_score_adj` may be changed freely; machines inside machines often lack it.
pub(crate) fn may_raise_limits() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE).unwrap_or(false)
}

/// A limit that this process can set without CAP_SYS_RESOURCE.
pub(crate) fn clamped(limit: &PosixRlimit) -> PosixRlimit {
    let hard = getrlimit(rlimit::resource(limit.typ())).map_or(u64::MAX, |(_soft, hard)| hard);
    if limit.hard() > hard {
        log::warn!(
            "process.rlimits: {}: {} is above {hard}, and CAP_SYS_RESOURCE is missing: {hard} is used",
            limit.typ(),
            limit.hard()
        );
    }
    let builder = PosixRlimitBuilder::default().typ(limit.typ()).hard(limit.hard().min(hard)).soft(limit.soft().min(hard));
    // All fields are given, so the builder has nothing to miss.
    builder.build().unwrap_or(*limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ContainerId {
        "c1".parse().unwrap()
    }

    #[test]
    fn a_cgroup_path_is_absolute_and_stays_inside() {
        for (written, normal) in [(None, "/hshim/c1"), (Some(""), "/hshim/c1"), (Some("/a/b"), "/a/b"), (Some("a/./b/"), "/a/b")]
        {
            assert_eq!(cgroup_path(written.map(Path::new), &id()).unwrap(), Path::new(normal), "{written:?}");
        }
        for refused in ["/", "a/../..", "/.."] {
            assert!(cgroup_path(Some(Path::new(refused)), &id()).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_filter_without_no_new_privs_is_left_to_libcontainer_in_the_order_that_works() {
        let mut spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.0.2", "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/", "noNewPrivileges": false},
            "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}
        }))
        .unwrap();
        normalise_process(spec.process_mut().as_mut().unwrap());
        assert_eq!(spec.process().as_ref().unwrap().no_new_privileges(), None);
        let linux = spec.linux_mut().as_mut().unwrap();
        assert!(take_seccomp(linux, Some(false)).unwrap().is_none());
        assert!(linux.seccomp().is_some());
        assert!(take_seccomp(linux, Some(true)).unwrap().is_some());
        assert!(linux.seccomp().is_none());
    }

    #[test]
    fn a_capability_set_that_is_not_written_is_empty() {
        for (written, effective) in [(serde_json::json!(null), 0), (serde_json::json!({"effective": ["CAP_KILL"]}), 1)] {
            let written: Option<LinuxCapabilities> = serde_json::from_value(written).unwrap();
            let complete = complete(written.as_ref());
            assert_eq!(complete.effective().as_ref().unwrap().len(), effective);
            for set in [complete.bounding(), complete.permitted(), complete.inheritable(), complete.ambient()] {
                assert!(set.as_ref().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_all_at_once() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.0.2", "process": {"user": {"uid": 0, "gid": 0}, "args": [], "cwd": "x", "selinuxLabel": "a:b"},
            "mounts": [{"destination": "/d", "options": ["idmap", "ro"]}],
            "linux": {"mountLabel": "x", "intelRdt": {}}
        }))
        .unwrap();
        let faults = faults(&spec);
        let paths: Vec<&str> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(
            paths,
            ["process.args", "process.cwd", "process.selinuxLabel", "linux.mountLabel", "linux.intelRdt", "mounts[0].options"]
        );
    }
}
