//! `ctr events`, from a moment that is known: what was published before is not missed, what comes after is kept.

use hshim_tests::containerd::{Daemon, Message, Running};
use hshim_tests::wait::until;
use serde_json::Value;

/// The events of a daemon since this was opened.
pub struct EventStream {
    ctr: Running,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    pub topic: String,
    pub body: Value,
}

impl EventStream {
    /// Subscribe, and see that it works before anything happens.
    pub fn open(daemon: &Daemon) -> Self {
        let ctr = daemon.start_ctr(&["events"]);
        let any = Message::new().text(1, "containerd.events.TaskOOM").bytes(2, &[]);
        let knock = Message::new().text(1, "/test/knock").message(2, &any);
        until("events arrive", || {
            daemon.grpc().call("/containerd.services.events.v1.Events/Publish", &knock).unwrap();
            ctr.stdout().contains("/test/knock")
        });
        Self { ctr }
    }

    /// All events about container `id`, in their order.
    pub fn of(&self, id: &str) -> Vec<Event> {
        let text = self.ctr.stdout();
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let about = |event: &Event| ["container_id", "id"].iter().any(|key| event.body[key].as_str() == Some(id));
        complete.lines().filter_map(Event::parse).filter(about).collect()
    }

    /// The topics of tasks and of hshim about container `id`.
    pub fn topics(&self, id: &str) -> Vec<String> {
        let topics = self.of(id).into_iter().map(|event| event.topic);
        topics.filter(|topic| topic.starts_with("/tasks/") || topic.starts_with("/hshim/")).collect()
    }

    /// Wait for an event of this topic about container `id`.
    pub fn wait_for(&self, id: &str, topic: &str) -> Event {
        hshim_tests::wait::for_value(&format!("{topic} of {id}"), || self.of(id).into_iter().find(|event| event.topic == topic))
    }
}

impl Event {
    /// `DATE TIME ZONE NAME NAMESPACE TOPIC BODY`.
    fn parse(line: &str) -> Option<Self> {
        let (head, body) = line.split_at(line.find('{')?);
        let topic = head.split_whitespace().find(|word| word.starts_with('/'))?;
        Some(Self { topic: topic.to_owned(), body: serde_json::from_str(body).ok()? })
    }
}
