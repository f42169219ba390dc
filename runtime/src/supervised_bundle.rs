//! A container that a shim looks after, as the OCI verbs see it: what they ask of the shim, and what they do when it is gone.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use hshim_health::columns::status_word;
use hshim_health::control::{Reply, Request, WITHOUT_SUPERVISION};
use hshim_health::layout::{self, SupervisionDir};
use hshim_health::status::{ContainerState, PodPhase, PodStatus, WaitingReason};
use jiff::Timestamp;

use crate::container_id::ContainerId;
use crate::container_lock::ContainerLock;
use crate::operator::{pod_records, pod_view};
use crate::shim_client::{AskError, ShimClient};
use crate::shim_process;

/// How long the shim may take to answer what it answers at once.
const PROMPT: Duration = Duration::from_secs(10);
/// How long one that answers no more may take to end.
const ENDING: Duration = Duration::from_secs(2);
/// How long it may take to end a killed container and to clear it away.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is shown when nobody looks after it any more.
pub(crate) const UNSUPERVISED: &str = "Unsupervised";

/// A container with a supervision directory.
#[derive(Clone, Debug)]
pub(crate) struct SupervisedBundle {
    id: ContainerId,
    dir: SupervisionDir,
}

/// Whether a shim runs this command: it then means the container itself.
pub(crate) fn is_asked_by_shim() -> bool {
    std::env::var_os(WITHOUT_SUPERVISION).is_some_and(|value| value == "1")
}

/// How a supervised container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// For the annotation `hshim.dev/phase`.
    pub(crate) phase: String,
    /// It is not to be taken for running or created, whatever its next life is doing.
    pub(crate) stopped: bool,
    /// When its supervision began, when that is known.
    pub(crate) since: Option<Timestamp>,
    /// Its bundle, when that is known.
    pub(crate) bundle: Option<PathBuf>,
}

impl SupervisedBundle {
    /// The supervised container of this name; none when there is none, or a shim asks.
    pub(crate) fn find(root: &Path, id: &ContainerId) -> Option<Self> {
        let dir = SupervisionDir(layout::bundle_dir(root, id.as_str()));
        (!is_asked_by_shim() && dir.0.is_dir()).then(|| Self { id: id.clone(), dir })
    }

