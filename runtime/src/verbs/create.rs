//! `create`: a bundle becomes a container whose init process waits for `start`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context;

use crate::atomic_file;
use crate::bundle::Bundle;
use crate::bundle_presets;
use crate::cli::{BundleArgs, Globals};
use crate::console::{self, PidfdSocket};
use crate::container::Container;
use crate::container_id::ContainerId;
use crate::creation::Creation;
use crate::preserved_fds;
use crate::rootless;
use crate::supervision;

use super::delete::{self, CgroupFate};
use super::refuse_unsupported;

/// Performs `create`.
pub(crate) fn create(args: &BundleArgs, globals: &Globals) -> anyhow::Result<()> {
    refuse_unsupported(globals)?;
    preserved_fds::require_open(args.preserve_fds)?;
    let id: ContainerId = args.id.parse()?;
    let bundle = bundle_presets::open(args, &id, globals)?;
    if let Some(plan) = supervision::plan(args, &id, &bundle)? {
        let launched = supervision::begin(plan, args, &bundle, globals)?;
        return write_pid_file(args.pid_file.as_deref(), launched.shim);
    }
    rootless::enter(&bundle, globals)?;
    let console = console(args, &bundle, Terminal::HandedOn)?;
    let pidfd_socket = PidfdSocket::connect(args.pidfd_socket.as_deref())?;
    let creation = Creation::new(id.clone(), bundle, globals)?;
    let pid = creation.create(args, console.as_ref().map(AsFd::as_fd))?;
    let announced = pidfd_socket.send(pid).and_then(|()| write_pid_file(args.pid_file.as_deref(), pid));
    announced.inspect_err(|_error| match Container::open_locked(&globals.root, &id) {
        Ok(container) => discard(&container),
        Err(error) => log::warn!("delete {id} after a failed create: {error:#}"),
    })
}

/// Deletes a container that its caller will not hear of.
pub(crate) fn discard(container: &Container) {
    container.state.cgroup.leave();
    if let Err(error) = delete::delete_container(container, CgroupFate::Removed) {
        log::warn!("delete {} after a failure: {error:#}", container.state.id);
    }
}

/// Who holds the master side of a container's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terminal {
    /// Whoever listens on `--console-socket`.
    HandedOn,
    /// This process, which stays.
    Kept,
}

/// Connects to `--console-socket` if the container has a terminal that must be handed on.
pub(crate) fn console(args: &BundleArgs, bundle: &Bundle, terminal: Terminal) -> anyhow::Result<Option<OwnedFd>> {
    let wanted = bundle.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    match (wanted, terminal, &args.console_socket) {
        (true, Terminal::HandedOn, Some(socket)) => console::connect(socket).map(Some),
        (true, Terminal::HandedOn, None) => {
            anyhow::bail!("process.terminal: cannot allocate a terminal when hshim will detach without --console-socket")
        }
        (true, Terminal::Kept, Some(_)) | (false, _, Some(_)) => {
            anyhow::bail!("--console-socket: cannot be used when hshim will not detach, or when process.terminal is not set")
        }
        (true, Terminal::Kept, None) | (false, _, None) => Ok(None),
    }
}

/// Writes `--pid-file`, whole or not at all.
pub(crate) fn write_pid_file(file: Option<&Path>, pid: i32) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    atomic_file::write(file, pid.to_string().as_bytes()).with_context(|| format!("write the pid file {}", file.display()))
}
