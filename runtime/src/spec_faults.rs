//! Everything in a specification that is wrong, or that cannot be honoured and must not be ignored: all at once, each with its path.
//!
//! Nothing here looks at more than the specification (and, for joined namespaces, network devices and AppArmor, at this machine): no container has begun
//! when it is refused.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use libcontainer::oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType, Mount, PosixRlimit, Process, Spec,
};

use nix::net::if_::if_nametoindex;

use crate::copy_up::is_copied_up;
use crate::late_mounts::{is_bind, normal, propagation};
use crate::scheduling;
use crate::seccomp;

/// The kernel's device numbers (12 and 20 bits).
const LARGEST_MAJOR: i64 = 0xfff;
const LARGEST_MINOR: i64 = 0xf_ffff;

/// All faults of a specification.
pub(crate) fn faults(spec: &Spec) -> Vec<String> {
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
        mount_faults(mount, index, &mut faults);
    }
    hook_faults(spec, &mut faults);
    faults
}

fn hook_faults(spec: &Spec, faults: &mut Vec<String>) {
    let Some(hooks) = spec.hooks() else { return };
    #[allow(deprecated, reason = "it is deprecated in the specification, and honoured")]
    let prestart = hooks.prestart();
    let stages = [
        ("prestart", prestart),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (stage, hooks) in stages {
        for (index, hook) in hooks.iter().flatten().enumerate() {
            if !hook.path().is_absolute() {
                faults.push(format!("hooks.{stage}[{index}].path: {:?} is not an absolute path", hook.path()));
            }
            if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                faults.push(format!("hooks.{stage}[{index}].timeout: is not greater than zero"));
            }
        }
    }
}

fn mount_faults(mount: &Mount, index: usize, faults: &mut Vec<String>) {
    if mount.destination().as_os_str().is_empty() {
        faults.push(format!("mounts[{index}].destination: is missing"));
    }
    let options = mount.options().iter().flatten();
    for unsupported in options.filter(|option| ["idmap", "ridmap"].contains(&option.as_str())) {
        faults.push(format!("mounts[{index}].options: {unsupported} is not supported"));
    }
    if is_copied_up(mount) && (mount.typ().as_deref() != Some("tmpfs") || is_bind(mount)) {
        faults.push(format!("mounts[{index}].options: tmpcopyup is for a tmpfs only"));
    }
    if is_copied_up(mount) && normal(mount.destination()) == Path::new("/") {
        faults.push(format!("mounts[{index}].options: tmpcopyup cannot be used on the root directory"));
    }
    if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
        faults.push(format!("mounts[{index}]: idmapped mounts are not supported"));
    }
}

fn process_faults(process: &Process, faults: &mut Vec<String>) {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        faults.push("process.args: cannot be empty".to_owned());
    }
    for (path, texts) in [("args", process.args()), ("env", process.env())] {
        for (index, _text) in texts.iter().flatten().enumerate().filter(|(_index, text)| text.contains('\0')) {
            faults.push(format!("process.{path}[{index}]: contains NUL"));
        }
    }
    if !process.cwd().is_absolute() {
        faults.push(format!("process.cwd: {:?} is not an absolute path", process.cwd()));
    }
    user_faults(process, faults);
    let mut types = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        limit_faults(limit, faults);
        if types.contains(&limit.typ()) {
            faults.push(format!("process.rlimits: {} is written twice", limit.typ()));
        }
        types.push(limit.typ());
    }
    if process.oom_score_adj().is_some_and(|score| !(-1000..=1000).contains(&score)) {
        faults.push("process.oomScoreAdj: is not between -1000 and 1000".to_owned());
    }
    if let Err(error) = scheduling::of_process(process) {
        faults.push(format!("{error:#}"));
    }
    if process.selinux_label().as_ref().is_some_and(|label| !label.is_empty()) {
        faults.push("process.selinuxLabel: SELinux is not supported".to_owned());
    }
    let wants_apparmor = process.apparmor_profile().as_ref().is_some_and(|profile| !profile.is_empty());
    if wants_apparmor && !libcontainer::apparmor::is_enabled().unwrap_or(false) {
        faults.push("process.apparmorProfile: AppArmor is not enabled on this machine".to_owned());
    }
}

