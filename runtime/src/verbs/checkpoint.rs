//! `checkpoint` and `restore`: refused, and absent from `features` (ADR 0020).

use crate::cli::Globals;
use crate::container::Container;

/// Says why a running container stays as it is.
pub(crate) fn checkpoint(id: &str, globals: &Globals) -> anyhow::Result<()> {
    Container::open(&globals.root, &id.parse()?)?;
    anyhow::bail!(
        "checkpoint is not supported: hshim does not drive CRIU; the container {id} runs on. Stop it and start it again, or use a runtime whose features list checkpoint"
    )
}

/// Says why nothing is restored.
pub(crate) fn restore(id: &str) -> anyhow::Result<()> {
    anyhow::bail!(
        "restore is not supported: hshim does not drive CRIU; {id} was not created. Create it from its bundle (hshim create), or use the runtime that made the checkpoint"
    )
}
