//! A process in the foreground: its signals, its terminal, its end.
//!
//! ```text
//! every signal but SIGPIPE, SIGURG → the process          SIGWINCH → size of its terminal          SIGCHLD → adopted orphans are reaped
//! standard input → master          master → standard output        pidfd readable → exit code
//! ```

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{read, write};

use crate::sys;

/// Signals are held back from here on and forwarded by [`Foreground::wait`].
pub(crate) struct Foreground {
    signals: SignalFd,
    before: SigSet,
}

impl Foreground {
    /// Takes charge of this process' signals. Before the process is made, so that none is lost; programs that hshim starts
    /// set their own mask.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let mut held = SigSet::all();
        for own in [Signal::SIGPIPE, Signal::SIGURG] {
            held.remove(own);
        }
        let before = held.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK).context("hold signals back")?;
        let signals = SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("open a signalfd")?;
        Ok(Self { signals, before })
    }

    /// Gives a terminal the size of the caller's, before anybody asks for it.
    pub(crate) fn size(master: BorrowedFd<'_>) {
        if let Some(size) = sys::window_size(std::io::stdin().as_fd())
            && let Err(error) = sys::set_window_size(master, size)
        {
            log::debug!("resize the terminal: {error}");
        }
    }

    /// Waits for the end of a child, and returns its exit code: 128 + n after signal n.
    pub(crate) fn wait(&self, pid: i32, process: BorrowedFd<'_>, master: Option<OwnedFd>) -> anyhow::Result<u8> {
        let mut relay = master.map(Relay::new).transpose()?;
        loop {
            let ready = Ready::wait(process, &self.signals, relay.as_ref())?;
            if ready.signals {
                self.forward(pid, process, relay.as_ref())?;
            }
            if let Some(relay) = &mut relay {
                relay.carry(&ready)?;
            }
            if ready.ended {
                if let Some(relay) = &mut relay {
                    relay.drain();
                }
                return exit_code(process);
            }
        }
    }

    /// Waits until the descriptor can be read, and hands each signal to `forward` meanwhile.
    pub(crate) fn wait_for(
        &self,
        answer: BorrowedFd<'_>,
        mut forward: impl FnMut(i32) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            let ready = Ready::wait(answer, &self.signals, None)?;
            while let Some(info) = self.signals.read_signal().context("read signals")? {
                let number = i32::try_from(info.ssi_signo).context("read signals")?;
                if number != libc::SIGWINCH {
                    forward(number)?;
                }
            }
            if ready.ended {
                return Ok(());
            }
        }
    }

    fn forward(&self, pid: i32, process: BorrowedFd<'_>, relay: Option<&Relay>) -> anyhow::Result<()> {
        while let Some(info) = self.signals.read_signal().context("read signals")? {
            let number = i32::try_from(info.ssi_signo).context("read signals")?;
            match relay {
                Some(relay) if number == libc::SIGWINCH => relay.resize(),
                _ if number == libc::SIGWINCH => {}
                _ if number == libc::SIGCHLD => reap_orphans(pid),
                _ => match sys::pidfd_send_signal(process, number) {
                    Err(error) if error.raw_os_error() != Some(libc::ESRCH) => log::warn!("forward signal {number}: {error}"),
                    _sent_or_ended => {}
                },
            }
        }
        Ok(())
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        if let Err(error) = self.before.thread_set_mask() {
            log::debug!("restore the signal mask: {error}");
        }
    }
}

/// What poll(2) found.
struct Ready {
    ended: bool,
    signals: bool,
    master: bool,
    input: bool,
}