/// For the system calls that take ids, the largest number means "as before", which is root.
fn user_faults(process: &Process, faults: &mut Vec<String>) {
    let user = process.user();
    let ids = [("uid", user.uid()), ("gid", user.gid())];
    let groups = user.additional_gids().iter().flatten().map(|group| ("additionalGids", *group));
    for (path, _id) in ids.into_iter().chain(groups).filter(|(_path, id)| *id == u32::MAX) {
        faults.push(format!("process.user.{path}: {} is no id", u32::MAX));
    }
    if user.umask().is_some_and(|umask| umask > 0o777) {
        faults.push("process.user.umask: is more than 0777".to_owned());
    }
}

fn limit_faults(limit: &PosixRlimit, faults: &mut Vec<String>) {
    if limit.soft() > limit.hard() {
        faults.push(format!("process.rlimits: {}: soft {} is above hard {}", limit.typ(), limit.soft(), limit.hard()));
    }
}

fn linux_faults(linux: &Linux, faults: &mut Vec<String>) {
    for (path, is_there) in [
        ("mountLabel: SELinux", linux.mount_label().as_ref().is_some_and(|label| !label.is_empty())),
        ("intelRdt:", linux.intel_rdt().is_some()),
    ] {
        if is_there {
            faults.push(format!("linux.{path} is not supported"));
        }
    }
    faults.extend(linux.memory_policy().as_ref().and_then(scheduling::memory_policy_fault));
    net_device_faults(linux, faults);
    let personality = linux.personality().as_ref().and_then(|personality| personality.flags().as_ref());
    if personality.is_some_and(|flags| !flags.is_empty()) {
        faults.push("linux.personality.flags: the specification knows none".to_owned());
    }
    if linux.seccomp().as_ref().is_some_and(seccomp::notifies) {
        faults.push("linux.seccomp: SCMP_ACT_NOTIFY is not supported yet".to_owned());
    }
    if let Some(root) = linux.rootfs_propagation().as_deref().filter(|root| !root.is_empty() && propagation(root).is_none()) {
        faults.push(format!("linux.rootfsPropagation: {root:?} is none of shared, slave, private, unbindable"));
    }
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        device_faults(device, index, faults);
    }
    namespace_faults(linux, faults);
}

fn net_device_faults(linux: &Linux, faults: &mut Vec<String>) {
    let Some(devices) = linux.net_devices().as_ref().filter(|devices| !devices.is_empty()) else { return };
    let namespaces = || linux.namespaces().iter().flatten();
    if !namespaces().any(|namespace| namespace.typ() == LinuxNamespaceType::Network) {
        faults.push("linux.netDevices: need a network namespace to be moved to".to_owned());
    }
    let mut new_names = BTreeSet::new();
    for (name, device) in devices {
        let new_name = device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(name);
        for name in [name, new_name].into_iter().filter(|name| !is_device_name(name)) {
            faults.push(format!("linux.netDevices: {name:?} is no name of a network device"));
        }
        if is_device_name(name) && if_nametoindex(name.as_str()).is_err() {
            faults.push(format!("linux.netDevices: {name}: there is no such device in the network namespace of the runtime"));
        }
        if !new_names.insert(new_name) {
            faults.push(format!("linux.netDevices: two devices would be named {new_name:?}"));
        }
    }
}

/// As `dev_valid_name` of the kernel; a `%` would make it look for a free number.
fn is_device_name(name: &str) -> bool {
    let fits = !name.is_empty() && name.len() < libc::IFNAMSIZ && name != "." && name != "..";
    fits && !name.contains(|c: char| c == '/' || c == ':' || c == '%' || c.is_ascii_whitespace() || c == '\0')
}

fn device_faults(device: &LinuxDevice, index: usize, faults: &mut Vec<String>) {
    let at = format!("linux.devices[{index}]");
    if !device.path().is_absolute() || device.path().file_name().is_none() {
        faults.push(format!("{at}.path: {:?} is not an absolute path of a device", device.path()));
    }
    if device.typ() == LinuxDeviceType::A {
        faults.push(format!("{at}.type: \"a\" is no type of a device node"));
    }
    if !(0..=LARGEST_MAJOR).contains(&device.major()) || !(0..=LARGEST_MINOR).contains(&device.minor()) {
        faults.push(format!("{at}: {}:{} is no device number", device.major(), device.minor()));
    }
}

