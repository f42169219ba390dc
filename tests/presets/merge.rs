//! `preset merge`: what is added to a bundle, as the shim asks for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::node::Node;
use crate::written::HEALTH;

/// A bundle `web` of the node with this `config.json`.
fn bundle(node: &Node, config: &Value) -> String {
    let dir = node.scratch.join("web");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    dir.to_str().unwrap().to_owned()
}

fn config(annotations: &Value) -> Value {
    json!({"ociVersion": "1.0.2", "process": {"args": ["x"], "env": ["PATH=/bin"]}, "annotations": annotations})
}

#[test]
fn the_additions_are_one_document_and_with_write_the_bundle_has_them() {
    let node = Node::new();
    node.preset("10.yaml", HEALTH);
    let dir = bundle(&node, &config(&json!({"role": "frontend"})));
    let file = node.scratch.join("web/config.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let additions: Value = serde_json::from_str(&node.ok(&["preset", "merge", "--bundle", &dir])).unwrap();
    assert_eq!(additions["env"], json!(["FROM_PRESET=here"]));
    assert_eq!(additions["mounts"], json!([]));
    assert_eq!(additions["annotations"]["hshim.dev/supervision"], r#"{"periodMilliseconds":200}"#);
    let read = || serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(read(), config(&json!({"role": "frontend"})), "without --write nothing is written");
    node.ok(&["preset", "merge", "--write", "--bundle", &dir]);
    let written = read();
    assert_eq!(written["process"]["env"], json!(["PATH=/bin", "FROM_PRESET=here"]));
    assert_eq!(written["annotations"]["hshim.dev/terminationGracePeriodSeconds"], "1");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    node.ok(&["preset", "merge", "--write", "--bundle", &dir]);
    assert_eq!(read(), written, "merging twice changes nothing");
}

#[test]
fn pause_containers_others_labels_and_those_that_wish_so_are_left_alone() {
    let node = Node::new();
    node.preset("10.yaml", HEALTH);
    let nothing = json!({"annotations": {}, "env": [], "mounts": []});
    for annotations in [
        json!({"role": "frontend", "io.kubernetes.cri.container-type": "sandbox"}),
        json!({"role": "frontend", "podpreset.admission.kubernetes.io/exclude": "true"}),
        json!({"role": "frontend", "hshim.dev/excludePresets": "true"}),
        json!({"role": "backend"}),
        json!({}),
    ] {
        let dir = bundle(&node, &config(&annotations));
        let printed: Value = serde_json::from_str(&node.ok(&["preset", "merge", "--bundle", &dir])).unwrap();
        assert_eq!(printed, nothing, "{annotations}");
    }
}

#[test]
fn a_volume_that_a_bundle_cannot_have_or_the_node_has_not_is_refused_by_name() {
    let node = Node::new();
    let preset = |source: &str| {
        format!(
            "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata:\n  name: data\nspec:\n  volumeMounts:\n  - {{name: v, mountPath: /data}}\n  volumes:\n  - name: v\n    {source}\n"
        )
    };
    let dir = bundle(&node, &config(&json!({})));
    node.preset("10.yaml", &preset("emptyDir: {}"));
    let said = node.refused(&["preset", "merge", "--bundle", &dir]);
    let expected =
        "hshim: presets.d/10.yaml:9: spec.volumes[0]: not supported by hshim: \"v\": a bundle can be given hostPath volumes only";
    assert!(said.starts_with(expected), "{said}");
    node.preset("10.yaml", &preset("hostPath: {path: /nowhere, type: Directory}"));
    let said = node.refused(&["preset", "merge", "--bundle", &dir]);
    assert!(said.contains("presets.d/10.yaml:10: spec.volumes[0].hostPath.type: Invalid value: \"Directory\""), "{said}");
    let made = node.scratch.join("made");
    node.preset("10.yaml", &preset(&format!("hostPath: {{path: {}, type: DirectoryOrCreate}}", made.display())));
    node.ok(&["preset", "merge", "--bundle", &dir]);
    assert!(!made.exists(), "looking makes nothing");
    node.ok(&["preset", "merge", "--write", "--bundle", &dir]);
    assert!(made.is_dir());
}
