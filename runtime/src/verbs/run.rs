//! `run`: create and start; in the foreground also wait and delete.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use anyhow::Context;
use hshim_health::plan::PodPlan;
use nix::sys::wait::waitpid;
use nix::unistd::pipe;

use crate::bundle::Bundle;
use crate::bundle_presets;
use crate::cli::{Globals, RunArgs};
use crate::console::{self, PidfdSocket};
use crate::container::Container;
use crate::container_id::ContainerId;
use crate::creation::Creation;
use crate::foreground::Foreground;
use crate::preserved_fds;
use crate::rootless;
use crate::supervised_bundle::{self, SupervisedBundle};
use crate::supervision;
use crate::sys;

use super::create::{self, Terminal, discard};
use super::delete::{self, CgroupFate, Force};
use super::{refuse_unsupported, start};

/// Performs `run`.
pub(crate) fn run(args: &RunArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    refuse_unsupported(globals)?;
    preserved_fds::require_open(args.bundle.preserve_fds)?;
    let id: ContainerId = args.bundle.id.parse()?;
    let bundle = bundle_presets::open(&args.bundle, &id, globals)?;
    if let Some(plan) = supervision::plan(&args.bundle, &id, &bundle)? {
        return run_supervised(args, &id, plan, &bundle, globals);
    }
    rootless::enter(&bundle, globals)?;
    if args.detach { run_detached(args, id, bundle, globals) } else { run_in_foreground(args, id, bundle, globals) }
}

/// In the foreground too it is the shim that looks after the container: it goes on when this process is killed.
fn run_supervised(
    args: &RunArgs,
    id: &ContainerId,
    plan: PodPlan,
    bundle: &Bundle,
    globals: &Globals,
) -> anyhow::Result<ExitCode> {
    let foreground = if args.detach { None } else { Some(Foreground::take()?) };
    let launched = supervision::begin(plan, &args.bundle, bundle, globals)?;
    let supervised = SupervisedBundle::find(&globals.root, id).context("its supervisor has gone again")?;
    let begun = create::write_pid_file(args.bundle.pid_file.as_deref(), launched.shim).and_then(|()| supervised.start());
    begun.inspect_err(|_error| discard_supervised(id, globals))?;
    let Some(foreground) = foreground else { return Ok(ExitCode::SUCCESS) };
    let code = wait_supervised(&foreground, &supervised, id)?;
    if !args.keep {
        delete::delete_supervised(&supervised, id, Force::No, globals)?;
    }
    Ok(ExitCode::from(code))
}

/// Until its final end.
fn wait_supervised(foreground: &Foreground, supervised: &SupervisedBundle, id: &ContainerId) -> anyhow::Result<u8> {
    let told = final_exit_told(foreground, supervised);
    match told {
        Ok(Some(code)) => Ok(code),
        // A shim that a pid file names ends with its container, perhaps before it was asked.
        Ok(None) | Err(_) => match (supervised.final_exit()?, told) {
            (Some(code), _) => Ok(code),
            (None, Err(error)) => Err(error.context(gone(id))),
            (None, Ok(_)) => anyhow::bail!(gone(id)),
        },
    }
}

fn gone(id: &ContainerId) -> String {
    format!("the supervisor of {id} is gone, its container goes on without one: hshim delete --force {id} ends it")
}

/// As the shim answers; none when there is none any more.
fn final_exit_told(foreground: &Foreground, supervised: &SupervisedBundle) -> anyhow::Result<Option<u8>> {
    let Some(mut client) = supervised.awaited()? else { return Ok(None) };
    foreground.wait_for(client.as_fd(), |signal| {
        // One that comes when it has just ended has nothing to reach.
        supervised.kill(signal, false).map(drop).or_else(|error| {
            log::debug!("forward signal {signal}: {error:#}");
            Ok(())
        })
    })?;
    supervised_bundle::exit_code(&client.receive()?).map(Some)
}

fn discard_supervised(id: &ContainerId, globals: &Globals) {
    let Some(supervised) = SupervisedBundle::find(&globals.root, id) else { return };
    if let Err(error) = delete::delete_supervised(&supervised, id, Force::Yes, globals) {
        log::warn!("delete {id} after a failed run: {error:#}");
    }
}

