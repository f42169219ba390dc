//! Presets and manifests: `check`, `preset test`, `apply`.

use std::process::Command;

use hshim_tests::image::Image;
use hshim_tests::{programs, skip, wait};

use crate::node::{Node, WEBSITE};
use crate::written::HEALTH;

const HEALTH_OF_PODS: &str = "apiVersion: hshim.dev/v1alpha1
kind: PodPreset
metadata:
  name: health
spec:
  selector:
    matchExpressions:
    - {key: role, operator: In, values: [frontend, backend]}
  livenessProbe:
    exec:
      command: [test, -e, /tmp/ok]
    periodSeconds: 1
    failureThreshold: 1
    timeoutSeconds: 5
  terminationGracePeriodSeconds: 1
";

fn database() -> String {
    std::fs::read_to_string(programs::source_file("fixtures/examples/preset.yaml")).unwrap()
}

#[test]
fn the_merged_manifest_is_printed_with_the_origin_of_each_field() {
    let node = Node::new();
    let pod = node.file("pod.yaml", WEBSITE);
    node.preset("10-health.yaml", HEALTH_OF_PODS);
    node.preset("20-database.yaml", &database());
    let printed = node.ok(&["preset", "test", "-f", &pod]);
    let merged = node.file("merged.yaml", &printed);
    // What is printed is a manifest; merging again changes nothing.
    assert_eq!(node.ok(&["check", "-f", &merged]), "pod/website is valid\n");
    let again = node.ok(&["preset", "test", "-f", &merged]);
    let manifest = |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(manifest(&again), manifest(&printed));
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let origins: Vec<String> = printed.lines().filter(|line| line.starts_with('#')).map(squeezed).collect();
    let dir = node.presets().display().to_string();
    let expected = [
        "# FIELD SOURCE PLACE".to_owned(),
        format!("# spec.containers[0].livenessProbe preset health {dir}/10-health.yaml:9: spec.livenessProbe"),
        format!("# spec.terminationGracePeriodSeconds preset health {dir}/10-health.yaml:15: spec.terminationGracePeriodSeconds"),
        format!("# spec.volumes[0] preset allow-database {dir}/20-database.yaml:16: spec.volumes[0]"),
        format!("# spec.containers[0].env[0] preset allow-database {dir}/20-database.yaml:10: spec.env[0]"),
        format!("# spec.containers[0].volumeMounts[0] preset allow-database {dir}/20-database.yaml:13: spec.volumeMounts[0]"),
    ];
    assert_eq!(origins, expected);
}

#[test]
fn a_conflict_names_both_sides_and_no_value() {
    let node = Node::new();
    let own = WEBSITE.to_owned() + "    env:\n    - name: DB_PORT\n      value: secret-of-pod\n";
    let pod = node.file("pod.yaml", &own);
    node.preset("20-database.yaml", &database());
    let expected = "hshim: pod.yaml: conflict over the environment variable DB_PORT of container website: \
                    preset allow-database (presets.d/20-database.yaml:10: spec.env[0]) and the pod itself \
                    (pod.yaml:13: spec.containers[0].env[0]) say different things\n";
    for verb in [vec!["check"], vec!["apply"], vec!["preset", "test"]] {
        assert_eq!(node.refused(&[verb, vec!["-f", &pod]].concat()), expected);
    }
    node.preset("10-other.yaml", &database().replace("allow-database", "other").replace("6379", "5432"));
    let pod = node.file("pod.yaml", WEBSITE);
    let said = node.refused(&["check", "-f", &pod]);
    assert!(said.contains("preset allow-database (presets.d/20-database.yaml:10: spec.env[0]) and preset other (presets.d/10-other.yaml:10: spec.env[0])"), "{said}");
    assert!(!said.contains("6379") && !said.contains("5432"), "{said}");
}