fn namespace_faults(linux: &Linux, faults: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for namespace in linux.namespaces().iter().flatten() {
        let typ = namespace.typ();
        if !seen.insert(typ.to_string()) {
            faults.push(format!("linux.namespaces: {typ} is there twice"));
        }
        if let Some(path) = namespace.path().as_ref().filter(|path| !path.is_absolute()) {
            faults.push(format!("linux.namespaces: {typ}: {} is not an absolute path", path.display()));
        }
    }
    let sets = |prefixes: &[&str]| {
        let names = linux.sysctl().iter().flat_map(|all| all.keys());
        names.into_iter().any(|name| prefixes.iter().any(|prefix| name.replace('/', ".").starts_with(prefix)))
    };
    for (typ, file, prefixes) in [
        (LinuxNamespaceType::Ipc, "ipc", &["kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."][..]),
        (LinuxNamespaceType::Uts, "uts", &["kernel.domainname"][..]),
    ] {
        if sets(prefixes) && joins_own(linux, typ, file) {
            faults.push(format!("linux.sysctl: would change this machine's own {file} namespace, which the container joins"));
        }
    }
}

/// Whether a namespace that is joined by its path is the one of this process.
fn joins_own(linux: &Linux, typ: LinuxNamespaceType, file: &str) -> bool {
    let joined = |namespace: &&LinuxNamespace| namespace.typ() == typ;
    let Some(path) = linux.namespaces().iter().flatten().find(joined).and_then(|namespace| namespace.path().clone()) else {
        return false;
    };
    let inode = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    inode(&path).is_some() && inode(&path) == inode(&Path::new("/proc/self/ns").join(file))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn paths(process: Value, linux: Value, mounts: Value) -> Vec<String> {
        let mut whole = json!({"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"});
        let fields = process.as_object().cloned().unwrap_or_default();
        whole.as_object_mut().unwrap().extend(fields);
        let spec = json!({"ociVersion": "1.0.2", "process": whole, "linux": linux, "mounts": mounts});
        let spec: Spec = serde_json::from_value(spec).unwrap();
        faults(&spec).iter().filter_map(|fault| fault.split(':').next()).map(str::to_owned).collect()
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_all_at_once() {
        let found = paths(
            json!({"args": [], "cwd": "x", "selinuxLabel": "a:b"}),
            json!({"mountLabel": "x", "intelRdt": {}, "netDevices": {"eth0": {}}, "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "x"},
                "rootfsPropagation": "sideways"}),
            json!([{"destination": "/d", "options": ["idmap", "ro"]}]),
        );
        assert_eq!(
            found,
            [
                "process.args",
                "process.cwd",
                "process.selinuxLabel",
                "linux.mountLabel",
                "linux.intelRdt",
                "linux.memoryPolicy.nodes",
                "linux.netDevices",
                "linux.rootfsPropagation",
                "mounts[0].options"
            ]
        );
    }

    #[test]
    fn numbers_and_texts_that_mean_something_else_to_the_kernel_are_refused() {
        let found = paths(
            json!({"user": {"uid": u32::MAX, "gid": u32::MAX, "umask": 0o1000}, "args": ["a\0b"], "oomScoreAdj": 5000,
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]}),
            json!({"devices": [{"path": "dev/x", "type": "c", "major": -1, "minor": 0}],
                "namespaces": [{"type": "pid"}, {"type": "pid"}, {"type": "ipc", "path": "x"}]}),
            json!([]),
        );
        assert_eq!(
            found,
            [
                "process.args[0]",
                "process.user.uid",
                "process.user.gid",
                "process.user.umask",
                "process.rlimits",
                "process.oomScoreAdj",
                "linux.devices[0].path",
                "linux.devices[0]",
                "linux.namespaces",
                "linux.namespaces"
            ]
        );
    }

    #[test]
    fn a_sysctl_of_this_machines_own_namespace_is_refused() {
        let namespaces = |path: Value| json!({"namespaces": [path], "sysctl": {"kernel.shmmax": "1"}});
        let own = namespaces(json!({"type": "ipc", "path": "/proc/self/ns/ipc"}));
        assert_eq!(paths(json!({}), own, json!([])), ["linux.sysctl"]);
        assert!(paths(json!({}), namespaces(json!({"type": "ipc"})), json!([])).is_empty());
    }
}
