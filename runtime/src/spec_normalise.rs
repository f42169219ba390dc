//! The specification as libcontainer gets it: what it would do wrongly or not at all is refused, taken out or put right.
//!
//! The numbers L1–L19 are those of the audit of libcontainer 0.7. The original stays beside it: `state`, `exec` and every
//! restart go by what the caller wrote.

use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use caps::{CapSet, Capability};
use libcontainer::oci_spec::runtime::{
    Capabilities, Linux, LinuxCapabilities, LinuxSeccomp, Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder, Process, Spec,
};
use libcontainer::validator::Validator;
use nix::sys::resource::getrlimit;
use nix::sys::stat::Mode;

use crate::bundle::Bundle;
use crate::cgroup::limits::Limits;
use crate::cgroup::systemd::Unit;
use crate::cgroup::{Cgroup, Driver, HierarchyKind};
use crate::container_id::ContainerId;
use crate::hooks;
use crate::late_mounts::{LateMounts, is_bind, normal, propagation};
use crate::mount_options;
use crate::mount_targets;
use crate::rlimit;
use crate::rootfs_dev::prepare_dev;
use crate::rootless;
use crate::seccomp;
use crate::spec_faults::faults;

/// What libcontainer gets.
#[derive(Debug)]
pub(crate) struct NormalSpec {
    /// Without what is done by hshim.
    pub(crate) spec: Spec,
    /// Path of its cgroup from the root of each hierarchy.
    pub(crate) cgroup_path: PathBuf,
    /// The same as directories.
    pub(crate) cgroup: Cgroup,
    /// What libcontainer does not get to see of the resources: all.
    pub(crate) limits: Limits,
    /// The profile that hshim loads itself; none when there is none, or when libcontainer has to (see [`take_seccomp`]).
    pub(crate) seccomp: Option<LinuxSeccomp>,
    /// The limits that hshim sets itself ([`rlimit::raise`]).
    pub(crate) rlimits: Vec<PosixRlimit>,
    /// What hshim does in the container's mount namespace.
    pub(crate) late_mounts: LateMounts,
}

/// Of the container's first process, when the specification names none (runc's).
pub(crate) const UMASK: Mode = Mode::from_bits_truncate(0o022);

/// Puts a bundle's specification into the form that libcontainer does right.
pub(crate) fn normalise(bundle: &Bundle, id: &ContainerId, driver: Driver) -> anyhow::Result<NormalSpec> {
    let faults = faults(&bundle.spec);
    let file = bundle.dir.join("config.json");
    anyhow::ensure!(faults.is_empty(), "{}: {}", file.display(), faults.join("; "));
    Validator::validate_spec(&bundle.spec).with_context(|| file.display().to_string())?;
    let mut spec = bundle.spec.clone();
    hooks::write_out_environment(&mut spec);
    let mut mounts: Vec<Mount> = spec.mounts().iter().flatten().map(|mount| written_out(mount, &bundle.dir)).collect();
    mount_targets::resolve(&bundle.rootfs, &mut mounts)?;
    spec.set_mounts(Some(mounts));
    prepare_dev(&bundle.rootfs, &spec)?;
    if let Some(root) = spec.root_mut() {
        root.set_path(bundle.rootfs.clone());
    }
    let written = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    let (cgroup_path, cgroup) = place(written, id, driver)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(cgroup_path.clone()));
        linux.set_rootfs_propagation(linux.rootfs_propagation().as_deref().and_then(root_propagation));
    }
    let limits = take_resources(&mut spec, &cgroup, driver).with_context(|| file.display().to_string())?;
    rootless::take_user_namespace(&mut spec);
    let late_mounts = LateMounts::take(&mut spec)?;
    let mut mounts: Vec<Mount> = spec.mounts().iter().flatten().flat_map(|mount| replaced(mount, &cgroup)).collect();
    mounts.iter_mut().for_each(mount_options::for_kernel);
    spec.set_mounts(Some(mounts));
    let no_new_privileges = spec.process().as_ref().and_then(|process| process.no_new_privileges());
    let seccomp = match spec.linux_mut() {
        Some(linux) => take_seccomp(linux, no_new_privileges)?,
        None => None,
    };
    let rlimits = spec.process_mut().as_mut().map(normalise_process).unwrap_or_default();
    Ok(NormalSpec { spec, cgroup_path, cgroup, limits, seccomp, rlimits, late_mounts })
}

/// A mount with what libcontainer does not assume: a source, seen from the bundle, and an absolute destination.
fn written_out(mount: &Mount, bundle: &Path) -> Mount {
    let mut mount = mount.clone();
    mount.set_destination(normal(mount.destination()));
    let source = match mount.source().clone() {
        Some(source) if is_bind(&mount) => bundle.join(source),
        Some(source) => source,
        None => PathBuf::from(mount.typ().clone().unwrap_or_else(|| "none".to_owned())),
    };
    mount.set_source(Some(source));
    mount
}

/// libcontainer understands the names without the `r`, and is recursive in any case. Absent means what runc does then.
fn root_propagation(written: &str) -> Option<String> {
    let name = written.strip_prefix('r').filter(|name| propagation(name).is_some()).unwrap_or(written);
    (!name.is_empty()).then(|| name.to_owned())
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

/// L5, and what else libcontainer leaves out: device rules on cgroup v2, rdma, an update that means the same as the create.
fn take_resources(spec: &mut Spec, cgroup: &Cgroup, driver: Driver) -> anyhow::Result<Limits> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(None);
    }
    if driver == Driver::Absent {
        return Limits::of_absent(&resources);
    }
    let limits = Limits::of_new(&resources, cgroup)?;
    match (driver, spec.annotations()) {
        (Driver::Systemd, Some(annotations)) => limits.annotated(annotations),
        (Driver::Systemd, None) | (Driver::Files | Driver::Absent, _) => Ok(limits),
    }
}

/// Where the container's cgroup is to be.
fn place(written: Option<&Path>, id: &ContainerId, driver: Driver) -> anyhow::Result<(PathBuf, Cgroup)> {
    match driver {
        Driver::Files => {
            let path = cgroup_path(written, id)?;
            Cgroup::locate(&path).map(|cgroup| (path, cgroup))
        }
        Driver::Systemd => {
            let unit = Unit::parse(written, id.as_str())?;
            let path = unit.cgroup_path();
            Cgroup::locate_unit(unit).map(|cgroup| (path, cgroup))
        }
        // libcontainer wants a path, tries it, and passes over it.
        Driver::Absent => cgroup_path(written, id).map(|path| (path, Cgroup::default())),
    }
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

/// Returns the limits, taken out.
fn normalise_process(process: &mut Process) -> Vec<PosixRlimit> {
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
    let limits = process.rlimits().clone().unwrap_or_default();
    process.set_rlimits(None);
    if may_raise_limits() { limits } else { limits.iter().map(clamped).collect() }
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
    // In a user namespace it is there, and not enough.
    !rootless::in_user_namespace() && caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE).unwrap_or(false)
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
}
