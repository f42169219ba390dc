//! Manifests and annotations: what is refused, with which words, and what the accepted ones mean.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::time::Duration;

use hshim_health::admission::{AdmittedPod, HostPathKind, VolumeSource, admit};
use hshim_health::annotation;
use hshim_health::faults::Faults;
use hshim_health::plan::{BackoffPlan, Origin, PodPlan, ProbeHandler, RestartPolicy};
use hshim_health::pod::decode;
use hshim_health::restart_owner::RestartOwner;
use serde_json::{Value, json};

/// A manifest with nothing wrong.
fn good() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "busybox", "livenessProbe": {"exec": {"command": ["true"]}}}]},
    })
}

/// `good` with a value put in at a JSON pointer; its parents must be there.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = good();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[key] = value;
    document
}

fn read(document: &Value) -> Result<AdmittedPod, Faults> {
    decode(document).and_then(admit)
}

fn faults(document: &Value) -> String {
    read(document).map(|_| String::new()).unwrap_or_else(|faults| faults.to_string())
}

const CONTAINER: &str = "/spec/containers/0";
const PROBE: &str = "/spec/containers/0/livenessProbe";

#[test]
fn the_good_manifest_is_good() {
    assert_eq!(faults(&good()), "");
}

#[test]
fn each_fault_is_named_with_its_path_and_what_would_be_right() {
    let rows = [
        ("/kind", json!("Job"), "kind: not supported by hshim: v1 Job: apply takes manifests of apiVersion v1, kind Pod"),
        ("/spc", json!({}), "spc: unknown field: did you mean \"spec\"?"),
        (
            "/metadata/name",
            json!("Upper"),
            "metadata.name: Invalid value: \"Upper\": a lowercase RFC 1123 subdomain must consist",
        ),
        ("/metadata/name", json!(7), "metadata.name: Invalid value: 7: must be a string (put it in quotes)"),
        (
            "/metadata/namespace",
            json!("a_b"),
            "metadata.namespace: Invalid value: \"a_b\": a lowercase RFC 1123 label must consist",
        ),
        ("/metadata/annotations", json!([]), "metadata.annotations: Invalid value: must be an object, not a list"),
        ("/spec/containers", json!([]), "spec.containers: Required value"),
        ("/spec/restartPolicy", json!("Sometimes"), "supported values: \"Always\", \"OnFailure\", \"Never\""),
        ("/spec/initContainers", json!([]), "spec.initContainers: not supported by hshim: remove it"),
        ("/spec/terminationGracePeriodSeconds", json!(-1), "must be greater than or equal to 0"),
        ("/spec/hostname", json!("-x"), "spec.hostname: Invalid value: \"-x\""),
        ("/spec/volumes", json!([{"name": "v"}]), "spec.volumes[0]: Required value: must specify a volume type"),
        ("/spec/volumes", json!([{"name": "v", "secret": {}}]), "spec.volumes[0].secret: not supported by hshim"),
        ("/spec/volumes", json!([{"name": "v", "hostPath": {"path": "x"}}]), "\"x\": must be an absolute path"),
        ("/spec/volumes", json!([{"name": "v", "hostPath": {"path": "/a/../b"}}]), "must not contain '..'"),
        (
            "/spec/volumes",
            json!([{"name": "v", "hostPath": {"path": "/x", "type": "Dir"}}]),
            "hostPath.type: Unsupported value: \"Dir\"",
        ),
        ("/spec/volumes", json!([{"name": "v", "emptyDir": {"medium": "HugePages"}}]), "emptyDir.medium: Unsupported value"),
    ];
    for (pointer, value, expected) in rows {
        let text = faults(&with(pointer, value.clone()));
        assert!(text.contains(expected), "{pointer} = {value}: {text}");
    }
}

