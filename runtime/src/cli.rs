//! The command line: global flags before the verb, and the OCI verbs with runc's flags.
//!
//! The operator's verbs (`apply`, `get` …) stand in [`crate::operator::cli`]. Where both worlds have a verb (`exec`, `delete`,
//! `events`), [`crate::grammar`] decides which of them is meant before clap sees the arguments.

mod checkpoint;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hshim_health::layout;

pub(crate) use checkpoint::{CheckpointArgs, RestoreArgs};

use crate::operator::cli::OperatorCommand;
use crate::rootless;

/// The lines that callers of runc read after the program's name.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// A minimal OCI container runtime with built-in health supervision.
#[derive(Debug, Parser)]
#[command(name = "hshim", version = VERSION, about, disable_help_subcommand = true, disable_version_flag = true)]
pub(crate) struct Cli {
    /// What stands before the verb.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// Print the version and the newest specification that is understood.
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// The verb.
    #[command(subcommand)]
    pub(crate) command: Command,
}

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

/// Every verb.
#[allow(clippy::large_enum_variant, reason = "there is one in the whole process")]
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A verb of the OCI runtime.
    #[command(flatten)]
    Oci(OciCommand),
    /// A verb of the operator.
    #[command(flatten)]
    Operator(OperatorCommand),
}

/// The verbs of the OCI runtime (runtime-tools docs/command-line-interface.md, and runc's own).
#[allow(clippy::large_enum_variant, reason = "there is one in the whole process")]
#[derive(Debug, Subcommand)]
pub(crate) enum OciCommand {
    /// Create a container from a bundle; `start` runs its process.
    Create(CreateArgs),
    /// Run the process of a created container.
    Start(IdArgs),
    /// Print the state of a container as JSON.
    State(IdArgs),
    /// Send a signal to a container's init process.
    Kill(KillArgs),
    /// Delete what is left of a container.
    Delete(DeleteArgs),
    /// Create a container, start it, and wait for its end.
    Run(RunArgs),
    /// Run a further process in a running container.
    Exec(ExecArgs),
    /// Stop every process of a container where it stands.
    Pause(IdArgs),
    /// Let the processes of a paused container run again.
    Resume(IdArgs),
    /// Change the resource limits of a container.
    Update(UpdateArgs),
    /// Print what a container uses, and when it runs out of memory, as JSON lines.
    Events(EventsArgs),
    /// List the containers.
    List(ListArgs),
    /// Show the processes of a container.
    Ps(PsArgs),
    /// Write an example config.json.
    Spec(SpecArgs),
    /// Print what this runtime can do, as JSON.
    Features,
    /// Save a running container; not supported.
    Checkpoint(CheckpointArgs),
    /// Bring a saved container back; not supported.
    Restore(RestoreArgs),
    /// Hold a new unit of systemd until its container has joined.
    #[command(hide = true)]
    CgroupPlaceholder,
    /// Write the identity of a bundle's process for hshim-enter.
    #[command(hide = true)]
    EnterIdentity(EnterIdentityArgs),
}

/// A verb that takes nothing but the container.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
}

/// What `create` and `run` share.
#[derive(Args, Clone, Debug)]
pub(crate) struct BundleArgs {
    /// Name of the container; unique below --root.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// Directory with config.json and the root file system.
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) bundle: PathBuf,
    /// Unix socket that receives the master side of the container's terminal.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Write the process id to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Do not use pivot_root, for a root file system on a ramdisk.
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Do not make a session keyring: the container has the caller's.
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// Hand N further descriptors to the container, after stdio and $LISTEN_FDS.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// Unix socket that receives a pidfd of the container's process.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Whether a bundle that asks for health gets a supervisor.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Supervise::Auto)]
    pub(crate) supervise: Supervise,
}

/// `--supervise`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Supervise {
    /// When the bundle asks for it and no caller waits for the container itself (--pid-file).
    Auto,
    /// When the bundle asks for it; a bundle that does not is an error.
    Always,
    /// No.
    Never,
}

/// `create`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CreateArgs {
    /// What is created.
    #[command(flatten)]
    pub(crate) bundle: BundleArgs,
}

/// `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// What is created.
    #[command(flatten)]
    pub(crate) bundle: BundleArgs,
    /// Return once the process runs.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Do not delete the container after its end.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Do not adopt orphaned descendants of the container.
    #[arg(long)]
    pub(crate) no_subreaper: bool,
}

/// `kill`.
#[derive(Args, Clone, Debug)]
pub(crate) struct KillArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// Name or number of the signal.
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", allow_negative_numbers = true)]
    pub(crate) signal: String,
    /// To all processes of the container.
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// `delete`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeleteArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// Kill it if it still runs; a missing container is no error.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Leave its cgroup for the next life.
    #[arg(long, hide = true)]
    pub(crate) keep_cgroup: bool,
}

