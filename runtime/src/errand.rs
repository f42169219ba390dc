//! Something that is done by a child of this process, because whoever does it cannot come back: it joins namespaces, and ends.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::Context;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::pipe;

use crate::sys;

/// Has a child do it, and waits. Its error comes back as text.
pub(crate) fn run(errand: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (read, write) = pipe().context("make a pipe")?;
    let Some(child) = sys::fork().context("fork")? else {
        drop(read);
        let failed = errand().err();
        // Empty when all is well; without a reader there is nobody to tell.
        drop(File::from(write).write_all(failed.map_or_else(String::new, |error| format!("{error:#}")).as_bytes()));
        sys::exit_now();
    };
    drop(write);
    let mut message = String::new();
    File::from(read).read_to_string(&mut message).context("hear from the child in the container's namespaces")?;
    let ended = waitpid(child, None).context("wait for the child in the container's namespaces")?;
    anyhow::ensure!(message.is_empty(), "{message}");
    // One that was killed, or that panicked, has told nothing either.
    anyhow::ensure!(ended == WaitStatus::Exited(child, 0), "the child in the container's namespaces ended as {ended:?}");
    Ok(())
}
