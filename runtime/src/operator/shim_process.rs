//! The shim as a process: started, waited for, recognised again.

use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use hshim_health::control::Ready;
use hshim_health::layout::SupervisionDir;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};

use super::pod_records;
use super::programs::SHIM;
use crate::init_process::{InitProcess, ProcessIdentity};

/// How long a shim may take to serve.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where it tells that it does.
const READY_FD: i32 = 3;
/// What a shim and the runtimes that it starts need of an environment.
const ENVIRONMENT: &[&std::ffi::CStr] = &[c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/// Starts the shim of a supervision directory and waits until it serves. Where it does not, it has ended.
pub(crate) fn start(program: &Path, dir: &SupervisionDir) -> anyhow::Result<()> {
    let (ready, told) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
    let shim = spawn(program, dir, &told).with_context(|| format!("start the supervisor {}", program.display()))?;
    drop(told);
    let answer = wait(ready);
    match &answer {
        Ok(Ready::Serving { .. }) => return Ok(()),
        Ok(Ready::Failed { .. }) => {}
        // It may hang; it may not know what it is doing.
        Err(_) => drop(nix::sys::signal::kill(shim, Signal::SIGKILL)),
    }
    waitpid(shim, None).context("wait for the supervisor's end")?;
    match answer {
        Ok(Ready::Failed { message }) => anyhow::bail!("the supervisor could not begin: {message}"),
        Ok(Ready::Serving { .. }) => Ok(()),
        Err(error) => Err(error.context(last_words(dir))),
    }
}

/// The shim of a supervision directory, if it lives.
pub(crate) fn find(dir: &SupervisionDir) -> anyhow::Result<Option<(u32, InitProcess)>> {
    let Some(shim) = pod_records::shim(dir)? else { return Ok(None) };
    let noted = shim.process;
    let identity = ProcessIdentity {
        pid: i32::try_from(noted.pid)?,
        start_time: noted.start_time,
        boot_id: noted.boot_id,
        pidfd_inode: None,
    };
    let found = InitProcess::find(&identity).with_context(|| format!("find the supervisor {}", noted.pid))?;
    let Some(process) = found else { return Ok(None) };
    Ok(if process.has_ended()? { None } else { Some((noted.pid, process)) })
}

fn spawn(program: &Path, dir: &SupervisionDir, told: &OwnedFd) -> anyhow::Result<Pid> {
    let null = File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(dir.log());
    let log = log.with_context(|| format!("open {}", dir.log().display()))?;
    let mut actions = PosixSpawnFileActions::init()?;
    for (fd, place) in [(null.as_raw_fd(), 0), (null.as_raw_fd(), 1), (log.as_raw_fd(), 2), (told.as_raw_fd(), READY_FD)] {
        actions.add_dup2(fd, place)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    attributes.set_sigdefault(&SigSet::from_iter(Signal::iterator()))?;
    attributes.set_sigmask(&SigSet::empty())?;
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let ready = CString::new(READY_FD.to_string())?;
    let argv =
        [text(SHIM.as_ref())?, c"supervise".into(), c"--dir".into(), text(dir.0.as_os_str())?, c"--ready-fd".into(), ready];
    Ok(posix_spawn(program, &actions, &attributes, &argv, ENVIRONMENT)?)
}

fn wait(ready: OwnedFd) -> anyhow::Result<Ready> {
    let deadline = Instant::now() + PATIENCE;
    let mut file = File::from(ready);
    let mut line = Vec::new();
    loop {
        let left = PollTimeout::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, left) {
            Ok(0) => anyhow::bail!("the supervisor does not begin to serve within {} s", PATIENCE.as_secs()),
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(errno) => return Err(errno).context("wait for the supervisor"),
        }
        let mut buffer = [0; 4096];
        let read = file.read(&mut buffer).context("read what the supervisor says")?;
        line.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if line.ends_with(b"\n") {
            return serde_json::from_slice(&line).context("understand what the supervisor says");
        }
        anyhow::ensure!(read > 0, "the supervisor ended before it served");
    }
}

/// What it left in its log, for the error.
fn last_words(dir: &SupervisionDir) -> String {
    let log = std::fs::read_to_string(dir.log()).unwrap_or_default();
    match log.trim_end().lines().next_back() {
        Some(line) => format!("the supervisor says: {line}"),
        None => "the supervisor says nothing".to_owned(),
    }
}
