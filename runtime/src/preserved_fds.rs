//! `--preserve-fds`: descriptors of the caller that the process is to have.

use anyhow::Context;

use crate::sys;

/// Makes sure that the descriptors are there. To be asked first: one that the caller promised and did not hand over would
/// become one of ours.
pub(crate) fn require_open(count: u32) -> anyhow::Result<()> {
    let last = i32::try_from(count).ok().and_then(|count| count.checked_add(3)).context("--preserve-fds: too many")?;
    match (3..last).find(|fd| !sys::is_open(*fd)) {
        Some(closed) => anyhow::bail!("--preserve-fds {count}: descriptor {closed} is not open"),
        None => Ok(()),
    }
}
