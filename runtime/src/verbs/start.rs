//! `start`: the init process executes the container's command.

use crate::cli::Globals;
use crate::container::Container;
use crate::hooks;
use crate::libcontainer_builder;
use crate::start_fifo::{StartFifo, Started};
use crate::status::Status;
use crate::supervised_bundle::SupervisedBundle;

use super::refuse_unsupported;

/// Performs `start`.
pub(crate) fn start(id: &str, globals: &Globals) -> anyhow::Result<()> {
    refuse_unsupported(globals)?;
    let id = id.parse()?;
    if let Some(bundle) = SupervisedBundle::find(&globals.root, &id) {
        return bundle.start();
    }
    let container = Container::open_locked(&globals.root, &id)?;
    start_created(&container)
}

/// Starts a created container.
pub(crate) fn start_created(container: &Container) -> anyhow::Result<()> {
    match container.status()? {
        Status::Created => {}
        Status::Stopped => anyhow::bail!("cannot start a container that has stopped"),
        Status::Running => anyhow::bail!("cannot start an already running container"),
        other @ (Status::Creating | Status::Paused) => anyhow::bail!("cannot start a container in the {other} state"),
    }
    let Some(fifo) = StartFifo::open(&container.dir)? else { anyhow::bail!("cannot start an already running container") };
    libcontainer_builder::start(&container.dir)?;
    match fifo.outcome()? {
        Started::Executed => {}
        Started::Failed(reason) => anyhow::bail!("unable to start container process: {reason}"),
        Started::EndedBefore => {
            anyhow::bail!(
                "unable to start container process: it ended before its command was executed (a startContainer hook, or a signal)"
            )
        }
    }
    StartFifo::remove(&container.dir)?;
    hooks::run_poststart(container).inspect_err(|_error| {
        if let Err(error) = super::delete::end_processes(container) {
            log::warn!("end {} after its poststart hook failed: {error:#}", container.state.id);
        }
    })
}
