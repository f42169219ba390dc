//! One life of a container: its init process.

use std::time::Duration;

use hshim_health::input::{Exit, RunNumber};
use hshim_health::record::ProcessIdentity;
use tokio::sync::{OnceCell, RwLock};

use crate::cgroup_mounts::OomCounter;
use crate::children::Child;
use crate::process_record;

/// How long the end of a life waits for its probes.
const PROBES_END: Duration = Duration::from_secs(1);

/// An init process from `create` to its end.
#[derive(Debug)]
pub(crate) struct Init {
    /// Which life.
    pub(crate) run: RunNumber,
    /// The process.
    pub(crate) child: Child,
    /// To be recognised by another shim.
    pub(crate) identity: ProcessIdentity,
    /// Nothing of the container outlives it.
    pub(crate) owns_pid_namespace: bool,
    /// What the probes of this life share; made by the first of them.
    pub(crate) entrance: OnceCell<crate::probe::Entrance>,
    /// Held for reading by each probe of this life, so that its end can wait for them.
    pub(crate) probing: RwLock<()>,
    oom: Option<OomCounter>,
}

impl Init {
    /// Takes the child that `create` left, before it is started.
    pub(crate) fn adopt(run: RunNumber, child: Child) -> std::io::Result<Self> {
        let pid = child.pid();
        let identity = process_record::identity(pid)?;
        let owns_pid_namespace = process_record::is_first_of_its_namespace(pid);
        Ok(Self {
            run,
            identity,
            owns_pid_namespace,
            entrance: OnceCell::new(),
            probing: RwLock::new(()),
            oom: OomCounter::of(pid),
            child,
        })
    }

    /// Waits until no probe of this life is under way: with their container gone they end at once, but for their leaves.
    pub(crate) async fn probes_ended(&self) {
        drop(tokio::time::timeout(PROBES_END, self.probing.write()).await);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Exit {
        self.exit(self.child.ended().await)
    }

    /// The same; its process id stays its own until it is dropped.
    pub(crate) async fn ended_and_pinned(&self) -> Exit {
        self.exit(self.child.ended_and_pinned().await)
    }

    fn exit(&self, ended: std::io::Result<crate::sys::Ended>) -> Exit {
        match ended {
            Ok(ended) => ended.exit(self.oom.as_ref().is_some_and(OomCounter::has_moved)),
            Err(error) => {
                // Somebody else reaped our child: what it said is lost, as for containerd's `Unknown`.
                log::error!("wait for the container's process {}: {error}", self.child.pid());
                Exit { code: 255, signal: None, oom_killed: false }
            }
        }
    }
}
