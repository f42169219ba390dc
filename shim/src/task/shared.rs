//! What all containers of one shim share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use hshim_health::restart_owner::Agent as Sight;
use tokio::sync::{Notify, watch};

use super::publisher::Publisher;
use crate::children::Children;
use crate::clock;

/// Shared by all containers of the shim.
#[derive(Debug)]
pub(crate) struct Shared {
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// Who waits for children.
    pub(crate) children: Arc<Children>,
    /// Where events go.
    pub(crate) events: Publisher,
    /// Is containerd there?
    pub(crate) agent: Agent,
}

/// What is known of containerd.
#[derive(Debug)]
pub(crate) struct Agent {
    connections: AtomicUsize,
    /// For whoever decides by it; a call alone wakes nobody else.
    sight: watch::Sender<Sight>,
    /// Of calls, connections and containers.
    last_change: AtomicI64,
    changed: Notify,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            connections: AtomicUsize::default(),
            sight: watch::Sender::new(Sight::default()),
            last_change: AtomicI64::default(),
            changed: Notify::default(),
        }
    }
}

impl Agent {
    /// A connection was accepted.
    pub(crate) fn on_connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.sight.send_if_modified(|sight| !std::mem::replace(&mut sight.connected, true));
        self.note();
    }

    /// A connection was closed.
    pub(crate) fn on_disconnected(&self) {
        let was_last = self.connections.fetch_sub(1, Ordering::Relaxed) == 1;
        self.sight.send_if_modified(|sight| was_last && std::mem::replace(&mut sight.connected, false));
        self.note();
    }

    /// A request came.
    pub(crate) fn on_call(&self) {
        self.sight.send_modify(|sight| sight.last_call = Some(clock::now()));
        self.last_change.store(milliseconds(), Ordering::Relaxed);
    }

    /// What is known now, and every change of it.
    pub(crate) fn watch(&self) -> watch::Receiver<Sight> {
        self.sight.subscribe()
    }

    /// Waits until connections come or go, or containers do.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How long nothing has happened.
    pub(crate) fn quiet_for(&self) -> Duration {
        let quiet = milliseconds() - self.last_change.load(Ordering::Relaxed);
        Duration::from_millis(u64::try_from(quiet).unwrap_or(0))
    }

    /// Containers came or went.
    pub(crate) fn note(&self) {
        self.last_change.store(milliseconds(), Ordering::Relaxed);
        self.changed.notify_one();
    }
}

fn milliseconds() -> i64 {
    i64::try_from(clock::now().as_duration().as_millis()).unwrap_or(i64::MAX)
}
