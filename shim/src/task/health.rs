//! What is kept and told of a supervised container: its records, hshim's own events, the status file in the container.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use hshim_health::event::{Event, EventReason};
use hshim_health::record::ProcessIdentity;
use hshim_health::restart_owner::Restarter;
use hshim_health::status::{ContainerState, PodStatus, StopCause};
use hshim_health::{Action, Moment, Supervisor};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use super::events;
use super::owner::{ONLY, Task};
use crate::records::Records;

/// Of one supervised container.
#[derive(Debug)]
pub(super) struct Health {
    records: Records,
    status_file: Option<String>,
    /// The coming restart has been told of.
    announced: bool,
    process: Option<ProcessIdentity>,
    /// What the status file said last, and in which process' root.
    shown: Option<(u32, bool)>,
}

impl Health {
    pub(super) fn new(records: Records, status_file: Option<String>) -> Self {
        Self { records, status_file, announced: false, process: None, shown: None }
    }

    /// The memory is on disk before the first action has an effect.
    pub(super) fn remember(&mut self, actions: &[Action], supervisor: &Supervisor) {
        if !actions.iter().any(|action| matches!(action, Action::Publish(_))) {
            return;
        }
        match supervisor.to_json() {
            Ok(memory) => self.records.remember(memory, vec![self.process.clone()]),
            Err(error) => log::error!("write the supervisor's memory: {error}"),
        }
    }

    /// Which process is the container's now.
    pub(super) fn remember_process(&mut self, process: Option<ProcessIdentity>) {
        self.process.clone_from(&process);
        self.records.remember_processes(vec![process]);
    }

    /// An event of the supervisor: into the record, and to containerd if it is one of those that it is told of.
    pub(super) fn record(&mut self, task: &Task, event: Event<Moment>, supervisor: &Supervisor) {
        let run = supervisor.run(ONLY);
        let topic = match event.reason {
            EventReason::Unhealthy => Some("/hshim/unhealthy"),
            EventReason::BackOff => Some("/hshim/backing-off"),
            EventReason::BackoffLimitExceeded => Some("/hshim/gave-up"),
            EventReason::Started if run.is_some_and(|run| run.0 > 0) => {
                self.announced = false;
                Some("/hshim/restarted")
            }
            EventReason::Killing if supervisor.is_stopped_for_restart(ONLY) => {
                self.announced = true;
                Some("/hshim/restarting")
            }
            EventReason::RestartOwner => Some("/hshim/restart-owner"),
            EventReason::Started
            | EventReason::Killing
            | EventReason::Pulling
            | EventReason::Pulled
            | EventReason::Created
            | EventReason::Failed
            | EventReason::ProbeWarning => None,
        };
        if let Some(topic) = topic {
            let labels = [
                ("hshim.dev/reason", format!("{:?}", event.reason)),
                ("hshim.dev/message", event.message.clone()),
                ("hshim.dev/count", event.count.to_string()),
                ("hshim.dev/run", run.map_or(0, |run| run.0).to_string()),
            ];
            let owner = (event.reason == EventReason::RestartOwner).then(|| ("hshim.dev/owner", owner(supervisor).to_owned()));
            tell(task, topic, labels.into_iter().chain(owner));
        }
        self.records.record(event);
    }

    /// A restart has been decided on, and nobody has been told yet.
    pub(super) fn announce_restart(&mut self, task: &Task, supervisor: &Supervisor) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        let status = supervisor.status();
        let restart = status.containers.into_iter().next().and_then(|container| container.last_restart);
        let (cause, code) = restart.map_or(("", 0), |restart| (cause(&restart.cause), restart.termination.exit.code));
        tell(task, "/hshim/restarting", [("hshim.dev/reason", cause.to_owned()), ("hshim.dev/exit-code", code.to_string())]);
    }

    /// The kernel killed a process, and the container may go on.
    pub(super) fn out_of_memory(&mut self, task: &Task) {
        tell(task, "/hshim/oom", []);
    }

    /// A changed status: into the record, and its verdict into the container.
    pub(super) fn publish(&mut self, status: PodStatus<Moment>, pid: Option<u32>) {
        let container = status.containers.first();
        let ready = container.is_some_and(|it| it.ready && matches!(it.state, ContainerState::Running { .. }));
        if let (Some(path), Some(pid)) = (&self.status_file, pid)
            && self.shown != Some((pid, ready))
        {
            match show(pid, path, ready) {
                Ok(()) => self.shown = Some((pid, ready)),
                Err(error) => log::warn!("write the status file {path} in the container: {error}"),
            }
        }
        self.records.publish(status);
    }
}

fn tell<'a>(task: &Task, topic: &'static str, labels: impl IntoIterator<Item = (&'a str, String)>) {
    let labels: BTreeMap<String, String> = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    task.shared.events.publish(events::Event::custom(topic, &task.id, labels));
}

/// The word of `restartOwner`.
fn owner(supervisor: &Supervisor) -> &'static str {
    match supervisor.restarter() {
        Restarter::Shim => "shim",
        Restarter::Agent => "kubelet",
    }
}

const fn cause(cause: &StopCause) -> &'static str {
    match cause {
        StopCause::ProbeFailed { .. } => "ProbeFailed",
        StopCause::RestartRequested => "RestartRequested",
        StopCause::StopRequested => "StopRequested",
        StopCause::Itself => "Exited",
    }
}

/// Makes the file in the container's own root, or removes it. What the container may have put in its place is never followed
/// out of it.
fn show(pid: u32, path: &str, ready: bool) -> io::Result<()> {
    let root = File::open(format!("/proc/{pid}/root"))?;
    let path = Path::new(path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().resolve(resolve);
    let directory = openat2(root.as_fd(), parent, how.flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC))?;
    if !ready {
        return match nix::unistd::unlinkat(&directory, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        };
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat2(directory.as_fd(), name, how.flags(flags).mode(Mode::from_bits_truncate(0o644)))?;
    File::from(file).write_all(b"ready\n")
}
