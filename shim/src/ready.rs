//! The one line that whoever started the shim waits for.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use hshim_health::control::Ready;

/// The descriptor that it goes to; closed when it has been told.
#[derive(Debug)]
pub(crate) struct ReadyLine(File);

impl ReadyLine {
    /// Over the descriptor that the shim was started with.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }

    /// Says it. Whoever waited may have been killed in the meantime; supervision goes on without them.
    pub(crate) fn tell(mut self, ready: &Ready) {
        let written = serde_json::to_vec(ready).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.0.write_all(&line)
        });
        if let Err(error) = written {
            log::warn!("nobody waits for the shim to be ready: {error}");
        }
    }
}
