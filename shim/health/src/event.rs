//! Events: what the user reads about what happened.

use serde::{Deserialize, Serialize};

/// One event, counted: equal events (same reason, message and container) are one, with a count.
///
/// `T` is [`crate::Moment`] inside the supervisor and [`jiff::Timestamp`] on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<T> {
    /// Of the series: repetitions keep it.
    pub id: u64,
    /// Normal or Warning.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// Kubernetes' word.
    pub reason: EventReason,
    /// Kubernetes' text.
    pub message: String,
    /// Name of the container it is about; none when it is about the pod.
    pub container: Option<String>,
    /// How often it happened.
    pub count: u32,
    /// When first.
    pub first: T,
    /// When last.
    pub last: T,
}

/// `Event.type` of the core/v1 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// As expected.
    Normal,
    /// Somebody should look.
    Warning,
}

/// `Event.reason`: the kubelet's words (pkg/kubelet/events/event.go), of jobs `BackoffLimitExceeded`, and hshim's own `RestartOwner`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the documentation: they are the kubelet's own words")]
pub enum EventReason {
    Pulling,
    Pulled,
    Created,
    Started,
    Failed,
    Unhealthy,
    ProbeWarning,
    Killing,
    BackOff,
    BackoffLimitExceeded,
    RestartOwner,
}

impl<T> Event<T> {
    /// The same event with its times put through `stamp`.
    #[must_use]
    pub fn map_time<U>(self, mut stamp: impl FnMut(T) -> U) -> Event<U> {
        let Self { id, kind, reason, message, container, count, first, last } = self;
        Event { id, kind, reason, message, container, count, first: stamp(first), last: stamp(last) }
    }
}
