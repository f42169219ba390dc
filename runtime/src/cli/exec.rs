//! The flags of `exec`.

use std::path::PathBuf;

use clap::Args;

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