    /// Names of all supervised containers.
    pub(crate) fn ids(root: &Path) -> Vec<ContainerId> {
        let entries = fs::read_dir(root.join("bundles")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Starts it.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        let Some(mut client) = ShimClient::connect(&self.dir)? else {
            anyhow::bail!(
                "its supervisor is gone, and nobody would watch its health: delete it (hshim delete --force {}) and create it again",
                self.id
            )
        };
        client.ask(&Request::Start)?;
        Ok(())
    }

    /// Has its shim send a signal. False when there is no shim any more.
    pub(crate) fn kill(&self, signal: i32, all: bool) -> anyhow::Result<bool> {
        let Some(mut client) = ShimClient::connect(&self.dir)? else { return Ok(false) };
        client.set_patience(Some(PROMPT))?;
        match client.ask(&Request::Kill { signal, all }) {
            Ok(_done) => Ok(true),
            Err(AskError::Refused(message)) => anyhow::bail!("{message}: {}", self.id),
            Err(_) if self.is_ending()? => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A connection on which the final exit will be told.
    pub(crate) fn awaited(&self) -> anyhow::Result<Option<ShimClient>> {
        let Some(mut client) = ShimClient::connect(&self.dir)? else { return Ok(None) };
        client.send(&Request::Wait)?;
        Ok(Some(client))
    }

    /// Has its shim delete it and end. False when there is no shim any more, and the caller has to clear away.
    pub(crate) fn delete(&self, force: bool) -> anyhow::Result<bool> {
        let deleted = if force { self.delete_by_force() } else { self.ask_to_delete() };
        match deleted {
            Err(error) if force && self.end_shim()? => {
                log::warn!("{error:#}; its shim was killed");
                Ok(false)
            }
            other => other,
        }
    }

    fn delete_by_force(&self) -> anyhow::Result<bool> {
        match self.kill(libc::SIGKILL, false) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            // It has ended already.
            Err(error) if !error.is::<AskError>() => log::debug!("{error:#}"),
            Err(error) => return Err(error),
        }
        if let Some(mut client) = self.awaited()? {
            client.set_patience(Some(PATIENCE))?;
            client.receive()?;
        }
        self.ask_to_delete()
    }

    fn ask_to_delete(&self) -> anyhow::Result<bool> {
        let Some(mut client) = ShimClient::connect(&self.dir)? else { return Ok(false) };
        client.set_patience(Some(PROMPT))?;
        match client.ask(&Request::Delete { grace: None }) {
            Ok(_done) => {}
            Err(error @ AskError::Refused(_)) => return Err(error.into()),
            Err(_) if self.is_ending()? => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        anyhow::ensure!(client.closes_within(PATIENCE)?, "its shim has not cleared it away within {} s", PATIENCE.as_secs());
        anyhow::ensure!(!self.dir.0.exists(), "its shim could not clear everything away: {}", self.said());
        Ok(true)
    }

    /// A shim that broke a conversation off is gone, or goes now.
    fn is_ending(&self) -> anyhow::Result<bool> {
        match shim_process::find(&self.dir)? {
            Some(shim) => Ok(shim.ends_within(ENDING)?),
            None => Ok(true),
        }
    }

    /// Kills a shim that does not do what it is asked. False when there is none that could be killed.
    fn end_shim(&self) -> anyhow::Result<bool> {
        let Some(shim) = shim_process::find(&self.dir)? else { return Ok(true) };
        shim.signal(libc::SIGKILL).context("kill the shim")?;
        Ok(shim.ends_within(Duration::from_secs(10))?)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.log()).unwrap_or_default().lines().next_back().unwrap_or("see its log").to_owned()
    }

    /// Its final exit as the shim has written it down before it ended; none when it may live on.
    pub(crate) fn final_exit(&self) -> anyhow::Result<Option<u8>> {
        let status = pod_view::status(&self.dir)?;
        let first = status.and_then(|status| status.containers.into_iter().next());
        match first.map(|container| container.state) {
            Some(ContainerState::Terminated(ended)) => Ok(Some(u8::try_from(ended.exit.code & 0xff)?)),
            Some(ContainerState::Running { .. } | ContainerState::Waiting { .. }) | None => Ok(None),
        }
    }

    /// Keeps other commands from beginning or clearing away meanwhile; none when it is gone by then.
    pub(crate) fn lock(&self) -> anyhow::Result<Option<ContainerLock>> {
        ContainerLock::take(&self.dir.0)
    }

    /// Removes the directory of a supervision that is over.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.dir.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.dir.0.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> anyhow::Result<Standing> {
        let launches = pod_records::supervision(&self.dir)?.map(|supervision| supervision.launches).unwrap_or_default();
        let bundle = launches.into_iter().next().map(|launch| launch.bundle);
        let status = pod_view::status(&self.dir)?;
        let supervised = shim_process::find(&self.dir)?.is_some();
        Ok(standing(status.as_ref(), supervised, bundle))
    }
}

fn standing(status: Option<&PodStatus<Timestamp>>, supervised: bool, bundle: Option<PathBuf>) -> Standing {
    let has_ended = status.is_some_and(|status| matches!(status.phase, PodPhase::Succeeded | PodPhase::Failed));
    let since = status.map(|status| status.started_at);
    let phase = match status {
        Some(status) if supervised || has_ended => status_word(status),
        None if supervised => "Pending".to_owned(),
        Some(_) | None => UNSUPERVISED.to_owned(),
    };
    Standing { phase, stopped: supervised && status.is_some_and(is_between_lives), since, bundle }
}

/// Its process is gone, and another may come: neither running nor waiting to be started by the user.
fn is_between_lives(status: &PodStatus<Timestamp>) -> bool {
    status.containers.iter().any(|container| match &container.state {
        ContainerState::Running { .. } | ContainerState::Waiting { reason: WaitingReason::Created, .. } => false,
        // The first life is on its way.
        ContainerState::Waiting { reason: WaitingReason::ContainerCreating, .. } => container.last_termination.is_some(),
        ContainerState::Waiting { .. } | ContainerState::Terminated(_) => true,
    })
}

/// The code of the answer to `Wait`.
pub(crate) fn exit_code(reply: &Reply) -> anyhow::Result<u8> {
    match reply {
        Reply::Exited { code } => u8::try_from(code & 0xff).context("read how the container ended"),
        Reply::Done | Reply::Refused { .. } => anyhow::bail!("the shim did not say how the container ended"),
    }
}