/// `exec`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExecArgs {
    /// Unix socket that receives the master side of the terminal.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Working directory in the container.
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Set an environment variable; may be repeated.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Allocate a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Numeric user id, or user and group ids joined by a colon.
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// Further groups; may be repeated.
    #[arg(short = 'g', long, value_name = "GID")]
    pub(crate) additional_gids: Vec<u32>,
    /// File with an OCI process object.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Return once the process runs.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Write the process id to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// SELinux label of the process; refused, SELinux is not supported.
    #[arg(long, value_name = "LABEL")]
    pub(crate) process_label: Option<String>,
    /// AppArmor profile of the process.
    #[arg(long, value_name = "PROFILE")]
    pub(crate) apparmor: Option<String>,
    /// Set no_new_privs.
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Add a capability; may be repeated.
    #[arg(short, long, value_name = "CAP")]
    pub(crate) cap: Vec<String>,
    /// Hand N further descriptors to the process, after stdio.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// Run the process in an existing cgroup below the container's; may be repeated on cgroup v1.
    #[arg(long, value_name = "[CONTROLLER,…:]PATH")]
    pub(crate) cgroup: Vec<String>,
    /// Unix socket that receives a pidfd of the process.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Do not refuse a paused container.
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// The command with its arguments.
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `update`. Numbers as runc takes them: bytes with or without a unit (512m), -1 for no limit, 0 for no change.
#[derive(Args, Clone, Debug)]
pub(crate) struct UpdateArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// File with an OCI resources object, or - for standard input; all other flags are then ignored.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,
    /// Weight of block devices, 10 to 1000.
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) blkio_weight: Option<u16>,
    /// Length of a scheduling period in microseconds.
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<u64>,
    /// Processor time in a period, in microseconds.
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Processor time that may be saved up, in microseconds.
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_burst: Option<u64>,
    /// Share of the processors beside other containers, 2 to 262144.
    #[arg(long, visible_alias = "cpu-shares", value_name = "SHARES")]
    pub(crate) cpu_share: Option<u64>,
    /// Length of a realtime period in microseconds.
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Realtime processor time in a period, in microseconds.
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// 1: only when nobody else wants the processors; 0: not.
    #[arg(long, value_name = "0|1")]
    pub(crate) cpu_idle: Option<i64>,
    /// Processors, as 0-2,5.
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes, as 0-1.
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,
    /// Memory in bytes.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = crate::quantity::bytes)]
    pub(crate) memory: Option<i64>,
    /// Memory in bytes that is left when others want some.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = crate::quantity::bytes)]
    pub(crate) memory_reservation: Option<i64>,
    /// Memory and swap together, in bytes.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = crate::quantity::bytes)]
    pub(crate) memory_swap: Option<i64>,
    /// Number of processes.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Schema of Intel's cache allocation; not supported.
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) l3_cache_schema: Option<String>,
    /// Schema of Intel's memory bandwidth allocation; not supported.
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) mem_bw_schema: Option<String>,
}

/// `events`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EventsArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// Between two statistics (500ms, 5s, 1m30s).
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = crate::quantity::duration)]
    pub(crate) interval: std::time::Duration,
    /// Print the statistics of now and end.
    #[arg(long)]
    pub(crate) stats: bool,
}

impl ExecArgs {
    /// As if no flag was given.
    pub(crate) fn of(id: String) -> Self {
        Self {
            console_socket: None,
            pidfd_socket: None,
            cwd: None,
            env: Vec::new(),
            tty: false,
            user: None,
            additional_gids: Vec::new(),
            process: None,
            detach: false,
            pid_file: None,
            process_label: None,
            apparmor: None,
            no_new_privs: false,
            cap: Vec::new(),
            preserve_fds: 0,
            cgroup: Vec::new(),
            ignore_paused: false,
            id,
            command: Vec::new(),
        }
    }
}

/// `list`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// Format of the output.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableOrJson::Table)]
    pub(crate) format: TableOrJson,
    /// Only names.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `ps`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PsArgs {
    /// Format of the output.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableOrJson::Table)]
    pub(crate) format: TableOrJson,
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// Options for ps(1); -ef when there are none.
    #[arg(value_name = "PS-OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<String>,
}

/// `--format` of `list` and `ps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableOrJson {
    /// Columns.
    Table,
    /// One JSON document.
    Json,
}

/// `spec`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SpecArgs {
    /// Directory that config.json is written to.
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) bundle: PathBuf,
    /// For a caller without privileges.
    #[arg(long)]
    pub(crate) rootless: bool,
}

/// `enter-identity`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EnterIdentityArgs {
    /// Directory with config.json.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: PathBuf,
    /// File that is written.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Whether a word is a verb of the OCI runtime.
pub(crate) fn is_oci_verb(verb: &str) -> bool {
    OciCommand::has_subcommand(verb)
}