impl Ready {
    fn wait(process: BorrowedFd<'_>, signals: &SignalFd, relay: Option<&Relay>) -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        let mut descriptors = vec![PollFd::new(process, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if let Some(relay) = relay.filter(|relay| relay.is_open) {
            descriptors.push(PollFd::new(relay.master.as_fd(), PollFlags::POLLIN));
            if relay.reads_input {
                descriptors.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
        }
        match poll(&mut descriptors, PollTimeout::NONE) {
            Err(nix::Error::EINTR) | Ok(_) => {}
            Err(error) => return Err(error).context("wait for the process"),
        }
        let is_ready = |at: usize| descriptors.get(at).and_then(PollFd::any).unwrap_or(false);
        Ok(Self { ended: is_ready(0), signals: is_ready(1), master: is_ready(2), input: is_ready(3) })
    }
}

/// Carries bytes between this process' standard streams and a terminal.
struct Relay {
    master: OwnedFd,
    /// Of our own terminal, to be restored.
    before: Option<Termios>,
    is_open: bool,
    reads_input: bool,
}

impl Relay {
    fn new(master: OwnedFd) -> anyhow::Result<Self> {
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            cfmakeraw(&mut raw);
            tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).context("put this terminal into raw mode")?;
        }
        let relay = Self { master, before, is_open: true, reads_input: true };
        relay.resize();
        Ok(relay)
    }

    fn resize(&self) {
        Foreground::size(self.master.as_fd());
    }

    fn carry(&mut self, ready: &Ready) -> anyhow::Result<()> {
        let mut buffer = [0_u8; 8192];
        if ready.master {
            // The last slave being closed is told as EIO.
            self.is_open = matches!(self.carry_out(&mut buffer), Ok(length) if length > 0);
        }
        if ready.input {
            match read(std::io::stdin(), &mut buffer) {
                Ok(0) | Err(nix::Error::EIO) => self.reads_input = false,
                Ok(length) => write_all(self.master.as_fd(), buffer.get(..length).unwrap_or_default())?,
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                Err(error) => return Err(error).context("read standard input"),
            }
        }
        Ok(())
    }

    fn carry_out(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        let length = read(&self.master, buffer)?;
        match write_all(std::io::stdout().as_fd(), buffer.get(..length).unwrap_or_default()) {
            Ok(()) => Ok(length),
            Err(_nobody_reads) => Ok(0),
        }
    }

    /// What the process wrote before it ended.
    fn drain(&mut self) {
        let mut buffer = [0_u8; 8192];
        loop {
            let mut descriptors = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let has_more = matches!(poll(&mut descriptors, PollTimeout::ZERO), Ok(count) if count > 0);
            if !(self.is_open && has_more && matches!(self.carry_out(&mut buffer), Ok(length) if length > 0)) {
                return;
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(error) = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before)
        {
            log::warn!("restore this terminal: {error}");
        }
    }
}

/// Reaps the orphans that have ended, up to the process itself, which is left for [`exit_code`].
fn reap_orphans(process: i32) {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Some(ended) = waitid(Id::All, look).ok().and_then(|status| status.pid()) {
        // Once it has ended, this process is about to end too, and its children fall to somebody else.
        if ended.as_raw() == process || waitpid(ended, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => {
                poll(&mut [PollFd::new(to, PollFlags::POLLOUT)], PollTimeout::NONE).context("wait for a reader")?;
            }
            Err(error) => return Err(std::io::Error::from(error)).context("pass bytes on"),
        }
    }
    Ok(())
}

fn exit_code(process: BorrowedFd<'_>) -> anyhow::Result<u8> {
    let status = loop {
        match waitid(Id::PIDFd(process), WaitPidFlag::WEXITED) {
            Err(nix::Error::EINTR) => {}
            done => break done.map_err(std::io::Error::from),
        }
    };
    match status {
        Ok(WaitStatus::Exited(_, code)) => Ok(u8::try_from(code & 0xff)?),
        Ok(WaitStatus::Signaled(_, signal, _)) => Ok(u8::try_from(128 + signal as i32)?),
        Ok(other) => anyhow::bail!("the process ended as {other:?}"),
        Err(error) if error.kind() == ErrorKind::Interrupted => anyhow::bail!("wait for the process: {error}"),
        Err(error) => Err(error).context("read how the process ended"),
    }
}
