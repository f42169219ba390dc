//! A program that takes the output of a container (`binary://`): descriptor 3 is its stdout, 4 its stderr, and by closing 5 the
//! program says that it is ready.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::Purpose;
use super::uri::Program;
use crate::children::Child;
use crate::spawn;
use crate::sys;

/// How long it may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// How long it may take to end.
const END: Duration = Duration::from_secs(12);

/// A running log program.
#[derive(Debug)]
pub(super) struct LogProgram {
    child: Child,
}

impl LogProgram {
    /// Starts it and waits until it is ready. The answer has the ends that the container writes to.
    pub(super) async fn start(program: &Program, purpose: &Purpose<'_>) -> io::Result<(Self, [File; 2])> {
        let (stdout, stdout_end) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr, stderr_end) = pipe2(OFlag::O_CLOEXEC)?;
        let (ready, ready_end) = pipe2(OFlag::O_CLOEXEC)?;
        for end in [&stdout_end, &stderr_end] {
            nix::unistd::fchown(end, Some(purpose.owner.uid.into()), Some(purpose.owner.gid.into()))?;
        }
        let null = spawn::null()?;
        let args: Vec<OsString> = program.args.iter().map(OsString::from).collect();
        let environment = [("CONTAINER_ID", purpose.id), ("CONTAINER_NAMESPACE", purpose.namespace)];
        let environment: Result<Vec<CString>, _> =
            environment.iter().map(|(name, value)| CString::new(format!("{name}={value}"))).collect();
        let fds = [null.as_fd(), null.as_fd(), null.as_fd(), stdout.as_fd(), stderr.as_fd(), ready_end.as_fd()];
        let child = spawn::spawn_with(purpose.children, &program.path, &args, &fds, &environment.map_err(io::Error::other)?)
            .map_err(|error| io::Error::new(error.kind(), format!("run the log program {}: {error}", program.path.display())))?;
        drop((ready_end, stdout, stderr));
        let is_ready = tokio::time::timeout(READY, first_byte_or_end(ready)).await;
        let started = Self { child };
        match is_ready {
            Ok(Ok(())) => Ok((started, [File::from(stdout_end), File::from(stderr_end)])),
            Ok(Err(error)) => Err(error),
            Err(_late) => {
                started.child.signal(libc::SIGKILL)?;
                Err(io::Error::other(format!(
                    "the log program {} was not ready within {} s",
                    program.path.display(),
                    READY.as_secs()
                )))
            }
        }
    }

    /// It sees the end of the output and ends by itself, or is ended.
    pub(super) async fn end(self) {
        let Self { child } = self;
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            if tokio::time::timeout(END, child.ended()).await.is_ok() {
                return;
            }
            if let Err(error) = child.signal(signal) {
                log::warn!("end the log program {}: {error}", child.pid());
            }
        }
    }
}

async fn first_byte_or_end(ready: OwnedFd) -> io::Result<()> {
    let file = Arc::new(File::from(ready));
    sys::set_nonblocking(file.as_fd(), true)?;
    let file = sys::readable(file)?;
    loop {
        let mut ready = file.readable().await?;
        match (&**file.get_ref()).read(&mut [0_u8; 1]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            other => return other.map(drop),
        }
    }
}