#[test]
fn each_fault_of_a_container_is_named() {
    let rows = [
        ("name", json!(""), "spec.containers[0].name: Required value"),
        ("name", json!("a.b"), "spec.containers[0].name: Invalid value: \"a.b\""),
        ("image", Value::Null, "spec.containers[0].image: Required value"),
        ("image", json!(" busybox"), "must not have leading or trailing whitespace"),
        ("imagePullPolicy", json!("Maybe"), "supported values: \"Always\", \"IfNotPresent\", \"Never\""),
        ("command", json!("sleep"), "spec.containers[0].command: Invalid value: \"sleep\": must be a list, not a string"),
        ("livenesProbe", json!({}), "unknown field: did you mean \"livenessProbe\"?"),
        ("lifecycle", json!({}), "spec.containers[0].lifecycle: not supported by hshim: remove it"),
        ("env", json!([{"name": "A=B"}]), "spec.containers[0].env[0].name: Invalid value: \"A=B\""),
        ("env", json!([{"name": "A", "value": 1}]), "spec.containers[0].env[0].value: Invalid value: 1: must be a string"),
        ("env", json!([{"name": "A", "valueFrom": {}}]), "spec.containers[0].env[0].valueFrom: not supported by hshim"),
        ("ports", json!([{}]), "spec.containers[0].ports[0].containerPort: Required value"),
        ("ports", json!([{"containerPort": 70000}]), "must be between 1 and 65535, inclusive"),
        ("ports", json!([{"containerPort": 1, "protocol": "ICMP"}]), "supported values: \"SCTP\", \"TCP\", \"UDP\""),
        ("ports", json!([{"containerPort": 1, "name": "80"}]), "must contain at least one letter (a-z)"),
        ("volumeMounts", json!([{"name": "v", "mountPath": "/x"}]), "spec.containers[0].volumeMounts[0].name: Not found: \"v\""),
        ("volumeMounts", json!([{"name": "v"}]), "spec.containers[0].volumeMounts[0].mountPath: Required value"),
    ];
    for (field, value, expected) in rows {
        let text = faults(&with(&format!("{CONTAINER}/{field}"), value.clone()));
        assert!(text.contains(expected), "{field} = {value}: {text}");
    }
}

#[test]
fn each_fault_of_a_probe_is_named() {
    let rows = [
        ("exec", Value::Null, "livenessProbe: Required value: must specify a handler type"),
        ("exec", json!({"command": []}), "livenessProbe.exec.command: Required value"),
        ("httpGet", json!({"port": 80}), "livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type"),
        (
            "initialDelaySeconds",
            json!(-5),
            "livenessProbe.initialDelaySeconds: Invalid value: -5: must be greater than or equal to 0",
        ),
        ("periodSeconds", json!("5"), "livenessProbe.periodSeconds: Invalid value: \"5\": must be a whole number, not a string"),
        ("timeoutSeconds", json!(1.5), "livenessProbe.timeoutSeconds: Invalid value: 1.5: must be a whole number between"),
        ("failureThreshold", json!(3_000_000_000_u32), "livenessProbe.failureThreshold: Invalid value: 3000000000"),
        ("successThreshold", json!(2), "livenessProbe.successThreshold: Invalid value: 2: must be 1"),
        ("terminationGracePeriodSeconds", json!(0), "must be greater than 0"),
    ];
    for (field, value, expected) in rows {
        let text = faults(&with(&format!("{PROBE}/{field}"), value.clone()));
        assert!(text.contains(expected), "{field} = {value}: {text}");
    }
    let readiness = json!({"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": 5});
    let text = faults(&with(&format!("{CONTAINER}/readinessProbe"), readiness));
    assert!(text.contains("must not be set for readinessProbes"), "{text}");
    let text = faults(&with(PROBE, json!({"tcpSocket": {"port": 80}})));
    assert!(text.contains("livenessProbe.tcpSocket: not supported by hshim: use an exec probe"), "{text}");
}

#[test]
fn all_faults_are_told_at_once() {
    let document = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "P"},
        "spec": {"restartPolicy": "x", "containers": [{"name": "c"}, {"name": "c", "image": "i", "livenessProbe": {}}]},
    });
    let text = faults(&document);
    let paths =
        ["metadata.name", "spec.restartPolicy", "containers[0].image", "containers[1].name", "containers[1].livenessProbe"];
    for path in paths {
        assert!(text.contains(path), "{path} in\n{text}");
    }
    assert_eq!(text.lines().count(), paths.len(), "{text}");
}

#[test]
fn what_is_not_written_is_kubernetes_default() {
    let pod = read(&good()).unwrap();
    assert_eq!((pod.namespace.as_str(), pod.hostname.as_str(), pod.host_network), ("default", "p", false));
    assert_eq!((pod.restart_policy, pod.termination_grace), (RestartPolicy::Always, Duration::from_secs(30)));
    let probe = pod.containers[0].liveness.clone().unwrap();
    let times = [probe.initial_delay, probe.timeout, probe.period].map(|time| time.as_secs());
    assert_eq!((times, probe.success_threshold, probe.failure_threshold), ([0, 1, 10], 1, 3));
    assert_eq!(probe.termination_grace, None);
}

