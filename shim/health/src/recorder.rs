//! Counting events: an event that happened before, about the same container with the same words, is the same event once more.
//!
//! Nothing is dropped for its rate, unlike client-go's recorder (tools/record/events_cache.go): the counts are exact.
//! Memory is bounded: the series that was silent for longest is forgotten first, and begins anew if it comes again.

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventKind, EventReason};
use crate::moment::Moment;

/// Series remembered at once.
const CAPACITY: usize = 256;

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) kind: EventKind,
    pub(crate) reason: EventReason,
    pub(crate) message: String,
    pub(crate) container: Option<String>,
}

/// Memory of the events of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorder {
    last_id: u64,
    series: Vec<Event<Moment>>,
}

impl Recorder {
    /// Count `note` in and answer the event as it is now.
    pub(crate) fn record(&mut self, note: Note, now: Moment) -> Event<Moment> {
        let known = self.series.iter_mut().find(|event| {
            event.reason == note.reason
                && event.container == note.container
                && event.message == note.message
                && event.kind == note.kind
        });
        if let Some(event) = known {
            event.count = event.count.saturating_add(1);
            event.last = now;
            return event.clone();
        }
        self.begin(note, now)
    }

    fn begin(&mut self, note: Note, now: Moment) -> Event<Moment> {
        if self.series.len() >= CAPACITY
            && let Some((oldest, _)) = self.series.iter().enumerate().min_by_key(|(_, event)| event.last)
        {
            self.series.swap_remove(oldest);
        }
        self.last_id += 1;
        let Note { kind, reason, message, container } = note;
        let event = Event { id: self.last_id, kind, reason, message, container, count: 1, first: now, last: now };
        self.series.push(event.clone());
        event
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn note(message: &str) -> Note {
        Note {
            kind: EventKind::Warning,
            reason: EventReason::Unhealthy,
            message: message.to_owned(),
            container: Some("a".to_owned()),
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn equal_events_are_counted_and_keep_their_first_time() {
        let mut recorder = Recorder::default();
        let first = recorder.record(note("x"), at(1));
        let other = recorder.record(note("y"), at(2));
        let again = recorder.record(note("x"), at(9));
        assert_ne!(first.id, other.id);
        assert_eq!((again.id, again.count, again.first, again.last), (first.id, 2, at(1), at(9)));
    }

    #[test]
    fn memory_is_bounded_and_the_longest_silent_series_goes_first() {
        let mut recorder = Recorder::default();
        for n in 0..1000_u64 {
            recorder.record(note(&n.to_string()), at(n));
            recorder.record(note("steady"), at(n));
        }
        assert!(recorder.series.len() <= CAPACITY);
        let steady = recorder.record(note("steady"), at(1000));
        assert_eq!(steady.count, 1001, "a series that goes on is never forgotten");
        assert_eq!(recorder.record(note("0"), at(1001)).count, 1, "a forgotten one begins anew");
    }
}