#[test]
fn what_apply_refuses_is_refused_from_a_preset_by_its_path_and_name() {
    let node = Node::new();
    let pod = node.file("pod.yaml", WEBSITE);
    let references = database().replace("value: \"6379\"", "valueFrom: {fieldRef: {fieldPath: metadata.name}}")
        + "  envFrom:\n  - configMapRef: {name: etcd-env-config}\n";
    node.preset("10.yaml", &references);
    let said = node.refused(&["apply", "-f", &pod]);
    let expected = "hshim: 2 faults:
presets.d/10.yaml:11: spec.env[0].valueFrom: not supported by hshim: remove it (preset allow-database, for pod.yaml)
presets.d/10.yaml:18: spec.envFrom: not supported by hshim: remove it (preset allow-database, for pod.yaml)
";
    assert_eq!(said, expected);
    // A pod that it is not for is not held up by it.
    let other = node.file("other.yaml", &WEBSITE.replace("role: frontend", "role: backend"));
    assert_eq!(node.ok(&["check", "-f", &other]), "pod/website is valid\n");
}

#[test]
fn a_rule_that_the_merged_pod_breaks_is_told_where_the_preset_stands() {
    let node = Node::new();
    let own = WEBSITE.to_owned()
        + "    volumeMounts:\n    - {name: mine, mountPath: /cache/}\n  volumes:\n  - {name: mine, emptyDir: {}}\n";
    let pod = node.file("pod.yaml", &own.replace("/cache/}", "/data}"));
    node.preset("10.yaml", &database().replace("mountPath: /cache", "mountPath: data"));
    let said = node.refused(&["check", "-f", &pod]);
    assert!(said.starts_with("hshim: presets.d/10.yaml:1"), "{said}");
}

#[test]
fn presets_alone_can_be_checked() {
    let node = Node::new();
    let good = node.file("good.yaml", &database());
    assert_eq!(node.ok(&["check", "--preset", &good]), "podpreset/allow-database is valid\n");
    let bad = node.file("bad.yaml", &database().replace("matchLabels", "matchLabel"));
    let said = node.refused(&["check", "--preset", &bad]);
    assert_eq!(said, "hshim: bad.yaml:7: spec.selector.matchLabel: unknown field: did you mean \"matchLabels\"?\n");
    let nothing: Command = node.command(&["check"]);
    let mut nothing = nothing;
    assert_eq!(nothing.output().unwrap().status.code(), Some(2));
}

#[test]
fn a_pod_that_never_heard_of_hshim_is_probed_and_restarted_by_a_preset() {
    if let Some(why) = skip::why_no_containers() {
        hshim_tests::skip!("{why}");
    }
    let node = Node::new();
    Image::busybox("busybox:latest").write_docker_archive(&node.scratch.join("image.tar"));
    node.ok(&["image", "load", "-i", "image.tar"]);
    node.preset("10-health.yaml", HEALTH);
    let database = node.file("database.yaml", &database());
    let pod = node.file("pod.yaml", WEBSITE);
    let apply = ["apply", "-f", &pod, "--preset", &database];
    assert_eq!(node.ok(&apply), "pod/website created\n");
    assert_eq!(node.ok(&apply), "pod/website unchanged\n");
    let container = || node.record("website", "status.json").map(|status| status["status"]["containers"][0].clone());
    let pid = wait::for_value("it runs", || container()?["state"]["running"]["pid"].as_i64());
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.split('\0').any(|entry| entry == "DB_PORT=6379"), "{environment}");
    assert!(std::path::Path::new(&format!("/proc/{pid}/root/cache")).is_dir(), "the volume is mounted");
    let plan = node.record("website", "supervision.json").unwrap()["plan"]["containers"][0].clone();
    assert_eq!(
        (&plan["backoff"]["initial"]["nanos"], &plan["liveness"]["period"]["nanos"]),
        (&50_000_000.into(), &200_000_000.into())
    );
    let shown = node.ok(&["get", "pod/website", "-o", "yaml"]);
    assert!(
        shown.contains("podpreset.admission.kubernetes.io/podpreset-health: ") && shown.contains("livenessProbe:"),
        "{shown}"
    );
    wait::until("it has made itself healthy", || std::fs::remove_file(format!("/proc/{pid}/root/tmp/ok")).is_ok());
    wait::until("it was restarted", || container().is_some_and(|container| container["restartCount"] == 1));
    node.ok(&["delete", "pod/website", "--grace-period", "0"]);
}