#[test]
fn zeroes_of_a_probe_are_its_defaults() {
    let zeroes = json!({
        "exec": {"command": ["true"]}, "initialDelaySeconds": 0, "timeoutSeconds": 0, "periodSeconds": 0,
        "successThreshold": 0, "failureThreshold": 0,
    });
    assert_eq!(read(&with(PROBE, zeroes)), read(&good()));
}

#[test]
fn variables_are_expanded_from_those_defined_before() {
    let mut document = with(
        &format!("{CONTAINER}/env"),
        json!([
            {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(C)-$$(A)"}, {"name": "C", "value": "3"},
        ]),
    );
    let container = document.pointer_mut(CONTAINER).unwrap();
    container["command"] = json!(["echo", "$(B)", "$(NONE)"]);
    container["livenessProbe"]["exec"]["command"] = json!(["test", "$(C)"]);
    let pod = read(&document).unwrap();
    assert_eq!(pod.containers[0].command, ["echo", "1-$(C)-$(A)", "$(NONE)"]);
    let ProbeHandler::Exec { command } = &pod.containers[0].liveness.as_ref().unwrap().handler;
    assert_eq!(command, &["test", "3"]);
}

#[test]
fn a_container_s_own_policy_wins_and_volumes_are_read() {
    let mut document = with("/spec/restartPolicy", json!("Never"));
    document["spec"]["volumes"] = json!([
        {"name": "m", "emptyDir": {"medium": "Memory"}}, {"name": "h", "hostPath": {"path": "/x", "type": "DirectoryOrCreate"}},
    ]);
    let second =
        json!({"name": "d", "image": "i", "restartPolicy": "OnFailure", "volumeMounts": [{"name": "h", "mountPath": "/h"}]});
    document["spec"]["containers"] = json!([document["spec"]["containers"][0], second]);
    let pod = read(&document).unwrap();
    assert_eq!(
        pod.containers.iter().map(|container| container.restart_policy).collect::<Vec<_>>(),
        [RestartPolicy::Never, RestartPolicy::OnFailure]
    );
    assert_eq!(pod.volumes[0].source, VolumeSource::EmptyDir { memory: true });
    assert_eq!(pod.volumes[1].source, VolumeSource::HostPath { path: "/x".into(), kind: HostPathKind::DirectoryOrCreate });
    assert_eq!(pod.plan("u").containers[1].backoff, BackoffPlan::KUBERNETES);
}

fn annotated(pairs: &[(&str, &str)]) -> Result<Option<PodPlan>, Faults> {
    let annotations: BTreeMap<_, _> = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    annotation::plan("web", &annotations)
}

const PROBE_TEXT: &str = r#"{"exec": {"command": ["true"]}, "periodSeconds": 2}"#;

#[test]
fn annotations_of_others_ask_for_nothing() {
    let foreign =
        [("io.kubernetes.cri.container-type", "container"), ("db.hshim.dev/livenessProbe", PROBE_TEXT), ("hshim.dev/phase", "x")];
    assert_eq!(annotated(&foreign), Ok(None));
}

#[test]
fn annotations_make_a_plan_for_a_bundle() {
    let plan = annotated(&[
        ("hshim.dev/livenessProbe", PROBE_TEXT),
        ("web.hshim.dev/readinessProbe", PROBE_TEXT),
        ("hshim.dev/terminationGracePeriodSeconds", "3"),
        ("hshim.dev/backoff", r#"{"initialMilliseconds": 100, "capMilliseconds": 2000}"#),
        ("hshim.dev/supervision", r#"{"periodMilliseconds": 250, "errorsCountAsFailures": true}"#),
    ]);
    let plan = plan.unwrap().unwrap();
    assert_eq!((plan.origin, plan.termination_grace), (Origin::Bundle, Duration::from_secs(3)));
    let container = &plan.containers[0];
    assert_eq!((container.name.as_str(), container.restart_policy), ("web", RestartPolicy::AfterProbeKill));
    let period = |probe: &Option<hshim_health::plan::ProbePlan>| probe.as_ref().unwrap().period.as_millis();
    assert_eq!((period(&container.liveness), period(&container.readiness)), (250, 250));
    assert!(container.startup.is_none() && container.errors_count_as_failures);
    let milliseconds =
        [container.backoff.initial, container.backoff.cap, container.backoff.reset_after].map(|time| time.as_millis());
    assert_eq!(milliseconds, [100, 2000, 600_000]);
}

#[test]
fn a_restart_policy_is_written_bare_or_as_json() {
    for word in ["OnFailure", "\"OnFailure\""] {
        let plan = annotated(&[("hshim.dev/restartPolicy", word)]).unwrap().unwrap();
        assert_eq!(plan.containers[0].restart_policy, RestartPolicy::OnFailure);
    }
}

fn task(supervision: &str) -> Result<annotation::Task, String> {
    let annotations = BTreeMap::from([("web.hshim.dev/supervision".to_owned(), supervision.to_owned())]);
    annotation::task("web", &annotations).map(Option::unwrap).map_err(|faults| faults.to_string())
}

#[test]
fn under_containerd_restarts_are_quick_and_bounded_and_may_be_left_to_the_kubelet() {
    let plain = task("{}").unwrap();
    assert_eq!((plain.restart_owner, plain.status_file), (RestartOwner::Shim, None));
    assert_eq!(plain.plan.containers[0].backoff, BackoffPlan::CONTAINERD);
    let all = r#"{"restartOwner":"auto","statusFile":"/run/ready","restartBudget":{"restarts":1,"withinMilliseconds":2000}}"#;
    let all = task(all).unwrap();
    assert_eq!((all.restart_owner, all.status_file.as_deref()), (RestartOwner::Auto, Some("/run/ready")));
    let budget = all.plan.containers[0].backoff.budget.unwrap();
    assert_eq!((budget.restarts, budget.within), (1, Duration::from_secs(2)));
    for (wrong, message) in [
        (r#"{"restartOwner":"me"}"#, "restartOwner: Invalid value: \"me\": must be shim, kubelet or auto"),
        (r#"{"statusFile":"../etc/passwd"}"#, "statusFile: Invalid value"),
        (r#"{"restartBudget":{"restarts":-1,"withinMilliseconds":1}}"#, "restarts: Invalid value: -1"),
    ] {
        let error = task(wrong).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn each_fault_of_an_annotation_is_named() {
    let rows = [
        (
            "hshim.dev/livenesProbe",
            "{}",
            "annotations[\"hshim.dev/livenesProbe\"]: unknown field: known are hshim.dev/{livenessProbe,",
        ),
        ("hshim.dev/livenessProbe", "exec", "annotations[\"hshim.dev/livenessProbe\"]: Invalid value: must be JSON"),
        ("hshim.dev/livenessProbe", "{}", "must specify a handler type"),
        ("hshim.dev/livenessProbe", r#"{"exec": {"comand": ["x"]}}"#, "exec.comand: unknown field: did you mean \"command\"?"),
        ("hshim.dev/restartPolicy", "Sometimes", "Unsupported value: \"Sometimes\""),
        ("hshim.dev/terminationGracePeriodSeconds", "-1", "must be a whole number of seconds, 0 or more"),
        ("hshim.dev/backoff", r#"{"initialMilliseconds": 0}"#, "initialMilliseconds: Invalid value: 0: must be greater than 0"),
        (
            "hshim.dev/backoff",
            r#"{"capMilliseconds": 5}"#,
            "capMilliseconds: Invalid value: 5: must not be less than initialMilliseconds",
        ),
        ("hshim.dev/supervision", r#"{"restartBudget": 3}"#, "restartBudget: Invalid value: 3: must be an object"),
        ("hshim.dev/supervision", r#"{"restartBudget": {"restarts": 1}}"#, "withinMilliseconds: Required value"),
        ("hshim.dev/supervision", r#"{"restartOwner": "shim"}"#, "restartOwner: not supported by hshim"),
        ("hshim.dev/supervision", r#"{"statusFile": "/ready"}"#, "statusFile: not supported by hshim"),
    ];
    for (key, value, expected) in rows {
        let text = annotated(&[(key, value)]).unwrap_err().to_string();
        assert!(text.contains(expected), "{key} = {value}: {text}");
    }
}
