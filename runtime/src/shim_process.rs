//! The shim as a process of its own: where its program is, how it is started, and whether it still lives.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hshim_health::control::{Ready, WITHOUT_SUPERVISION};
use hshim_health::layout::SupervisionDir;
use hshim_health::record::{ShimIdentity, VERSION};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, pipe2};

use crate::init_process::{InitProcess, ProcessIdentity};
use crate::sealed_executable;
use crate::sys;

/// File name of the program.
const NAME: &str = "containerd-shim-hshim-v2";
/// Where packages put it, when it is not beside this one.
const PLACES: [&str; 2] = ["/usr/local/bin", "/usr/bin"];
/// Of the ready line in the shim.
const READY: i32 = 3;
/// Of a bundle's stdio in the shim.
const STDIO: [i32; 3] = [4, 5, 6];

/// Of a lock that the shim inherits; it need not know.
const LOCK: i32 = 7;

/// What a shim is started with beside its directory.
#[derive(Debug, Default)]
pub(crate) struct Launching<'a> {
    /// Standard input, output and error of a bundle's container.
    pub(crate) stdio: Option<[BorrowedFd<'a>; 3]>,
    /// What the shim holds as long as it lives.
    pub(crate) lock: Option<BorrowedFd<'a>>,
    /// Further arguments.
    pub(crate) flags: &'a [&'a str],
}

/// Starts the shim of a supervision directory that holds `supervision.json`, and waits until it serves. The answer is the
/// process id of the created init (a bundle) and the shim's own. When it fails, the shim has cleared away what it made and has ended.
pub(crate) fn launch(dir: &SupervisionDir, launching: &Launching<'_>) -> anyhow::Result<Launched> {
    let program = program()?;
    let (ready, ready_end) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
    let shim = spawn(&program, dir, launching, ready_end)?;
    let mut line = String::new();
    File::from(ready).read_to_string(&mut line).context("hear from the shim")?;
    match serde_json::from_str(&line) {
        Ok(Ready::Serving { pid }) => Ok(Launched { shim: shim.as_raw(), init: pid }),
        Ok(Ready::Failed { message }) => {
            reap(shim);
            anyhow::bail!(message)
        }
        Err(_) => {
            reap(shim);
            let said = fs::read_to_string(dir.log()).unwrap_or_default();
            anyhow::bail!("{} ended without a word of being ready: {}", program.display(), said.trim_end())
        }
    }
}

/// A shim that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Launched {
    /// Its process id.
    pub(crate) shim: i32,
    /// Process id of the created init, of a bundle.
    pub(crate) init: Option<u32>,
}

/// The shim of a supervision directory, if it still lives.
pub(crate) fn find(dir: &SupervisionDir) -> anyhow::Result<Option<InitProcess>> {
    let file = dir.shim();
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    let identity: ShimIdentity = serde_json::from_slice(&text).with_context(|| format!("understand {}", file.display()))?;
    anyhow::ensure!(
        identity.version == VERSION,
        "{}: version {} is of another hshim than this one",
        file.display(),
        identity.version
    );
    let pid = i32::try_from(identity.process.pid).with_context(|| format!("understand {}", file.display()))?;
    let hshim_health::record::ProcessIdentity { start_time, boot_id, .. } = identity.process;
    let found = InitProcess::find(&ProcessIdentity { pid, start_time, boot_id, pidfd_inode: None });
    let found = found.with_context(|| format!("find the shim {pid}"))?;
    // One that has ended and was not reaped by whoever is its parent is gone too.
    Ok(match found {
        Some(shim) if shim.has_ended()? => None,
        other => other,
    })
}

/// The shim's program.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let own = sealed_executable::path();
    let beside = own.parent().map(Path::to_owned);
    let places = beside.into_iter().chain(PLACES.map(PathBuf::from));
    let found = places.map(|place| place.join(NAME)).find(|path| path.is_file());
    found.with_context(|| format!("{NAME} is neither beside {} nor in {}: install it there", own.display(), PLACES.join(", ")))
}

fn spawn(program: &Path, dir: &SupervisionDir, launching: &Launching<'_>, ready: OwnedFd) -> anyhow::Result<Pid> {
    let log = dir.log();
    let log =
        File::options().append(true).create(true).mode(0o600).open(&log).with_context(|| format!("open {}", log.display()))?;
    let null = File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    // What the caller left open belongs to the caller, not to a process that outlives it.
    sys::close_others_on_exec().context("close what the caller left open")?;
    let stdio = launching.stdio.unwrap_or([null.as_fd(); 3]);
    let mut wanted = vec![(null.as_fd(), 0), (null.as_fd(), 1), (log.as_fd(), 2), (ready.as_fd(), READY)];
    wanted.extend(stdio.into_iter().zip(STDIO));
    wanted.extend(launching.lock.map(|lock| (lock, LOCK)));
    let mut actions = PosixSpawnFileActions::init()?;
    let mut sources = Vec::new();
    for (fd, target) in wanted {
        let source = out_of_the_way(fd)?;
        actions.add_dup2(source.as_raw_fd(), target)?;
        sources.push(source);
    }
    let text = |text: &Path| CString::new(text.as_os_str().as_bytes());
    let mut argv = vec![text(program)?, c"supervise".into(), c"--dir".into(), text(&dir.0)?, c"--ready-fd".into()];
    argv.push(CString::new(READY.to_string())?);
    for flag in launching.flags {
        argv.push(CString::new(*flag)?);
    }
    posix_spawn(program, &actions, &attributes()?, &argv, &environment()?).with_context(|| format!("run {}", program.display()))
}

/// A copy that is none of the numbers that the shim is given.
fn out_of_the_way(fd: BorrowedFd<'_>) -> anyhow::Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(10)).context("copy a descriptor")?;
    sys::received(copy).context("copy a descriptor")
}

/// Every signal at its default, none held back.
fn attributes() -> nix::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    let mut all = SigSet::empty();
    Signal::iterator().filter(|signal| ![Signal::SIGKILL, Signal::SIGSTOP].contains(signal)).for_each(|signal| all.add(signal));
    attributes.set_sigdefault(&all)?;
    attributes.set_sigmask(&SigSet::empty())?;
    Ok(attributes)
}

/// The caller's, without what only concerns this command.
fn environment() -> anyhow::Result<Vec<CString>> {
    let kept = std::env::vars_os().filter(|(name, _)| name != WITHOUT_SUPERVISION);
    let joined = kept.map(|(mut entry, value)| {
        entry.push("=");
        entry.push(value);
        CString::new(entry.into_vec()).context("an environment variable contains a NUL byte")
    });
    joined.collect()
}

/// It has said that it ends.
fn reap(shim: Pid) {
    if let Err(error) = waitpid(shim, Some(WaitPidFlag::empty())) {
        log::debug!("wait for the shim {shim}: {error}");
    }
}
