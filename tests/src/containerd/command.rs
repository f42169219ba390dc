//! Commands with a deadline, whose output goes to files: nothing that a command leaves behind can hold the test up by a pipe.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::for_value;

/// How a command ended and what it wrote.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit status; 128 and the signal for a killed command.
    pub status: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Finished {
    /// Its stdout; panics when the command failed.
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "the command failed: {}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Start `command`, whose outputs go to `base`.out and `base`.err.
    pub(super) fn start(mut command: Command, base: &str) -> Self {
        let what = format!("{command:?}");
        let (stdout, stderr) = (PathBuf::from(format!("{base}.out")), PathBuf::from(format!("{base}.err")));
        command.stdin(Stdio::piped()).stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Self { child: command.spawn().unwrap_or_else(|error| panic!("{what}: {error}")), what, stdout, stderr }
    }

    /// Write to its stdin.
    pub fn write(&mut self, text: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(text).unwrap();
    }

    /// Close its stdin.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// What it has written to stdout until now.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap()).into_owned()
    }

    /// Send it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Wait until it ends.
    pub fn finish(mut self) -> Finished {
        use std::os::unix::process::ExitStatusExt;
        let what = format!("{} ends", self.what);
        let status = for_value(&what, || self.child.try_wait().unwrap());
        let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Finished { status, stdout: read(&self.stdout), stderr: read(&self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) && self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
