//! The flags of `create` and `run`, which make a container from a bundle.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

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
