//! What all containers of one shim share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::publisher::Publisher;
use crate::children::Children;
use crate::clock;

/// An agent that called this recently is alive.
const RECENT_MILLISECONDS: i64 = 60_000;

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
#[derive(Debug, Default)]
pub(crate) struct Agent {
    connections: AtomicUsize,
    last_call: AtomicI64,
    /// Of calls, connections and containers.
    last_change: AtomicI64,
    changed: Notify,
}

impl Agent {
    /// A connection was accepted.
    pub(crate) fn on_connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.note();
    }

    /// A connection was closed.
    pub(crate) fn on_disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.note();
    }

    /// A request came.
    pub(crate) fn on_call(&self) {
        self.last_call.store(milliseconds(), Ordering::Relaxed);
        self.last_change.store(milliseconds(), Ordering::Relaxed);
    }

    /// It is connected and has asked something recently.
    pub(crate) fn is_alive(&self) -> bool {
        self.connections.load(Ordering::Relaxed) > 0 && self.has_called_recently()
    }

    /// It has asked something recently.
    fn has_called_recently(&self) -> bool {
        let last = self.last_call.load(Ordering::Relaxed);
        last != 0 && milliseconds() - last < RECENT_MILLISECONDS
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
