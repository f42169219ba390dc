//! config.json of a pod's container: what the kubelet and containerd's CRI plugin would ask for.

use std::path::Path;

use hshim_health::admission::{AdmittedContainer, AdmittedPod};
use hshim_health::layout::{self, SupervisionDir};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use super::container_process::ContainerProcess;
use super::pod_files::PodFiles;
use super::pod_namespaces::Shared;

/// containerd's defaults (pkg/oci, `defaultUnixCaps`).
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// What containerd's unit gives its containers; less where this process may not have so much.
const OPEN_FILES: u64 = 1_048_576;
/// The kubelet's for a pod without requests and limits: it is the first to go.
const OOM_SCORE: i32 = 1000;

/// The pod that a container is of.
pub(crate) struct PodContext<'a> {
    /// As meant.
    pub(crate) pod: &'a AdmittedPod,
    /// Its uid.
    pub(crate) uid: &'a str,
    /// Its directory.
    pub(crate) dir: &'a SupervisionDir,
    /// What is made for it.
    pub(crate) files: &'a PodFiles,
}

/// Cgroup of a pod, from the root of each hierarchy; the shim removes it at the end.
pub(crate) fn pod_cgroup(uid: &str) -> String {
    format!("/hshim/pod{uid}")
}

/// The specification of one container.
pub(crate) fn of(context: &PodContext<'_>, container: &AdmittedContainer, process: &ContainerProcess) -> Value {
    let account = &process.account;
    let sets = ["bounding", "effective", "permitted"].map(|set| (set.to_owned(), json!(CAPABILITIES)));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": account.uid, "gid": account.gid, "additionalGids": account.groups},
            "args": process.args,
            "env": process.env,
            "cwd": process.cwd,
            "capabilities": Value::Object(sets.into_iter().collect()),
            "rlimits": [rlimit()],
            "oomScoreAdj": OOM_SCORE,
            "noNewPrivileges": false,
        },
        "root": {"path": "rootfs"},
        "mounts": mounts(context, container),
        "annotations": {
            "io.kubernetes.cri.container-name": container.name,
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.image-name": container.image,
            "io.kubernetes.cri.sandbox-name": context.pod.name,
            "io.kubernetes.cri.sandbox-namespace": context.pod.namespace,
            "io.kubernetes.cri.sandbox-uid": context.uid,
        },
        "linux": {
            "cgroupsPath": format!("{}/{}", pod_cgroup(context.uid), container.name),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces(context),
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    })
}

/// OCI container id.
pub(crate) fn id(pod: &AdmittedPod, container: &AdmittedContainer) -> String {
    layout::container_id(&pod.namespace, &pod.name, &container.name)
}

fn rlimit() -> Value {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(OPEN_FILES, |(_soft, hard)| hard).min(OPEN_FILES);
    json!({"type": "RLIMIT_NOFILE", "soft": hard, "hard": hard})
}

fn namespaces(context: &PodContext<'_>) -> Vec<Value> {
    let own = ["pid", "mount"].map(|kind| json!({"type": kind}));
    let dir = context.dir.namespaces();
    let shared = Shared::of_pod(context.pod.host_network).iter();
    let shared = shared.map(|kind| json!({"type": kind.oci_name(), "path": dir.join(kind.file())}));
    own.into_iter().chain(shared).collect()
}

/// The usual ones, with the pod's over them; what lies below comes later.
fn mounts(context: &PodContext<'_>, container: &AdmittedContainer) -> Vec<Value> {
    let mut mounts = usual_mounts();
    for (destination, source) in context.files.for_every_container() {
        mounts.push(bind(&source, destination, "rw", "bind"));
    }
    for mount in &container.mounts {
        let Some(source) = context.files.volume(&mount.volume) else { continue };
        mounts.push(bind(source, &mount.path, if mount.read_only { "ro" } else { "rw" }, "rbind"));
    }
    let destination = |mount: &Value| mount.get("destination").and_then(Value::as_str).unwrap_or_default().to_owned();
    let spelled = |mount: &Value| Path::new(&destination(mount)).components().collect::<std::path::PathBuf>();
    let last_of_place: Vec<Value> = mounts
        .iter()
        .enumerate()
        .filter(|(at, mount)| !mounts.iter().skip(at + 1).any(|later| spelled(later) == spelled(mount)))
        .map(|(_, mount)| mount.clone())
        .collect();
    let mut mounts = last_of_place;
    // Stable: what is equally deep stays in order.
    mounts.sort_by_key(|mount| spelled(mount).components().count());
    mounts
}

fn usual_mounts() -> Vec<Value> {
    let rows: [(&str, &str, &str, &[&str]); 6] = [
        ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ];
    let mount = |(destination, kind, source, options)| json!({"destination": destination, "type": kind, "source": source, "options": options});
    rows.into_iter().map(mount).collect()
}

fn bind(source: &Path, destination: &str, access: &str, kind: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": [kind, "rprivate", access]})
}
