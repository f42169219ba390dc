//! Pods and events as objects of Kubernetes' core/v1 API, for `-o json` and `-o yaml`.

use anyhow::Context;
use hshim_health::record::EventLine;
use hshim_health::status::{Condition, ContainerState, ContainerStatus, PodStatus, Termination};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::pod_view::PodView;
use crate::supervised_bundle::UNSUPERVISED;

/// A pod. What the user wrote is in `metadata` and `spec`; `status` is the shim's.
pub(crate) fn pod(pod: &PodView) -> anyhow::Result<Value> {
    let plan = &pod.supervision.plan;
    let mut manifest = pod.manifest()?;
    let metadata = manifest.get_mut("metadata").map(Value::take).unwrap_or_default();
    let mut metadata = if let Value::Object(metadata) = metadata { metadata } else { Map::new() };
    metadata.insert("name".to_owned(), json!(plan.name));
    metadata.insert("namespace".to_owned(), json!(plan.namespace));
    metadata.insert("uid".to_owned(), json!(plan.uid));
    metadata.insert("creationTimestamp".to_owned(), json!(second(pod.made_at)));
    if let Some(asked) = pod.status.as_ref().and_then(|status| status.stop_requested_at) {
        metadata.insert("deletionTimestamp".to_owned(), json!(second(asked)));
    }
    let spec = manifest.get_mut("spec").map(Value::take).unwrap_or_default();
    Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status(pod)}))
}

/// Several objects as one document.
pub(crate) fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

/// An event about something in a pod.
pub(crate) fn event(pod: &PodView, event: &EventLine) -> Value {
    let plan = &pod.supervision.plan;
    let mut about = json!({"apiVersion": "v1", "kind": "Pod", "name": plan.name, "namespace": plan.namespace, "uid": plan.uid});
    if let (Some(container), Some(about)) = (&event.container, about.as_object_mut()) {
        about.insert("fieldPath".to_owned(), json!(format!("spec.containers{{{container}}}")));
    }
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{}.{:x}", plan.name, event.id), "namespace": plan.namespace},
        "involvedObject": about, "type": event.kind, "reason": event.reason, "message": event.message, "count": event.count,
        "firstTimestamp": second(event.first), "lastTimestamp": second(event.last), "source": {"component": "hshim"},
    })
}

/// As YAML.
pub(crate) fn yaml(value: &Value) -> anyhow::Result<String> {
    serde_saphyr::to_string(value).context("write YAML")
}

/// As JSON on several lines.
pub(crate) fn pretty(value: &Value) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(value).context("write JSON")?;
    Ok(format!("{text}\n"))
}

fn status(pod: &PodView) -> Value {
    let mut shown = Map::new();
    match &pod.status {
        Some(status) => fill(&mut shown, pod, status),
        None => drop(shown.insert("phase".to_owned(), json!("Pending"))),
    }
    if !pod.is_supervised() {
        shown.insert("reason".to_owned(), json!(UNSUPERVISED));
        shown.insert("message".to_owned(), json!("the shim of this pod is gone: nobody watches its health or restarts it"));
    }
    Value::Object(shown)
}

fn fill(shown: &mut Map<String, Value>, pod: &PodView, status: &PodStatus<Timestamp>) {
    shown.insert("phase".to_owned(), json!(status.phase));
    shown.insert("conditions".to_owned(), status.conditions.iter().map(condition).collect());
    shown.insert("startTime".to_owned(), json!(second(status.started_at)));
    let containers = status.containers.iter().map(|container| container_status(pod, container));
    shown.insert("containerStatuses".to_owned(), containers.collect());
}

fn condition(condition: &Condition<Timestamp>) -> Value {
    let mut shown = json!({
        "type": condition.kind,
        "status": if condition.status { "True" } else { "False" },
        "lastProbeTime": null,
        "lastTransitionTime": second(condition.last_transition),
    });
    put(&mut shown, "reason", condition.reason.as_deref());
    put(&mut shown, "message", condition.message.as_deref());
    shown
}

fn container_status(pod: &PodView, container: &ContainerStatus<Timestamp>) -> Value {
    let id = pod.launch(&container.name).map(|launch| format!("hshim://{}", launch.id));
    let last = container.last_termination.as_ref().map(|ended| json!({"terminated": terminated(ended)}));
    json!({
        "name": container.name, "image": container.image, "imageID": "", "containerID": id, "ready": container.ready,
        "started": container.started, "restartCount": container.restart_count, "state": state(&container.state),
        "lastState": last.unwrap_or_else(|| json!({})),
    })
}

fn state(state: &ContainerState<Timestamp>) -> Value {
    match state {
        ContainerState::Waiting { reason, message, until: _ } => {
            let mut waiting = json!({"reason": reason});
            put(&mut waiting, "message", message.as_deref());
            json!({"waiting": waiting})
        }
        ContainerState::Running { started_at, .. } => json!({"running": {"startedAt": second(*started_at)}}),
        ContainerState::Terminated(ended) => json!({"terminated": terminated(ended)}),
    }
}

fn terminated(ended: &Termination<Timestamp>) -> Value {
    let mut shown = json!({
        "reason": ended.reason, "exitCode": ended.exit.code,
        "startedAt": second(ended.started_at), "finishedAt": second(ended.finished_at),
    });
    if let (Some(signal), Some(shown)) = (ended.exit.signal, shown.as_object_mut()) {
        shown.insert("signal".to_owned(), json!(signal));
    }
    put(&mut shown, "message", ended.message.as_deref());
    shown
}

fn put(object: &mut Value, key: &str, value: Option<&str>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(key.to_owned(), json!(value));
    }
}

/// The API's times have whole seconds.
fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
