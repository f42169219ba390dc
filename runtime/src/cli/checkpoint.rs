//! The flags of `checkpoint` and `restore`: understood as runc's, so that a caller hears why there is no checkpoint and not
//! which flag is unknown (ADR 0020).

use std::path::PathBuf;

use clap::Args;

/// What both have.
#[derive(Args, Clone, Debug)]
pub(crate) struct ImageArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// Directory of the image files.
    #[arg(long, value_name = "DIR")]
    image_path: Option<PathBuf>,
    /// Directory of work files and logs.
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// With open TCP connections.
    #[arg(long)]
    tcp_established: bool,
    /// With Unix sockets whose other end is outside.
    #[arg(long)]
    ext_unix_sk: bool,
    /// With the jobs of a shell.
    #[arg(long)]
    shell_job: bool,
    /// With file locks.
    #[arg(long)]
    file_locks: bool,
    /// What is kept of the cgroups: soft, full or strict.
    #[arg(long, value_name = "MODE")]
    manage_cgroups_mode: Option<String>,
    /// A namespace whose properties are not kept.
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<String>,
    /// Drop pages that later images repeat.
    #[arg(long)]
    auto_dedup: bool,
    /// Hand memory over on demand.
    #[arg(long)]
    lazy_pages: bool,
}

/// `checkpoint`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckpointArgs {
    /// Shared with `restore`.
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    /// Images of an earlier pre-dump.
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Let the processes run on.
    #[arg(long)]
    leave_running: bool,
    /// Descriptor that is told when lazy pages can be served.
    #[arg(long, value_name = "FD")]
    status_fd: Option<i32>,
    /// Server of pages.
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Only the memory, and let the processes run on.
    #[arg(long)]
    pre_dump: bool,
}

/// `restore`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RestoreArgs {
    /// Shared with `checkpoint`.
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    /// Unix socket that receives the master side of the container's terminal.
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Directory with config.json and the root file system.
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Return once the process runs.
    #[arg(short, long)]
    detach: bool,
    /// Write the process id to this file.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Do not adopt orphaned descendants of the container.
    #[arg(long)]
    no_subreaper: bool,
    /// Do not use pivot_root.
    #[arg(long)]
    no_pivot: bool,
    /// TYPE:NAME of a security profile.
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// Mount label.
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
}
