//! `pause`: every process of a container stands still.

use anyhow::Context;

use crate::cli::Globals;
use crate::container::Container;
use crate::status::Status;

use super::{refuse_unsupported, require_cgroup};

/// Performs `pause`.
pub(crate) fn pause(id: &str, globals: &Globals) -> anyhow::Result<()> {
    refuse_unsupported(globals)?;
    let container = Container::open_locked(&globals.root, &id.parse()?)?;
    require_cgroup(&container)?;
    match container.status()? {
        Status::Created | Status::Running => container.state.cgroup.freeze().with_context(|| format!("pause {id}")),
        Status::Paused => anyhow::bail!("container already paused: {id}"),
        Status::Creating | Status::Stopped => anyhow::bail!("container not running: {id}"),
    }
}
