//! `exec`: a further process in a running container, through hshim-enter.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use hshim_enter::{CgroupEntry, ContainerCgroup, EnterProgram, Entered, Entry, Report, Shape, Target, wire};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::cli::{ExecArgs, Globals};
use crate::console::{self, PidfdSocket};
use crate::container::Container;
use crate::exec_process::{ExecProcess, enter_bin};
use crate::foreground::Foreground;
use crate::init_executor::not_executed;
use crate::init_process::InitProcess;
use crate::preserved_fds;
use crate::sealed_executable;
use crate::session_keyring;
use crate::status::Status;
use crate::sys;

use super::create::write_pid_file;
use super::refuse_unsupported;

/// The command is not there, or cannot be executed.
#[derive(Debug, thiserror::Error)]
#[error("unable to start container process: {message}")]
pub(crate) struct NotExecuted {
    message: String,
    errno: i32,
}

impl NotExecuted {
    /// It is not there.
    pub(crate) fn is_missing(&self) -> bool {
        self.errno == libc::ENOENT
    }
}

/// Performs `exec`.
pub(crate) fn exec(args: &ExecArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    refuse_unsupported(globals)?;
    preserved_fds::require_open(args.preserve_fds)?;
    let container = Container::open(&globals.root, &args.id.parse()?)?;
    let init = running_init(&container, args)?;
    let pid = container.state.init.as_ref().map(|init| init.pid).unwrap_or_default();
    let root = File::open(format!("/proc/{pid}/root")).context("open the container's root directory")?;
    // Only now is it sure that the directory was that of this very process.
    anyhow::ensure!(!init.has_ended()?, "cannot exec in a stopped container");
    let process = ExecProcess::new(args, &container, &root, &enter_bin(&globals.root, &container.state.id))?;
    let target = Target::from_pidfd(u32::try_from(pid)?, init.into()).context("look at the container's namespaces")?;
    let cgroup = exec_cgroup(args, &container, target.pid())?;
    let pidfd_socket = PidfdSocket::connect(args.pidfd_socket.as_deref())?;
    let stdio = Stdio::new(args, &process, &root, pid)?;
    let foreground = if args.detach { None } else { Some(Foreground::take()?) };
    if container.state.has_own_keyring {
        session_keyring::join(&container.state.id)?;
    }
    let command = enter(&process, &target, &cgroup, &stdio, args.preserve_fds)?;
    let pidfd = sys::pidfd_open(command).context("open the process")?;
    let announced = pidfd_socket.send(command).and_then(|()| write_pid_file(args.pid_file.as_deref(), command));
    announced.inspect_err(|_error| drop(sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL)))?;
    match foreground {
        None => Ok(ExitCode::SUCCESS),
        Some(foreground) => Ok(ExitCode::from(foreground.wait(command, pidfd.as_fd(), stdio.kept())?)),
    }
}

fn running_init(container: &Container, args: &ExecArgs) -> anyhow::Result<InitProcess> {
    match container.status()? {
        Status::Created | Status::Running => {}
        Status::Paused if args.ignore_paused => {}
        Status::Paused => anyhow::bail!("cannot exec in a paused container (use --ignore-paused to override)"),
        Status::Stopped => anyhow::bail!("cannot exec in a stopped container"),
        Status::Creating => anyhow::bail!("cannot exec in a container that is being created"),
    }
    container.init()?.context("cannot exec in a stopped container")
}

/// The cgroups of the process: the container's, or existing ones below that `--cgroup` names.
fn exec_cgroup(args: &ExecArgs, container: &Container, init: u32) -> anyhow::Result<ContainerCgroup> {
    if container.state.cgroup.dirs().is_empty() {
        anyhow::ensure!(args.cgroup.is_empty(), "--cgroup: this container has no cgroup");
        return Ok(ContainerCgroup::default());
    }
    let mut cgroup = ContainerCgroup::of_pid(init).context("find the container's cgroups")?;
    for written in &args.cgroup {
        let (controllers, below) = match written.split_once(':') {
            Some((controllers, below)) => (Some(controllers), below),
            None => (None, written.as_str()),
        };
        cgroup.descend(controllers, Path::new(below)).with_context(|| format!("--cgroup {written}"))?;
    }
    Ok(cgroup)
}

