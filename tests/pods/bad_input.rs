//! What is wrong with the input is said in one error, with file, line and field, and what would help; nothing is half made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use hshim_tests::programs;

use crate::node::{Node, Said};

const GOOD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: p
spec:
  containers:
  - name: c
    image: busybox
    command: [sleep, '1000']
";

/// The good manifest with a line put in after another, and what is said about it, from the line number on.
const ROWS: [(&str, &str, &str); 24] = [
    ("metadata:", "  labels: [a]", "4: metadata.labels: Invalid value: must be an object, not a list"),
    ("kind: Pod", "spc: {}", "3: spc: unknown field: did you mean \"spec\"?"),
    ("spec:", "  containrs: []", "6: spec.containrs: unknown field: did you mean \"containers\"?"),
    (
        "spec:",
        "  restartPolicy: Sometimes",
        "6: spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
    ),
    ("spec:", "  initContainers: []", "6: spec.initContainers: not supported by hshim: remove it"),
    (
        "spec:",
        "  terminationGracePeriodSeconds: -1",
        "6: spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        "    image: busybox",
        "    livenessProbe: {}",
        "9: spec.containers[0].livenessProbe: Required value: must specify a handler type",
    ),
    (
        "    image: busybox",
        "    livenessProbe: {exec: {command: [x]}, httpGet: {port: 80}}",
        "9: spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
    ),
    (
        "    image: busybox",
        "    livenessProbe: {tcpSocket: {port: 80}}",
        "9: spec.containers[0].livenessProbe.tcpSocket: not supported by hshim: use an exec probe",
    ),
    (
        "    image: busybox",
        "    livenessProbe: {exec: {command: [x]}, successThreshold: 2}",
        "9: spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
    ),
    (
        "    image: busybox",
        "    livenessProbe: {exec: {command: [x]}, periodSeconds: -3}",
        "9: spec.containers[0].livenessProbe.periodSeconds: Invalid value: -3: must be greater than or equal to 0",
    ),
    (
        "    image: busybox",
        "    livenessProbe: {exec: {command: [x]}, periodSeconds: '3'}",
        "9: spec.containers[0].livenessProbe.periodSeconds: Invalid value: \"3\": must be a whole number, not a string",
    ),
    (
        "    image: busybox",
        "    env: [{name: A, value: 1}]",
        "9: spec.containers[0].env[0].value: Invalid value: 1: must be a string (put it in quotes), not a number",
    ),
    (
        "    image: busybox",
        "    env: [{name: A, value: yes}]",
        "9: spec.containers[0].env[0].value: Invalid value: true: must be a string (put it in quotes), not a boolean",
    ),
    (
        "    image: busybox",
        "    env: [{name: A, valueFrom: {}}]",
        "9: spec.containers[0].env[0].valueFrom: not supported by hshim: remove it",
    ),
    ("    image: busybox", "    securityContext: {}", "9: spec.containers[0].securityContext: not supported by hshim: remove it"),
    (
        "    image: busybox",
        "    resources: {limits: {memory: 1Gi}}",
        "9: spec.containers[0].resources: not supported by hshim: remove it",
    ),
    (
        "    image: busybox",
        "    volumeMounts: [{name: v, mountPath: /v}]",
        "9: spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
    ),
    ("    image: busybox", "    image: nginx", "9: duplicate mapping key: image\n"),
    ("    image: busybox", "   command: x", "9: "),
    ("    image: busybox", "    args: [a", "10: "),
    ("spec:", "  containers: x", "7: duplicate mapping key: containers\n"),
    ("kind: Pod", "status: {}", "3: status: not supported by hshim: remove it"),
    ("spec:", "  hostNetwork: maybe", "6: spec.hostNetwork: Invalid value: \"maybe\": must be a boolean, not a string"),
];

