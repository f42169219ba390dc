//! `manifest.json`: the pod as applied, with the defaults that Kubernetes would fill in. `get -o yaml` shows it, and a second `apply` is
//! compared with it.

use hshim_health::admission::{AdmittedContainer, AdmittedPod};
use hshim_health::plan::{ProbeKind, ProbePlan};
use serde_json::{Map, Value, json};

/// The document with its defaults.
pub(crate) fn with_defaults(document: &Value, pod: &AdmittedPod) -> Value {
    let mut value = document.clone();
    remove_nulls(&mut value);
    if let Some(metadata) = object(&mut value, "metadata") {
        metadata.insert("namespace".to_owned(), json!(pod.namespace));
    }
    let Some(spec) = object(&mut value, "spec") else { return value };
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "terminationGracePeriodSeconds", json!(pod.termination_grace.as_secs()));
    let containers = spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten();
    for (value, container) in containers.zip(&pod.containers) {
        fill_container(value, container);
    }
    value
}

/// Adds what is the pod's own and no part of what was applied.
pub(crate) fn with_identity(mut manifest: Value, uid: &str, created: jiff::Timestamp) -> Value {
    if let Some(metadata) = object(&mut manifest, "metadata") {
        metadata.insert("uid".to_owned(), json!(uid));
        metadata.insert("creationTimestamp".to_owned(), json!(created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    }
    manifest
}

/// The manifest alone again.
pub(crate) fn without_identity(mut manifest: Value) -> Value {
    if let Some(metadata) = object(&mut manifest, "metadata") {
        metadata.remove("uid");
        metadata.remove("creationTimestamp");
    }
    manifest
}

fn fill_container(value: &mut Value, container: &AdmittedContainer) {
    let Some(fields) = value.as_object_mut() else { return };
    let is_latest = container.image.parse().is_ok_and(|image: super::image::reference::Reference| image.tag() == Some("latest"));
    default(fields, "imagePullPolicy", json!(if is_latest { "Always" } else { "IfNotPresent" }));
    for port in fields.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            default(port, "protocol", json!("TCP"));
        }
    }
    let probes = [
        (ProbeKind::Startup, &container.startup),
        (ProbeKind::Liveness, &container.liveness),
        (ProbeKind::Readiness, &container.readiness),
    ];
    for (kind, plan) in probes {
        let Some(plan) = plan else { continue };
        if let Some(probe) = fields.get_mut(&format!("{}Probe", kind.word())).and_then(Value::as_object_mut) {
            fill_probe(probe, plan);
        }
    }
}

/// A zero is a default, too.
fn fill_probe(probe: &mut Map<String, Value>, plan: &ProbePlan) {
    if plan.initial_delay.is_zero() {
        probe.remove("initialDelaySeconds");
    }
    probe.insert("timeoutSeconds".to_owned(), json!(plan.timeout.as_secs()));
    probe.insert("periodSeconds".to_owned(), json!(plan.period.as_secs()));
    probe.insert("successThreshold".to_owned(), json!(plan.success_threshold));
    probe.insert("failureThreshold".to_owned(), json!(plan.failure_threshold));
}

fn object<'v>(value: &'v mut Value, name: &str) -> Option<&'v mut Map<String, Value>> {
    value.get_mut(name)?.as_object_mut()
}

fn default(fields: &mut Map<String, Value>, name: &str, value: Value) {
    fields.entry(name).or_insert(value);
}

/// Takes out every field that is null, which Kubernetes and Go take for absent.
pub(in crate::operator) fn remove_nulls(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
        object.values_mut().for_each(remove_nulls);
    } else if let Some(list) = value.as_array_mut() {
        list.iter_mut().for_each(remove_nulls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(document: &Value) -> Value {
        let pod = hshim_health::pod::decode(document).and_then(hshim_health::admission::admit).unwrap();
        with_defaults(document, &pod)
    }

    #[test]
    fn a_default_that_is_written_out_is_no_difference() {
        let short = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"volumes": null, "containers": [
            {"name": "c", "image": "busybox", "livenessProbe": {"exec": {"command": ["true"]}}}]}});
        let long = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": {
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "containers": [
            {"name": "c", "image": "busybox", "imagePullPolicy": "Always", "livenessProbe": {"exec": {"command": ["true"]},
                "initialDelaySeconds": 0, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}}]}});
        assert_eq!(stored(&short), stored(&long));
        let other = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "busybox:1", "livenessProbe": {"exec": {"command": ["true"]}}}]}});
        assert_ne!(stored(&short), stored(&other));
    }

    #[test]
    fn the_identity_comes_off_again() {
        let manifest = json!({"metadata": {"name": "p"}});
        let whole = with_identity(manifest.clone(), "u", jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(whole["metadata"]["creationTimestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(without_identity(whole), manifest);
    }
}
