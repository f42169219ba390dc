//! Who starts an ended container again under containerd: the shim in place, or the node's agent (containerd with a kubelet, mostly)
//! by a container of its own.
//!
//! ```text
//!            ── connected, and something asked within a minute ──▶
//!   Shim                                                            Agent      `auto`; `shim` and `kubelet` stay what they are
//!            ◀── disconnected, or nothing asked for a minute ──
//! ```
//! It is judged whenever the agent is heard of or goes, and at the one moment at which its silence becomes too long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{EventKind, EventReason};
use crate::moment::Moment;
use crate::recorder::Note;

/// An agent that is silent for longer is not there for its containers: a kubelet asks for statistics every ten seconds.
const RECENT: Duration = Duration::from_secs(60);

/// `restartOwner`, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestartOwner {
    /// The shim, in place.
    #[default]
    Shim,
    /// The node's agent: the shim probes and kills, every end is handed on.
    Kubelet,
    /// The agent while it is alive, else the shim.
    Auto,
}

/// What is known of the node's agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// It holds a connection.
    pub connected: bool,
    /// When it asked something last.
    pub last_call: Option<Moment>,
}

/// Who restarts, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Restarter {
    /// The shim.
    #[default]
    Shim,
    /// The agent: ends are handed on to it.
    Agent,
}

/// Memory of who restarts the containers of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ownership {
    asked: RestartOwner,
    agent: Agent,
    restarter: Restarter,
}

impl Ownership {
    /// As it stands in the beginning; this is no change yet.
    pub(crate) fn new(asked: RestartOwner, agent: Agent, now: Moment) -> Self {
        let restarter = match asked {
            RestartOwner::Shim => Restarter::Shim,
            RestartOwner::Kubelet => Restarter::Agent,
            RestartOwner::Auto => agent.restarter(now),
        };
        Self { asked, agent, restarter }
    }

    pub(crate) const fn restarter(&self) -> Restarter {
        self.restarter
    }

    pub(crate) const fn follows_agent(&self) -> bool {
        matches!(self.asked, RestartOwner::Auto)
    }

    pub(crate) const fn see(&mut self, agent: Agent) {
        self.agent = agent;
    }

    /// What is to be told if somebody else restarts from now on.
    pub(crate) fn judge(&mut self, now: Moment) -> Option<Note> {
        let restarter = match self.asked {
            RestartOwner::Shim | RestartOwner::Kubelet => return None,
            RestartOwner::Auto => self.agent.restarter(now),
        };
        if std::mem::replace(&mut self.restarter, restarter) == restarter {
            return None;
        }
        let message = match (restarter, self.agent.connected) {
            (Restarter::Agent, _) => "The node's agent is there: ended containers are left to it".to_owned(),
            (Restarter::Shim, false) => "The node's agent is not connected: ended containers are restarted in place".to_owned(),
            (Restarter::Shim, true) => {
                let silence = crate::columns::go_duration(RECENT);
                format!("The node's agent has asked nothing for {silence}: ended containers are restarted in place")
            }
        };
        Some(Note { kind: EventKind::Normal, reason: EventReason::RestartOwner, message, container: None })
    }

    /// When silence alone makes a difference.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match (self.asked, self.restarter) {
            (RestartOwner::Auto, Restarter::Agent) => self.agent.last_call.map(|last| last + RECENT),
            (RestartOwner::Auto | RestartOwner::Shim | RestartOwner::Kubelet, _) => None,
        }
    }
}

impl Agent {
    fn restarter(self, now: Moment) -> Restarter {
        let is_recent = self.last_call.is_some_and(|last| now < last + RECENT);
        if self.connected && is_recent { Restarter::Agent } else { Restarter::Shim }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(seconds))
    }

    fn agent(connected: bool, last_call: u64) -> Agent {
        Agent { connected, last_call: Some(at(last_call)) }
    }

    #[test]
    fn auto_follows_the_agent_and_tells_each_change_once() {
        let mut ownership = Ownership::new(RestartOwner::Auto, agent(true, 100), at(100));
        let mut told = Vec::new();
        for (second, seen) in [
            (101, None),
            (105, Some(agent(true, 105))),
            (164, None),
            (165, None),
            (166, None),
            (200, Some(agent(true, 200))),
            (201, Some(agent(false, 200))),
            (202, None),
            // Connected, but it has not asked anything since long ago.
            (290, Some(agent(true, 200))),
            (291, Some(agent(true, 291))),
        ] {
            if let Some(seen) = seen {
                ownership.see(seen);
            }
            if let Some(note) = ownership.judge(at(second)) {
                told.push((second, ownership.restarter(), note.message));
            }
        }
        assert_eq!(
            told.iter().map(|(second, restarter, _)| (*second, *restarter)).collect::<Vec<_>>(),
            [(165, Restarter::Shim), (200, Restarter::Agent), (201, Restarter::Shim), (291, Restarter::Agent)]
        );
        assert!(told[0].2.contains("asked nothing for 1m0s"), "{}", told[0].2);
        assert!(told[2].2.contains("not connected"), "{}", told[2].2);
    }

    #[test]
    fn only_the_silence_of_an_agent_that_restarts_has_a_deadline() {
        let mut auto = Ownership::new(RestartOwner::Auto, agent(true, 100), at(100));
        assert_eq!(auto.deadline(), Some(at(160)));
        assert!(auto.judge(at(160)).is_some(), "what the deadline is for is due at it");
        assert_eq!(auto.deadline(), None);
        for fixed in [RestartOwner::Shim, RestartOwner::Kubelet] {
            let mut ownership = Ownership::new(fixed, agent(true, 100), at(100));
            assert_eq!((ownership.deadline(), ownership.judge(at(500)).is_none()), (None, true), "{fixed:?}");
        }
    }

    #[test]
    fn an_agent_that_never_asked_is_none() {
        let silent = Ownership::new(RestartOwner::Auto, Agent { connected: true, last_call: None }, at(1));
        assert_eq!(silent.restarter(), Restarter::Shim);
        assert_eq!(Ownership::default().restarter(), Restarter::Shim, "without containerd nobody else restarts");
    }
}
