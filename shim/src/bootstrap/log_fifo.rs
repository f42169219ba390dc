//! The FIFO `log` in the bundle: what the shim says in words goes to containerd's own log.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

/// Makes it standard error. For reading too and without waiting: a containerd that is gone neither stops nor kills the shim.
pub(super) fn open() {
    let fifo = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("log");
    if let Ok(fifo) = fifo
        && let Err(error) = nix::unistd::dup2_stderr(fifo.as_fd())
    {
        log::warn!("log to containerd: {error}");
    }
}