/// The process' standard streams.
enum Stdio {
    /// The caller's own.
    Inherited,
    /// A terminal in the container.
    Terminal {
        /// None when it has been handed on.
        master: Option<OwnedFd>,
        slave: OwnedFd,
    },
}

impl Stdio {
    fn new(args: &ExecArgs, process: &ExecProcess, root: &File, pid: i32) -> anyhow::Result<Self> {
        if !process.terminal {
            anyhow::ensure!(args.console_socket.is_none(), "--console-socket: cannot be used without a terminal (--tty)");
            return Ok(Self::Inherited);
        }
        anyhow::ensure!(
            !args.detach || args.console_socket.is_some(),
            "cannot allocate a terminal when hshim will detach without --console-socket"
        );
        let (master, slave) = console::open_inside(root, pid, process.identity.uid)?;
        let master = match &args.console_socket {
            Some(socket) => {
                console::send(console::connect(socket)?.as_fd(), master.as_fd())?;
                None
            }
            None => {
                Foreground::size(master.as_fd());
                Some(master)
            }
        };
        Ok(Self::Terminal { master, slave })
    }

    /// The master side, if this process is to serve it.
    fn kept(self) -> Option<OwnedFd> {
        match self {
            Self::Inherited => None,
            // The slave is closed here: its last end is then the process' own, and the master tells of it.
            Self::Terminal { master, slave: _ } => master,
        }
    }
}

/// Steps in and returns the command's process id, a child of this process.
fn enter(
    process: &ExecProcess,
    target: &Target,
    cgroup: &ContainerCgroup,
    stdio: &Stdio,
    preserve_fds: u32,
) -> anyhow::Result<i32> {
    let home = cgroup.open_v2_home().context("open the container's cgroup")?;
    // Never written to here: its presence tells hshim-enter that the directory is one of v2, to clone into.
    let kill = cgroup.v2_directory().map(|dir| File::options().write(true).open(dir.join("cgroup.kill"))).transpose();
    let kill = kill.context("open the container's cgroup")?;
    let tasks = cgroup.open_v1_tasks().context("open the container's cgroups")?;
    let tasks: Vec<BorrowedFd<'_>> = tasks.iter().map(AsFd::as_fd).collect();
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let (input, output, errors) = match stdio {
        Stdio::Inherited => (stdin.as_fd(), stdout.as_fd(), stderr.as_fd()),
        Stdio::Terminal { slave, .. } => (slave.as_fd(), slave.as_fd(), slave.as_fd()),
    };
    let entered = EnterProgram::load_beside(&sealed_executable::path())?.spawn(&Entry {
        shape: Shape::Exec,
        identity: &process.identity,
        argv: &process.argv,
        target,
        cgroup: CgroupEntry { leaf: home.as_ref().map(AsFd::as_fd), kill: kill.as_ref().map(AsFd::as_fd), v1_tasks: &tasks },
        stdin: input,
        stdout: output,
        stderr: errors,
        timeout: None,
        terminal: matches!(stdio, Stdio::Terminal { .. }),
        preserve_fds,
    })?;
    command(&entered, process)
}

fn command(entered: &Entered, process: &ExecProcess) -> anyhow::Result<i32> {
    let report = Report::read(&entered.report).context("hear from hshim-enter")?;
    waitid(Id::PIDFd(entered.pidfd.as_fd()), WaitPidFlag::WEXITED).context("wait for hshim-enter")?;
    match report {
        Report::Running { pid } => Ok(i32::try_from(pid)?),
        Report::CouldNotExec { errno, .. } => {
            let name = process.argv.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Err(NotExecuted { message: not_executed(&name, nix::Error::from_raw(errno)), errno }.into())
        }
        Report::CouldNotEnter { step: wire::step::DIRECTORY, errno, .. } => anyhow::bail!(
            "unable to start container process: change to the working directory {:?}: {}",
            process.identity.cwd.to_string_lossy(),
            nix::Error::from_raw(errno).desc().to_ascii_lowercase()
        ),
        Report::CouldNotEnter { step, errno, .. } => anyhow::bail!(
            "unable to start container process: {}: {}",
            Report::step_name(step),
            nix::Error::from_raw(errno).desc().to_ascii_lowercase()
        ),
        other @ (Report::Exited { .. } | Report::Signaled { .. } | Report::TimedOut | Report::ReaperKilled | Report::Nothing) => {
            anyhow::bail!("unable to start container process: hshim-enter ended without a process ({other:?})")
        }
    }
}
