//! The one place that calls libcontainer to make a process.
//!
//! `container_main_process` is called rather than `ContainerBuilder`: the builder reads config.json from a bundle directory
//! again, so that a normalised specification would need a directory of its own, which hooks would then be told as the bundle;
//! it asks for systemd's cgroup manager whenever there is a user namespace; and it keeps a state file that says `running`
//! after a signal to a created container (L8). What the builder does around the call is done here.
//!
//! Only ever in a short-lived process with one thread: libcontainer clones and goes on in Rust, leaves this process
//! undumpable and with the container's `oom_score_adj` (L13, L14).

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context;
use libcgroups::common::CgroupConfig;
use libcontainer::container::{Container, ContainerStatus, State};
use libcontainer::notify_socket::{NOTIFY_FILE, NotifyListener, NotifySocket};
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::process::args::{ContainerArgs, ContainerType};
use libcontainer::process::channel::ChannelError;
use libcontainer::process::container_main_process::{ProcessError, container_main_process};
use libcontainer::syscall::syscall::SyscallType;

use crate::cgroup::birth;
use crate::container_id::ContainerId;
use crate::init_executor::InitExecutor;
use crate::logging::Causes;
use crate::map_program;
use crate::rootless;
use crate::spec_normalise;

/// What is needed to make an init process.
pub(crate) struct InitBuilder<'a> {
    /// Name of the container.
    pub(crate) id: &'a ContainerId,
    /// Directory for the start socket.
    pub(crate) dir: &'a Path,
    /// As hooks are told it.
    pub(crate) bundle: &'a Path,
    /// Absolute.
    pub(crate) rootfs: &'a Path,
    /// In its normal form.
    pub(crate) spec: Spec,
    /// From the root of each hierarchy; libcontainer moves what it clones there.
    pub(crate) cgroup_path: PathBuf,
    /// Whose child init is.
    pub(crate) parent: Parent,
    /// `oom_score_adj` of the process.
    pub(crate) oom_score_adj: Option<i32>,
    /// Receives the master side of the terminal.
    pub(crate) console: Option<BorrowedFd<'a>>,
    /// As many descriptors from 3 on stay open.
    pub(crate) preserve_fds: u32,
    /// In which the init process is number 1.
    pub(crate) has_own_pid_namespace: bool,
    /// chroot instead of pivot_root.
    pub(crate) no_pivot: bool,
}

/// The parent of an init process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// This process.
    Here,
    /// The parent of this process.
    Above,
}

impl InitBuilder<'_> {
    /// Makes the init process, which then waits for [`start`]. Returns its process id.
    pub(crate) fn build(self, executor: InitExecutor) -> anyhow::Result<i32> {
        let (user_ns_config, _programs) = map_program::user_namespace(&self.spec, self.dir)?;
        let notify_listener = NotifyListener::new(&self.dir.join(NOTIFY_FILE)).context("make the start socket")?;
        set_oom_score_adj(self.oom_score_adj)?;
        forget_the_caller()?;
        nix::sys::prctl::set_dumpable(false).context("make this process undumpable")?;
        let annotations = self.spec.annotations().clone().unwrap_or_default();
        let mut state = hook_state(self.id.as_str(), self.spec.version(), self.bundle, annotations);
        // For createContainer hooks, which are told the number that the process has in the container; the others get the host's.
        state.pid = self.has_own_pid_namespace.then_some(1);
        let args = ContainerArgs {
            container_type: ContainerType::InitContainer,
            syscall: SyscallType::default(),
            rootfs: self.rootfs.to_owned(),
            console_socket: self.console.map(|console| console.as_raw_fd()),
            notify_listener,
            preserve_fds: i32::try_from(self.preserve_fds).context("--preserve-fds")?,
            container: Some(Container { state, root: self.dir.to_owned() }),
            user_ns_config,
            cgroup_config: CgroupConfig {
                cgroup_path: self.cgroup_path,
                systemd_cgroup: false,
                container_name: self.id.to_string(),
            },
            detached: true,
            executor: Box::new(executor),
            no_pivot: self.no_pivot,
            stdin: None,
            stdout: None,
            stderr: None,
            as_sibling: self.parent == Parent::Above,
            pid_file: None,
            spec: Rc::new(self.spec),
        };
        let causes = Causes::note()?;
        container_main_process(&args).map(|pid| pid.as_raw()).map_err(|error| anyhow::anyhow!(reason(&error, causes.first())))
    }
}

impl InitBuilder<'_> {
    /// The same in a process that is in the cgroup already, for its parent.
    pub(crate) fn build_for_parent(self, executor: InitExecutor) -> anyhow::Result<i32> {
        Self { cgroup_path: birth::decoy(self.dir)?, parent: Parent::Above, ..self }.build(executor)
    }
}

/// Lets a created init process go on to its command.
pub(crate) fn start(dir: &Path) -> anyhow::Result<()> {
    NotifySocket::new(dir.join(NOTIFY_FILE)).notify_container_start().context("reach the init process")
}

/// What libcontainer's hook runner knows of a container.
pub(crate) fn hook_state(id: &str, oci_version: &str, bundle: &Path, annotations: HashMap<String, String>) -> State {
    let mut state = State::new(id, ContainerStatus::Creating, None, bundle.to_owned());
    state.oci_version = oci_version.to_owned();
    state.annotations = Some(annotations);
    state
}

/// Takes from this process what the container would inherit of its caller: libcontainer sets groups and a file mode mask only when the
/// specification names them.
fn forget_the_caller() -> anyhow::Result<()> {
    match nix::unistd::setgroups(&[]) {
        // A user namespace without setgroups: nobody in it can drop a group, or take one.
        Err(nix::errno::Errno::EPERM) if rootless::in_user_namespace() => {}
        done => done.context("drop the caller's groups")?,
    }
    nix::sys::stat::umask(spec_normalise::UMASK);
    Ok(())
}

/// Children inherit it. Without CAP_SYS_RESOURCE it can be raised only.
fn set_oom_score_adj(score: Option<i32>) -> anyhow::Result<()> {
    let Some(score) = score else { return Ok(()) };
    match fs::write("/proc/self/oom_score_adj", score.to_string()) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) && !spec_normalise::may_raise_limits() => {
            log::warn!("process.oomScoreAdj: {score} needs CAP_SYS_RESOURCE, which is missing: it stays as it is");
            Ok(())
        }
        done => done.with_context(|| format!("process.oomScoreAdj: set {score}")),
    }
}

/// libcontainer's reason without the way that it came, and what it said when that happened.
fn reason(error: &ProcessError, cause: Option<String>) -> String {
    if let ProcessError::Channel(ChannelError::ExecError(reason) | ChannelError::OtherError(reason)) = error {
        let reason = reason.strip_prefix("error in executing process : ").unwrap_or(reason);
        return [Some(reason.to_owned()), cause].into_iter().flatten().collect::<Vec<_>>().join(": ");
    }
    if let ProcessError::Hooks(reason) = error {
        return format!("a prestart or createRuntime hook: {reason}");
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
