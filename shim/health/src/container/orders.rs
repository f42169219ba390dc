//! What a container asks of its surroundings in one step: actions to perform and notes for the record of events.

use crate::action::Action;
use crate::event::{EventKind, EventReason};
use crate::plan::ContainerPlan;
use crate::recorder::Note;

/// What a container asks of its surroundings in one step.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) actions: Vec<Action>,
    pub(crate) notes: Vec<Note>,
}

impl Orders {
    pub(super) fn note(&mut self, plan: &ContainerPlan, reason: EventReason, message: String) {
        self.notes.push(Note { kind: EventKind::Normal, reason, message, container: Some(plan.name.clone()) });
    }

    pub(super) fn warn(&mut self, plan: &ContainerPlan, reason: EventReason, message: String) {
        self.notes.push(Note { kind: EventKind::Warning, reason, message, container: Some(plan.name.clone()) });
    }
}
