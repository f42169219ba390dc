//! `delete`: nothing of a container stays: process, cgroup, directory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hshim_health::layout;

use crate::cli::{DeleteArgs, Globals};
use crate::container::{Container, NoSuchContainer};
use crate::container_id::ContainerId;
use crate::hooks;
use crate::status::Status;
use crate::supervised_bundle::SupervisedBundle;

use super::refuse_unsupported;

/// How long a killed init process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of the cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CgroupFate {
    /// Removed.
    Removed,
    /// Emptied and left for the next life.
    Kept,
}

/// Whether what still runs is killed, and what is missing is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// Performs `delete`.
pub(crate) fn delete(args: &DeleteArgs, globals: &Globals) -> anyhow::Result<()> {
    refuse_unsupported(globals)?;
    let id: ContainerId = args.id.parse()?;
    let force = if args.force { Force::Yes } else { Force::No };
    let fate = if args.keep_cgroup { CgroupFate::Kept } else { CgroupFate::Removed };
    match SupervisedBundle::find(&globals.root, &id) {
        Some(bundle) => delete_supervised(&bundle, &id, force, globals),
        None => delete_unsupervised(&id, force, fate, globals),
    }
}

/// Through its shim; by hand when that is gone.
pub(crate) fn delete_supervised(
    bundle: &SupervisedBundle,
    id: &ContainerId,
    force: Force,
    globals: &Globals,
) -> anyhow::Result<()> {
    // Whoever is beginning it has the lock; one that was killed before it made the lock has left a directory without.
    let lock = bundle.lock()?;
    if bundle.delete(force == Force::Yes)? {
        return Ok(());
    }
    match delete_unsupervised(id, force, CgroupFate::Removed, globals) {
        // The supervisor ended between two lives: only its directory is left.
        Err(error) if !error.is::<NoSuchContainer>() => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let forgotten = bundle.forget();
    drop(lock);
    forgotten
}

fn delete_unsupervised(id: &ContainerId, force: Force, fate: CgroupFate, globals: &Globals) -> anyhow::Result<()> {
    let container = match Container::open_locked(&globals.root, id) {
        Ok(container) => container,
        Err(error) if error.is::<NoSuchContainer>() => return delete_remains(id, force, globals, error),
        Err(error) => return Err(error),
    };
    match container.status()? {
        Status::Stopped | Status::Created => {}
        status @ (Status::Creating | Status::Running | Status::Paused) => {
            anyhow::ensure!(force == Force::Yes, "cannot delete container {id} that is not stopped: {status}");
        }
    }
    delete_container(&container, fate)
}

/// Deletes a container, whatever it is doing.
pub(crate) fn delete_container(container: &Container, fate: CgroupFate) -> anyhow::Result<()> {
    end_processes(container)?;
    match fate {
        CgroupFate::Removed => container.state.cgroup.remove()?,
        CgroupFate::Kept => container.state.cgroup.remove_children()?,
    }
    hooks::run_poststop(container);
    remove_dir(&container.dir)
}

/// Without a pid namespace of its own, or after a `create` that was cut short, more than the init process may be left.
pub(crate) fn end_processes(container: &Container) -> anyhow::Result<()> {
    let cgroup = &container.state.cgroup;
    if let Some(init) = container.init()? {
        if !init.has_ended()? {
            init.signal(libc::SIGKILL).context("kill the init process")?;
            if cgroup.is_frozen() {
                cgroup.set_frozen(false);
            }
        }
        anyhow::ensure!(init.ends_within(PATIENCE)?, "the init process does not end {} s after SIGKILL", PATIENCE.as_secs());
        // A zombie keeps a v1 cgroup busy, and that of a `create` which undoes itself is its own child.
        init.reap();
    }
    if container.state.init.is_none() && cgroup.dirs().is_empty() {
        container.kill_unfinished();
    }
    if container.state.init.is_none() || !container.state.has_own_pid_namespace {
        cgroup.kill_all()?;
    }
    Ok(())
}

/// A `create` that was killed at its first step leaves a directory without a state.
fn delete_remains(id: &ContainerId, force: Force, globals: &Globals, missing: anyhow::Error) -> anyhow::Result<()> {
    let dir = layout::container_dir(&globals.root, id.as_str());
    if dir.exists() && force == Force::Yes {
        return remove_dir(&dir);
    }
    if force == Force::Yes { Ok(()) } else { Err(missing) }
}

fn remove_dir(dir: &Path) -> anyhow::Result<()> {
    fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))
}
