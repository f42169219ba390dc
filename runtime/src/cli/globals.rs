//! The flags before the verb.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hshim_health::layout;

use crate::rootless;

/// Flags before the verb, the same for every verb.
#[derive(Args, Clone, Debug)]
pub(crate) struct Globals {
    /// Directory of the state of containers and pods; should be on a tmpfs. Without root: $XDG_RUNTIME_DIR/hshim.
    #[arg(long, value_name = "DIR", env = "HSHIM_ROOT", default_value_os_t = rootless::default_root())]
    pub(crate) root: PathBuf,
    /// Directory of images, writable layers, volumes and logs.
    #[arg(long, value_name = "DIR", env = "HSHIM_DATA", default_value = layout::DATA)]
    pub(crate) data: PathBuf,
    /// Directory of the presets of this node.
    #[arg(long, value_name = "DIR", env = layout::PRESETS_VARIABLE, default_value = layout::PRESETS)]
    pub(crate) presets_dir: PathBuf,
    /// Append the log to this file instead of writing it to standard error.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Format of the log.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// The least serious level that is logged.
    #[arg(long, value_name = "LEVEL", default_value = "warn", value_parser = crate::logging::parse_level)]
    pub(crate) log_level: log::LevelFilter,
    /// Log everything; the same as --log-level debug.
    #[arg(long)]
    pub(crate) debug: bool,
    /// Let systemd make the cgroups; cgroupsPath is then "slice:prefix:name".
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// Who makes the cgroups (crun's spelling of --systemd-cgroup).
    #[arg(long, value_name = "MANAGER", value_enum)]
    pub(crate) cgroup_manager: Option<CgroupManager>,
    /// Whether a container without limits may go without a cgroup where none can be written: auto is yes for all but root.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Rootless::Auto)]
    pub(crate) rootless: Rootless,
    /// Program for checkpoints. Accepted for runc's callers; hshim makes no checkpoints.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) criu: Option<PathBuf>,
}

impl Globals {
    /// Whether systemd makes the cgroups, by either spelling.
    pub(crate) fn uses_systemd(&self) -> bool {
        self.systemd_cgroup || self.cgroup_manager == Some(CgroupManager::Systemd)
    }

    /// The level that the flags ask for together.
    pub(crate) fn level(&self) -> log::LevelFilter {
        if self.debug { log::LevelFilter::Debug } else { self.log_level }
    }
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// `time="…" level=error msg="…"`.
    Text,
    /// One JSON object a line, with the keys level, msg and time.
    Json,
}

/// `--cgroup-manager`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CgroupManager {
    /// Directories in the cgroup file systems.
    Cgroupfs,
    /// Units of systemd.
    Systemd,
    /// None; not supported.
    Disabled,
}

/// `--rootless`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rootless {
    /// Yes.
    True,
    /// No: every container gets a cgroup.
    False,
    /// Unless this is root of the machine.
    Auto,
}
