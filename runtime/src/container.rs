//! One container of the runtime, as its directory below the root tells.
//!
//! ```text
//! <root>/containers/ID/
//!   lock         one verb at a time
//!   state.json   facts (state_file.rs)
//!   config.json  the specification as the caller wrote it
//!   enter.bin    identity for hshim-enter
//!   exec.fifo    until it has been started (start_fifo.rs)
//!   notify.sock  libcontainer's start barrier
//! ```

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hshim_health::layout;
use libcontainer::oci_spec::runtime::Spec;

use crate::bundle;
use crate::container_id::ContainerId;
use crate::container_lock::ContainerLock;
use crate::init_process::InitProcess;
use crate::rootless_cgroup::{holders, processes_beside};
use crate::start_fifo::{self, StartFifo};
use crate::state_file::StateFile;
use crate::status::Status;
use crate::sys;

/// A container that exists.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// Its facts.
    pub(crate) state: StateFile,
    /// Held by this verb.
    lock: Option<ContainerLock>,
}

/// There is none of this name.
#[derive(Debug, thiserror::Error)]
#[error("container does not exist: {0}")]
pub(crate) struct NoSuchContainer(pub(crate) ContainerId);

impl Container {
    /// Opens a container by its name.
    pub(crate) fn open(root: &Path, id: &ContainerId) -> anyhow::Result<Self> {
        let dir = layout::container_dir(root, id.as_str());
        match StateFile::load(&dir)? {
            Some(state) => Ok(Self { dir, state, lock: None }),
            None => Err(NoSuchContainer(id.clone()).into()),
        }
    }

    /// Opens a container and keeps other verbs from changing it.
    pub(crate) fn open_locked(root: &Path, id: &ContainerId) -> anyhow::Result<Self> {
        let dir = layout::container_dir(root, id.as_str());
        let lock = ContainerLock::take(&dir)?.ok_or_else(|| NoSuchContainer(id.clone()))?;
        Ok(Self { lock: Some(lock), ..Self::open(root, id)? })
    }

    /// Every container below the root, by name.
    pub(crate) fn all(root: &Path) -> anyhow::Result<Vec<Self>> {
        let dir = root.join("containers");
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("read {}", dir.display())),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
        let mut ids: Vec<ContainerId> = names.collect();
        ids.sort();
        let opened = ids.iter().filter_map(|id| match Self::open(root, id) {
            Ok(container) => Some(container),
            Err(error) => {
                // Deleted meanwhile, or by a create that was killed at its first step.
                log::debug!("{id}: {error:#}");
                None
            }
        });
        Ok(opened.collect())
    }

    /// Its init process; none when that has been reaped, or never was.
    pub(crate) fn init(&self) -> anyhow::Result<Option<InitProcess>> {
        let Some(identity) = &self.state.init else { return Ok(None) };
        InitProcess::find(identity).with_context(|| format!("find the init process {}", identity.pid))
    }

    /// What it is doing now.
    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        if self.state.init.is_none() {
            return Ok(if self.is_locked_by_another() { Status::Creating } else { Status::Stopped });
        }
        let Some(init) = self.init()? else { return Ok(Status::Stopped) };
        if init.has_ended()? {
            return Ok(Status::Stopped);
        }
        if self.state.cgroup.is_frozen() {
            return Ok(Status::Paused);
        }
        Ok(if self.waits_for_start()? { Status::Created } else { Status::Running })
    }

    /// Every process of it.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<i32>> {
        if !self.state.cgroup.dirs().is_empty() {
            return Ok(self.state.cgroup.processes());
        }
        let Some(init) = self.init()? else { return Ok(Vec::new()) };
        let found = self.state.init.as_ref().map(|init| processes_beside(init.pid)).unwrap_or_default();
        // Only now is it sure that it was this very process beside which they were found.
        Ok(if init.has_ended()? { Vec::new() } else { found })
    }

    /// Sends a signal to every process of it. Without a cgroup, whoever is forked meanwhile may be missed; a kill of the first takes all.
    pub(crate) fn signal_all(&self, signal: i32) -> anyhow::Result<()> {
        if !self.state.cgroup.dirs().is_empty() {
            drop(self.state.cgroup.signal_all(signal));
            return Ok(());
        }
        for pid in self.processes()? {
            let Ok(pidfd) = sys::pidfd_open(pid) else { continue };
            if let Err(error) = sys::pidfd_send_signal(pidfd.as_fd(), signal) {
                log::debug!("signal process {pid}: {error}");
            }
        }
        Ok(())
    }

    /// Kills what a `create` that was killed has left, where there is no cgroup that would tell.
    pub(crate) fn kill_unfinished(&self) {
        for pid in holders(&start_fifo::path(&self.dir)) {
            let Ok(pidfd) = sys::pidfd_open(pid) else { continue };
            if let Err(error) = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL) {
                log::debug!("kill process {pid}: {error}");
            }
        }
    }

    /// The specification as the caller wrote it.
    pub(crate) fn spec(&self) -> anyhow::Result<Spec> {
        let file = self.dir.join("config.json");
        let config = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        bundle::parse(&config, &file)
    }

    fn waits_for_start(&self) -> anyhow::Result<bool> {
        let Some(mut fifo) = StartFifo::open(&self.dir)? else { return Ok(false) };
        // While `start` reads it, nobody else may.
        Ok(self.is_locked_by_another() || fifo.init_waits())
    }

    /// Never looks while the lock is held here: to close the file again would release it.
    fn is_locked_by_another(&self) -> bool {
        self.lock.is_none() && ContainerLock::holder(&self.dir).is_some()
    }
}