fn run_detached(args: &RunArgs, id: ContainerId, bundle: Bundle, globals: &Globals) -> anyhow::Result<ExitCode> {
    let console = create::console(&args.bundle, &bundle, Terminal::HandedOn)?;
    let pidfd_socket = PidfdSocket::connect(args.bundle.pidfd_socket.as_deref())?;
    let pid = Creation::new(id.clone(), bundle, globals)?.create(&args.bundle, console.as_ref().map(AsFd::as_fd))?;
    let container = Container::open_locked(&globals.root, &id)?;
    begin(&container, args, &pidfd_socket, pid)?;
    Ok(ExitCode::SUCCESS)
}

fn run_in_foreground(args: &RunArgs, id: ContainerId, bundle: Bundle, globals: &Globals) -> anyhow::Result<ExitCode> {
    create::console(&args.bundle, &bundle, Terminal::Kept)?;
    let has_terminal = bundle.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    let (theirs, ours) =
        if has_terminal { console::pair().map(|(theirs, ours)| (Some(theirs), Some(ours)))? } else { (None, None) };
    let pidfd_socket = PidfdSocket::connect(args.bundle.pidfd_socket.as_deref())?;
    let foreground = Foreground::take()?;
    // The container's init is a child of the process that creates it; when that ends, it becomes ours.
    nix::sys::prctl::set_child_subreaper(true).context("become the parent of the container")?;
    create_apart(Creation::new(id.clone(), bundle, globals)?, args, theirs)?;
    let container = Container::open_locked(&globals.root, &id)?;
    let pid = container.state.init.as_ref().map_or(0, |init| init.pid);
    let init = sys::pidfd_open(pid).context("open the init process")?;
    let master = ours.map(|ours| console::receive(ours.as_fd())).transpose();
    let master = master.inspect_err(|_error| discard(&container))?;
    if let Some(master) = &master {
        Foreground::size(master.as_fd());
    }
    if args.no_subreaper {
        nix::sys::prctl::set_child_subreaper(false).context("--no-subreaper")?;
    }
    begin(&container, args, &pidfd_socket, pid)?;
    drop(container);
    let code = foreground.wait(pid, init.as_fd(), master)?;
    if !args.keep {
        let container = Container::open_locked(&globals.root, &id)?;
        delete::delete_container(&container, CgroupFate::Removed)?;
    }
    Ok(ExitCode::from(code))
}

/// Tells of the process and starts the container; it is deleted when that fails.
fn begin(container: &Container, args: &RunArgs, pidfd_socket: &PidfdSocket, pid: i32) -> anyhow::Result<()> {
    pidfd_socket
        .send(pid)
        .and_then(|()| create::write_pid_file(args.bundle.pid_file.as_deref(), pid))
        .and_then(|()| start::start_created(container))
        .inspect_err(|_error| discard(container))
}

/// Creates in a process of its own: libcontainer leaves its caller undumpable, in the container's cgroups and with its
/// `oom_score_adj`, and this process stays.
fn create_apart(creation: Creation, args: &RunArgs, console: Option<OwnedFd>) -> anyhow::Result<()> {
    let (read, write) = pipe().context("make a pipe")?;
    let Some(child) = sys::fork().context("fork")? else {
        drop(read);
        let created = creation.create(&args.bundle, console.as_ref().map(AsFd::as_fd));
        let failed = created.err().map(|error| drop(File::from(write).write_all(format!("{error:#}").as_bytes())));
        std::process::exit(i32::from(failed.is_some()));
    };
    drop(write);
    let mut message = String::new();
    // The init process holds the write side until it executes its command, so the child's end is what counts.
    let status = waitpid(child, None).context("wait for the creating process")?;
    if status == nix::sys::wait::WaitStatus::Exited(child, 0) {
        return Ok(());
    }
    File::from(read).read_to_string(&mut message).context("read why the creating process failed")?;
    anyhow::ensure!(!message.is_empty(), "the creating process ended as {status:?}");
    anyhow::bail!(message)
}
