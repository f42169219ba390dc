//! The files that processes of hshim leave for each other: JSON, versioned, replaced by rename.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::plan::PodPlan;
use crate::status::PodStatus;

/// Version of all records here; a reader refuses another one.
pub const VERSION: u32 = 1;

/// `supervision.json`: everything a shim must know to look after a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Supervision {
    /// [`VERSION`].
    pub version: u32,
    /// What to decide by.
    pub plan: PodPlan,
    /// The OCI runtime to drive.
    pub runtime: RuntimeCommand,
    /// `--root` of the operator's command line.
    pub root: PathBuf,
    /// `--data` of the operator's command line.
    pub data: PathBuf,
    /// One for each container of the plan, in its order.
    pub launches: Vec<Launch>,
}

/// The OCI runtime as a command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuntimeCommand {
    /// Absolute path.
    pub path: PathBuf,
    /// It is hshim: it takes `--supervise never` and `delete --keep-cgroup`, and prepares `enter.bin`.
    pub is_hshim: bool,
    /// Pass `--systemd-cgroup`.
    pub systemd_cgroup: bool,
    /// `--root` for the runtime.
    pub root: PathBuf,
    /// Further flags of `create`, as given by the caller of a supervised bundle (`--no-pivot` …).
    pub create_flags: Vec<String>,
}

/// How to bring one container to life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Launch {
    /// OCI container id, the same in every life.
    pub id: String,
    /// Directory with `config.json`.
    pub bundle: PathBuf,
    /// Its writable layer, fresh in every life; none when the bundle brings its own root file system.
    pub rootfs: Option<OverlayRootfs>,
    /// Where its output goes.
    pub stdio: Stdio,
}

/// An overlay to mount (mount(8), overlayfs).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverlayRootfs {
    /// Read-only layers, the topmost first.
    pub lower: Vec<PathBuf>,
    /// Emptied before each life.
    pub upper: PathBuf,
    /// Overlayfs' work directory, on the same file system as `upper`.
    pub work: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
}

/// Where a container's output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Stdio {
    /// Through FIFOs into files `RUN.log` of the CRI log format in this directory; standard input is empty.
    CriLog {
        /// Of this container.
        directory: PathBuf,
    },
    /// The descriptors 4, 5 and 6 that the shim was given.
    Inherited,
}

/// `shim.json`: which process the shim is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShimIdentity {
    /// [`VERSION`].
    pub version: u32,
    /// Its process id.
    pub process: ProcessIdentity,
}

/// A process that can be recognised later: its id alone may be reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// Field 22 of /proc/PID/stat, clock ticks since boot (proc_pid_stat(5)).
    pub start_time: u64,
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
}

/// `status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusFile {
    /// [`VERSION`].
    pub version: u32,
    /// As of the last change.
    pub status: PodStatus<Timestamp>,
}

/// A line of `events.jsonl`. Of the lines with one id the last one counts.
pub type EventLine = Event<Timestamp>;

/// `state.json`: what a new shim process needs in order to take over running containers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakeOver {
    /// [`VERSION`].
    pub version: u32,
    /// Moments in `supervisor` are of this boot.
    pub boot_id: String,
    /// The supervisor's own memory.
    pub supervisor: serde_json::Value,
    /// Of each container in the plan's order, its init process, when it has one.
    pub processes: Vec<Option<ProcessIdentity>>,
}