#[test]
fn each_fault_has_its_file_line_and_field() {
    let Some(node) = Node::with_busybox() else { return };
    for (after, line, said) in ROWS {
        let text = GOOD.replacen(&format!("{after}\n"), &format!("{after}\n{line}\n"), 1);
        assert_ne!(text, GOOD, "{after}");
        let file = node.manifest(&text);
        for verb in ["check", "apply"] {
            let error = node.refused(&[verb, "-f", &file]);
            assert!(error.starts_with(&format!("hshim: {file}:{said}")), "{line}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
    assert_eq!(node.traces(&[]), [""; 0]);
}

#[test]
fn all_faults_of_all_documents_are_said_at_once_and_nothing_is_applied() {
    let Some(node) = Node::with_busybox() else { return };
    let bad = GOOD.replace("name: p", "name: P").replace("image: busybox", "imge: busybox");
    let file = node.manifest(&format!("{GOOD}---\n{bad}---\n{GOOD}"));
    let error = node.refused(&["apply", "-f", &file]);
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 4, "{error}");
    assert_eq!(lines[0], "hshim: 3 faults:");
    // That the image is missing follows from the misspelled name, and is not said.
    assert!(
        lines[1].starts_with(&format!("{file}:18: spec.containers[0].imge: unknown field: did you mean \"image\"?")),
        "{error}"
    );
    assert!(lines[2].starts_with(&format!("{file}:14: metadata.name: Invalid value: \"P\": ")), "{error}");
    assert!(
        lines[3].starts_with(&format!("{file}:24: metadata.name: Duplicate value: \"p\": {file}:4 has it already")),
        "{error}"
    );
    assert_eq!(node.traces(&[]), [""; 0]);
}

#[test]
fn images_and_commands_that_are_not_there_are_named_with_the_remedy() {
    let Some(node) = Node::with_busybox() else { return };
    let rows = [
        (
            "image: busybox",
            "image: nginx:1",
            "8: spec.containers[0].image: Not found: \"nginx:1\": docker.io/library/nginx:1 has not been loaded: load it from an archive (hshim image load -i FILE)",
        ),
        (
            "image: busybox",
            "image: '../x'",
            "8: spec.containers[0].image: Invalid value: \"../x\": \"../x\" is not the name of an image: ",
        ),
        (
            "[sleep, '1000']",
            "[no-such-command]",
            "9: spec.containers[0].command[0]: Not found: \"no-such-command\": no such command in the image busybox",
        ),
        (
            "[sleep, '1000']",
            "[/bin]",
            "9: spec.containers[0].command[0]: Not found: \"/bin\": no such command in the image busybox",
        ),
        (
            "[sleep, '1000']",
            "[/etc/passwd]",
            "9: spec.containers[0].command[0]: Not found: \"/etc/passwd\": no such command in the image busybox",
        ),
        (
            "command: [sleep, '1000']",
            "args: [nope]",
            "9: spec.containers[0].args[0]: Not found: \"nope\": no such command in the image busybox",
        ),
    ];
    for (old, new, said) in rows {
        let file = node.manifest(&GOOD.replace(old, new));
        let error = node.refused(&["apply", "-f", &file]);
        assert!(error.starts_with(&format!("hshim: {file}:{said}")), "{new}: {error}");
    }
    let two = GOOD.replace("busybox", "a").replace("  - name: c\n", "  - name: d\n    image: b\n    command: [x]\n  - name: c\n");
    let error = node.refused(&["apply", "-f", &node.manifest(&two)]);
    assert!(error.starts_with("hshim: 2 faults:\n") && error.lines().count() == 3, "{error}");
    assert_eq!(node.traces(&[]), [""; 0]);
}

#[test]
fn files_flags_and_names_that_make_no_sense_are_refused() {
    let Some(node) = Node::new() else { return };
    let empty = node.manifest("# nothing\n---\n");
    let good = node.scratch.join("good.yaml");
    fs::write(&good, GOOD.replace("metadata:", "metadata:\n  namespace: a")).unwrap();
    let good = good.to_str().unwrap();
    let rows: [(&[&str], i32, String); 10] = [
        (&["apply", "-f", "/nowhere.yaml"], 1, "hshim: open /nowhere.yaml: No such file or directory".into()),
        (&["apply", "-f", &empty], 1, format!("hshim: there is no manifest in {empty}")),
        (
            &["apply", "-f", good, "-n", "b"],
            1,
            format!("hshim: {good}:4: metadata.namespace: Invalid value: \"a\": does not match --namespace b"),
        ),
        (&["apply"], 2, "hshim: the following required arguments were not provided:\n  --filename <FILE>".into()),
        (&["delete", "pod/nobody"], 1, "hshim: pods \"nobody\" not found in namespace \"default\"".into()),
        (&["delete", "pod/../x"], 1, "hshim: \"../x\" is not the name of a pod".into()),
        (&["delete", "job/x"], 1, "hshim: there are no resources of the kind \"job\" here".into()),
        (
            &["image", "load", "-i", "/nowhere.tar"],
            1,
            "hshim: image load /nowhere.tar: open /nowhere.tar: No such file or directory".into(),
        ),
        (&["image", "load", "-i", &empty, "--tag", "A"], 1, "hshim: --tag: \"A\" is not the name of an image".into()),
        (&["image", "load"], 2, "hshim: the following required arguments were not provided:".into()),
    ];
    for (args, code, said) in rows {
        let found = node.run(args);
        assert_eq!(found.code, code, "{args:?}: {}", found.err);
        assert!(found.err.starts_with(&said), "{args:?}: {}", found.err);
    }
    let quiet = node.run(&["delete", "pod/nobody", "--ignore-not-found"]);
    assert_eq!((quiet.code, quiet.out, quiet.err), (0, String::new(), String::new()));
}

#[test]
fn without_privilege_there_is_one_error() {
    let Some(node) = Node::with_busybox() else { return };
    let file = node.manifest(GOOD);
    // Where the tests are built may be closed to others.
    let program = node.scratch.join("hshim");
    fs::copy(programs::hshim(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(node.scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (args, said) in [
        (vec!["apply", "-f", &file], "hshim: pods need root: "),
        (vec!["delete", "pod/p"], "hshim: pods need root: "),
        (vec!["image", "load", "-i", &file], "hshim: image load needs root: "),
    ] {
        let mut command = Command::new(&program);
        command.arg("--root").arg(node.root()).arg("--data").arg(node.data()).args(&args).current_dir("/").uid(65534).gid(65534);
        let found = Said::of(command.output().unwrap());
        assert_eq!((found.code, found.err.lines().count()), (1, 1), "{args:?}: {}", found.err);
        assert!(found.err.starts_with(said), "{args:?}: {}", found.err);
    }
    assert_eq!(node.traces(&[]), [""; 0]);
}

#[test]
fn without_cgroups_there_is_one_error() {
    let Some(node) = Node::with_busybox() else { return };
    let file = node.manifest(GOOD);
    let script = "umount -R /sys/fs/cgroup || exit 99; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(programs::hshim());
    command.arg("--root").arg(node.root()).arg("--data").arg(node.data()).args(["apply", "-f", &file]);
    let found = Said::of(command.output().unwrap());
    if found.code == 99 {
        hshim_tests::skip!("/sys/fs/cgroup cannot be unmounted in a private namespace");
    }
    let said =
        "hshim: no cgroup file system is mounted below /sys/fs/cgroup: mount one (mount -t cgroup2 cgroup2 /sys/fs/cgroup)\n";
    assert_eq!((found.code, found.err.as_str()), (1, said));
    assert_eq!(node.traces(&[]), [""; 0]);
}
