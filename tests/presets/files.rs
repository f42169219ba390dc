//! Files of presets: what is read, in which order, and what is refused with its place.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use crate::node::{Node, WEBSITE};
use crate::written::HEALTH;

fn env(name: &str, variable: &str, value: &str) -> String {
    format!(
        "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata:\n  name: {name}\nspec:\n  env:\n  - name: {variable}\n    value: {value:?}\n"
    )
}

#[test]
fn files_are_read_in_the_order_of_their_names_and_those_of_the_command_line_come_last() {
    let node = Node::new();
    let pod = node.file("pod.yaml", WEBSITE);
    node.preset("20.yaml", &env("b", "B", "2"));
    node.preset("10.yml", &format!("{}---\n{}", env("a", "A", "1"), env("a2", "A2", "1")));
    node.preset("15.json", r#"{"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": "j"}, "spec": {"env": [{"name": "J"}]}}"#);
    for not_read in [".hidden.yaml", "10.yaml~", "README"] {
        node.preset(not_read, "no: preset");
    }
    let further = node.file("00-further.yaml", &env("z", "Z", "26"));
    let merged = node.ok(&["preset", "test", "-f", &pod, "--preset", &further]);
    let names: Vec<&str> = merged.lines().filter_map(|line| line.trim().strip_prefix("- name: ")).collect();
    assert_eq!(names, ["A", "A2", "J", "B", "Z"], "{merged}");
}

#[test]
fn without_presets_everything_stays_as_it_is() {
    let node = Node::new();
    let pod = node.file("pod.yaml", WEBSITE);
    assert!(node.ok(&["preset", "test", "-f", &pod]).ends_with("# No preset adds anything.\n"));
    fs::create_dir(node.presets()).unwrap();
    assert_eq!(node.ok(&["check", "-f", &pod]), "pod/website is valid\n");
}

#[test]
fn every_fault_of_every_preset_is_told_with_file_line_and_field() {
    let node = Node::new();
    let pod = node.file("pod.yaml", WEBSITE);
    node.preset("10.yaml", &HEALTH.replace("failureThreshold", "failureTreshold").replace("[test, -e, /tmp/ok]", "[]"));
    node.preset("20.yaml", &env("a", "A", "1").replace("kind: PodPreset", "kind: PodPresets"));
    let said = node.refused(&["check", "-f", &pod]);
    let expected = "hshim: 3 faults:
presets.d/10.yaml:12: spec.livenessProbe.failureTreshold: unknown field: did you mean \"failureThreshold\"?
presets.d/10.yaml:11: spec.livenessProbe.exec.command: Required value
presets.d/20.yaml:2: kind: Unsupported value: \"PodPresets\": supported values: \"PodPreset\"
";
    assert_eq!(said, expected);
    node.preset("10.yaml", "a: [");
    assert!(node.refused(&["apply", "-f", &pod]).starts_with("hshim: presets.d/10.yaml:1: "));
}

#[test]
fn two_presets_of_one_name_are_refused_unless_their_namespaces_differ() {
    let node = Node::new();
    node.preset("10.yaml", &env("a", "A", "1"));
    node.preset("20.yaml", &env("a", "B", "1"));
    let said = node.refused(&["check", "--preset", "/dev/null"]);
    assert!(said.contains("there is no manifest in /dev/null"), "{said}");
    let pod = node.file("pod.yaml", WEBSITE);
    let said = node.refused(&["check", "-f", &pod]);
    assert_eq!(said, "hshim: presets.d/20.yaml:4: metadata.name: Duplicate value: \"a\": presets.d/10.yaml:4 has it already\n");
    node.preset("20.yaml", &env("a", "B", "1").replace("  name: a\n", "  name: a\n  namespace: shop\n"));
    assert_eq!(node.ok(&["check", "-f", &pod]), "pod/website is valid\n");
}

#[test]
fn a_directory_or_file_that_others_could_change_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        hshim_tests::skip!("not root");
    }
    let node = Node::new();
    let pod = node.file("pod.yaml", WEBSITE);
    let file = node.preset("10.yaml", &env("a", "A", "1"));
    let mode = |path: &str, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let dir = node.presets().to_str().unwrap().to_owned();
    for (path, shown) in [(&dir, "presets.d"), (&file, "presets.d/10.yaml")] {
        let before = fs::metadata(path).unwrap().permissions().mode();
        mode(path, 0o775);
        let said = node.refused(&["check", "-f", &pod]);
        let expected = format!(
            "hshim: {shown} can be written by others (mode 0775), who could change what every container of this node gets: chmod go-w {shown}\n"
        );
        assert_eq!(said, expected);
        mode(path, before & 0o7777);
        chown(path, Some(1000), None).unwrap();
        let said = node.refused(&["check", "-f", &pod]);
        assert!(said.starts_with(&format!("hshim: {shown} belongs to user 1000, ")), "{said}");
        chown(path, Some(0), None).unwrap();
    }
    assert_eq!(node.ok(&["check", "-f", &pod]), "pod/website is valid\n");
}
