//! `resume`: the processes of a paused container run again.

use anyhow::Context;

use crate::cli::Globals;
use crate::container::Container;
use crate::status::Status;

use super::refuse_unsupported;

/// Performs `resume`.
pub(crate) fn resume(id: &str, globals: &Globals) -> anyhow::Result<()> {
    refuse_unsupported(globals)?;
    let container = Container::open_locked(&globals.root, &id.parse()?)?;
    anyhow::ensure!(container.status()? == Status::Paused, "container not paused: {id}");
    container.state.cgroup.thaw().with_context(|| format!("resume {id}"))
}
