//! The process around the loop: what it is given, how it stands among other processes, and its order of beginning and ending.
//!
//! It is a session of its own without a terminal, so that nothing that happens to its starter reaches it, and a subreaper, so
//! that containers become its children. SIGTERM, SIGINT, SIGHUP and SIGQUIT are ignored: whoever stops a service or closes a
//! terminal must not thereby switch health off; a pod is ended with `hshim delete`. SIGKILL ends the shim alone: containers and
//! their output go on.

use std::fs;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hshim_health::Supervisor;
use hshim_health::control::Ready;
use hshim_health::layout::SupervisionDir;
use hshim_health::record::{Supervision, VERSION};
use nix::sys::signal::Signal;
use thiserror::Error;

use crate::arguments::Stay;
use crate::children;
use crate::cleanup;
use crate::clock;
use crate::control;
use crate::node::Node;
use crate::pod::Pod;
use crate::ready::ReadyLine;
use crate::records::Records;
use crate::spawn::InheritedStdio;
use crate::supervise::{Ending, Loop};
use crate::sys;

/// The descriptors of a bundle's stdio.
const STDIO: [RawFd; 3] = [4, 5, 6];

/// How long a shim that ends with its container stays to deliver what it has answered.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// The shim could not begin.
#[derive(Debug, Error)]
enum SessionError {
    /// What it is to do cannot be read.
    #[error("read {}: {source}", path.display())]
    Supervision {
        /// Of supervision.json.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another version of hshim wrote it.
    #[error("{} has version {found}, this shim understands {VERSION}: install hshim and its shim from one release", path.display())]
    Version {
        /// Of supervision.json.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// Its containers cannot be launched.
    #[error("{} has {plans} containers, but {launches} launches", path.display())]
    Launches {
        /// Of supervision.json.
        path: PathBuf,
        /// Containers of the plan.
        plans: usize,
        /// Launches.
        launches: usize,
    },
    /// A step of the beginning.
    #[error("{doing}: {source}")]
    Begin {
        /// What was being done.
        doing: &'static str,
        /// Why it could not be.
        source: std::io::Error,
    },
}

/// Supervises until the pod is gone.
pub(crate) fn run(dir: PathBuf, ready: RawFd, stay: Stay) -> ExitCode {
    let ready = sys::inherited(ready).map(ReadyLine::new);
    let stdio = STDIO.map(sys::inherited);
    let Some(ready) = ready else {
        log::error!("the descriptor for the ready line is not open");
        return ExitCode::from(2);
    };
    let begun = begin(&SupervisionDir(dir.clone())).and_then(|supervision| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok((supervision, runtime.map_err(|source| SessionError::Begin { doing: "make the event loop", source })?))
    });
    match begun {
        Ok((supervision, runtime)) => {
            runtime.block_on(supervise(supervision, SupervisionDir(dir), Beginning { ready, stdio, stay }))
        }
        Err(error) => fail(ready, &error),
    }
}

fn fail(ready: ReadyLine, error: &SessionError) -> ExitCode {
    log::error!("{error}");
    ready.tell(&Ready::Failed { message: error.to_string() });
    ExitCode::FAILURE
}

fn begin(dir: &SupervisionDir) -> Result<Supervision, SessionError> {
    stand_alone().map_err(|errno| SessionError::Begin { doing: "stand alone", source: errno.into() })?;
    let path = dir.supervision();
    let text = fs::read(&path).map_err(|source| SessionError::Supervision { path: path.clone(), source })?;
    let supervision: Supervision = serde_json::from_slice(&text)
        .map_err(|error| SessionError::Supervision { path: path.clone(), source: std::io::Error::other(error) })?;
    if supervision.version != VERSION {
        return Err(SessionError::Version { path, found: supervision.version });
    }
    let (plans, launches) = (supervision.plan.containers.len(), supervision.launches.len());
    if plans == launches { Ok(supervision) } else { Err(SessionError::Launches { path, plans, launches }) }
}

/// Away from whoever started this process: a session, no signals, the parent of orphans.
pub(crate) fn stand_alone() -> nix::Result<()> {
    sys::close_others_on_exec();
    sys::without_huge_pages();
    match nix::unistd::setsid() {
        // Already the leader of a session: whoever started it has seen to that.
        Ok(_) | Err(nix::Error::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    nix::unistd::chdir("/")?;
    nix::sys::prctl::set_child_subreaper(true)?;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGPIPE] {
        sys::ignore(signal)?;
    }
    children::block_sigchld()
}

type InheritedFds = [Option<std::os::fd::OwnedFd>; 3];

/// What the starter handed over.
struct Beginning {
    ready: ReadyLine,
    stdio: InheritedFds,
    stay: Stay,
}

async fn supervise(supervision: Supervision, dir: SupervisionDir, beginning: Beginning) -> ExitCode {
    let Beginning { ready, stdio, stay } = beginning;
    let opened = open(supervision, dir, stdio).await;
    let (pod, records, mut server, questions) = match opened {
        Ok(opened) => opened,
        Err((doing, source)) => return fail(ready, &SessionError::Begin { doing, source }),
    };
    let reaper = tokio::spawn(children::reap_strangers_for_ever(Arc::clone(&pod.children)));
    let supervisor = Supervisor::new(pod.supervision.plan.clone(), clock::now());
    let ending = match Node::new(Arc::clone(&pod), records, questions, ready) {
        Ok(node) => Loop::new(supervisor, node, stay).run().await,
        Err(error) => {
            log::error!("make the alarm: {error}");
            Ending::Doomed
        }
    };
    match ending {
        // The answers that the end has brought are still on their way to whoever asked.
        Ending::Handed(_) => tokio::time::sleep(LAST_ANSWERS).await,
        Ending::Deleted | Ending::Doomed => cleanup::end(&pod).await,
    }
    reaper.abort();
    if let Err(error) = server.shutdown().await {
        log::warn!("close the socket: {error}");
    }
    match ending {
        Ending::Deleted => ExitCode::SUCCESS,
        Ending::Doomed => ExitCode::FAILURE,
        Ending::Handed(code) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
    }
}

type Opened = (Arc<Pod>, Records, ttrpc::asynchronous::Server, control::Questions);

/// `shim.json` first: whoever finds the directory knows who looks after it.
async fn open(
    supervision: Supervision,
    dir: SupervisionDir,
    stdio: InheritedFds,
) -> Result<Opened, (&'static str, std::io::Error)> {
    let records = Records::open(dir.clone()).map_err(|error| ("write shim.json", error))?;
    let (server, questions) = control::serve(&dir.socket()).await.map_err(|error| ("serve on shim.sock", error))?;
    let stdio = match stdio {
        [Some(stdin), Some(stdout), Some(stderr)] => Some(InheritedStdio::new([stdin, stdout, stderr])),
        _ => None,
    };
    let pod = Pod::open(supervision, dir, stdio).map_err(|error| ("open the containers' files", error))?;
    Ok((Arc::new(pod), records, server, questions))
}
