//! Updates of a container's limits, one after the other: each is handed to the runtime and remembered for the lives to come.

use std::sync::Arc;

use super::error::TaskError;
use super::messages::UpdateTaskRequest;
use super::owner::{Answer, Effect, ONLY, Owner, Process, Task, answer, tell};

impl Owner {
    pub(super) fn update(&mut self, request: UpdateTaskRequest, to: Answer) {
        if self.updates_must_wait() {
            return self.updates.push_back((request, to));
        }
        if self.finished.is_some() {
            let message = format!("cannot update container {} that is stopped", self.task.id);
            return answer(to, Err(TaskError::FailedPrecondition(message)));
        }
        let Some(resources) = &request.resources else { return answer(to, Ok(Vec::new())) };
        let update: serde_json::Value = match serde_json::from_slice(&resources.value) {
            Ok(update @ serde_json::Value::Object(_)) => update,
            Ok(_) => return answer(to, Err(TaskError::InvalidArgument("resources: must be an object".to_owned()))),
            Err(error) => return answer(to, Err(TaskError::InvalidArgument(format!("resources: {error}")))),
        };
        if !matches!(self.process, Process::Created(_) | Process::Running(_)) {
            return self.remember_update(Ok(update), to);
        }
        self.is_updating = true;
        let (task, report) = (Arc::clone(&self.task), self.report.clone());
        tokio::spawn(async move {
            let applied = apply(&task, &update).await;
            tell(&report, Effect::Updated(applied.map(|()| update), to));
        });
    }

    /// What was asked for before is still under way to the runtime: a later update must not be overtaken by it.
    fn updates_must_wait(&self) -> bool {
        self.is_updating || matches!(self.process, Process::Starting(_))
    }

    /// What they waited for may have come to its end.
    pub(super) fn update_at_last(&mut self) {
        while !self.updates_must_wait()
            && let Some((request, to)) = self.updates.pop_front()
        {
            self.update(request, to);
        }
    }

    pub(super) fn on_updated(&mut self, result: Result<serde_json::Value, TaskError>, to: Answer) {
        self.is_updating = false;
        self.remember_update(result, to);
        self.update_at_last();
    }

    fn remember_update(&mut self, result: Result<serde_json::Value, TaskError>, to: Answer) {
        let remembered = result.map(|update| {
            merge(self.resources.get_or_insert_default(), &update);
            Vec::new()
        });
        answer(to, remembered);
    }
}

/// Takes the fields of `update` over into `remembered`, objects field by field.
fn merge(remembered: &mut serde_json::Value, update: &serde_json::Value) {
    match (remembered, update) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (key, value) in from.iter().filter(|(_, value)| !value.is_null()) {
                merge(into.entry(key.clone()).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// `update` of the runtime.
pub(super) async fn apply(task: &Task, resources: &serde_json::Value) -> Result<(), TaskError> {
    let Some((plan, launch)) = task.pod.container(ONLY) else { return Ok(()) };
    let files = task.pod.files(plan);
    let file = files.join("resources.json");
    std::fs::write(&file, resources.to_string())
        .map_err(|error| TaskError::Failed(format!("write {}: {error}", file.display())))?;
    Ok(task.pod.runtime.update(&launch.id, &file, &files).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn later_resources_win_field_by_field() {
        let mut remembered = serde_json::Value::Null;
        merge(&mut remembered, &json!({"cpu": {"shares": 2, "quota": 3}, "memory": {"limit": 1}}));
        merge(&mut remembered, &json!({"cpu": {"shares": 5, "quota": null}, "unified": {"a": "b"}}));
        assert_eq!(remembered, json!({"cpu": {"shares": 5, "quota": 3}, "memory": {"limit": 1}, "unified": {"a": "b"}}));
    }
}
