//! The output of a probe: a pipe for each stream, of which the first bytes are kept and the rest is thrown away.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// What is kept of both streams together (the kubelet's `maxReadLength`).
const MOST: usize = 10 << 10;
/// What is read after the command's end at the most: the capacity of a pipe, twice.
const REST: usize = 128 << 10;

/// The reading end of one stream.
#[derive(Debug)]
pub(super) struct Capture {
    pipe: AsyncFd<OwnedFd>,
    kept: Mutex<Vec<u8>>,
}

impl Capture {
    /// The capture and the command's end of the pipe.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        make_nonblocking(&ours)?;
        Ok((Self { pipe: sys::readable(ours)?, kept: Mutex::default() }, theirs))
    }

    /// Reads until every writer is gone.
    pub(super) async fn drain(&self) {
        loop {
            let Ok(mut ready) = self.pipe.readable().await else { return };
            match self.read() {
                Ok(0) => return,
                Ok(_) => {}
                Err(nix::Error::EAGAIN) => ready.clear_ready(),
                Err(error) => return log::warn!("read a probe's output: {error}"),
            }
            drop(ready);
            tokio::task::yield_now().await;
        }
    }

    /// Reads what is there, and waits for nothing.
    pub(super) fn take_rest(&self) {
        let mut rest = REST;
        while let Ok(read @ 1..) = self.read() {
            rest = rest.saturating_sub(read);
            if rest == 0 {
                return;
            }
        }
    }

    fn read(&self) -> nix::Result<usize> {
        let mut buffer = [0_u8; 4096];
        let read = nix::unistd::read(self.pipe.get_ref(), &mut buffer)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
        Ok(read)
    }

    fn into_bytes(self) -> Vec<u8> {
        self.kept.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Standard output, then standard error, cut to 10 KiB, without the line break at the end.
pub(super) fn text(stdout: Capture, stderr: Capture) -> String {
    let mut bytes = stdout.into_bytes();
    bytes.append(&mut stderr.into_bytes());
    bytes.truncate(MOST);
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

/// Reads of it return at once.
pub(super) fn make_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn standard_output_comes_before_standard_error_and_both_are_cut() {
        let (stdout, out) = Capture::new().unwrap();
        let (stderr, err) = Capture::new().unwrap();
        let writer = std::thread::spawn(move || {
            File::from(err).write_all(b"bad\n").unwrap();
            File::from(out).write_all(&[b'x'; 1 << 20]).unwrap();
        });
        tokio::join!(stdout.drain(), stderr.drain());
        writer.join().unwrap();
        assert_eq!(text(stdout, stderr), "x".repeat(MOST));
        let (stdout, out) = Capture::new().unwrap();
        let (stderr, err) = Capture::new().unwrap();
        File::from(err).write_all(b"bad\n").unwrap();
        File::from(out).write_all(b"good\n").unwrap();
        stdout.take_rest();
        stderr.take_rest();
        assert_eq!(text(stdout, stderr), "good\nbad");
    }

    #[tokio::test]
    async fn a_held_pipe_delays_nobody_who_takes_the_rest() {
        let (stdout, held) = Capture::new().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(10), stdout.drain()).await.is_err());
        stdout.take_rest();
        drop(held);
    }
}
