//! emptyDir and hostPath, in all their kinds.

use std::fs;

use hshim_tests::wait;

use crate::node::{Node, entries};

fn manifest(volumes: &str, mounts: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: c\n    image: busybox\n    \
         command: [sh, -c, {script:?}]\n    volumeMounts: [{mounts}]\n  volumes: [{volumes}]\n"
    )
}

#[test]
fn an_empty_directory_outlives_its_containers_and_ends_with_the_pod() {
    let Some(node) = Node::with_busybox() else { return };
    let script = "stat -c %a /disk /memory; echo $(cat /disk/count /memory/count 2>/dev/null); echo x >> /disk/count; echo y >> /memory/count; \
        grep -c ' /memory tmpfs' /proc/mounts; echo done; sleep 1000";
    let volumes = "{name: disk, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}";
    let mounts = "{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}";
    node.apply(&manifest(volumes, mounts, script));
    assert_eq!(node.log_until("p", "c", "done"), ["777", "1777", "", "1", "done"]);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(node.wait_running("p", "c")), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait::until("the next life has looked", || node.log("p", "c", 1).last().is_some_and(|line| line == "done"));
    assert_eq!(node.log("p", "c", 1), ["777", "1777", "x y", "1", "done"]);
    node.delete_without_trace("p");
}

#[test]
fn paths_of_the_node_are_what_their_type_says_and_stay() {
    let Some(node) = Node::with_busybox() else { return };
    let base = node.scratch.join("host");
    fs::create_dir(&base).unwrap();
    fs::write(base.join("file"), "content\n").unwrap();
    let at = |name: &str| base.join(name).display().to_string();
    let volumes = format!(
        "{{name: f, hostPath: {{path: {}, type: File}}}}, {{name: d, hostPath: {{path: {}, type: Directory}}}}, \
         {{name: nd, hostPath: {{path: {}, type: DirectoryOrCreate}}}}, {{name: nf, hostPath: {{path: {}, type: FileOrCreate}}}}, \
         {{name: u, hostPath: {{path: {}}}}}, {{name: c, hostPath: {{path: /dev/null, type: CharDevice}}}}",
        at("file"),
        base.display(),
        at("made/dir"),
        at("made-file"),
        at("unset")
    );
    let mounts = "{name: f, mountPath: /in/file, readOnly: true}, {name: d, mountPath: /in/dir, readOnly: true}, {name: nd, mountPath: /in/dir/made/dir}, \
         {name: nf, mountPath: /etc/motd}, {name: u, mountPath: /unset}, {name: c, mountPath: /dev/nothing}";
    let script = "cat /in/file; (echo x > /in/file) 2>&1 | grep -o 'Read-only file system'; (echo x > /in/dir/new) 2>&1 | grep -o 'Read-only file system'; \
         echo new > /in/dir/made/dir/new; echo motd > /etc/motd; touch /unset/touched; echo x > /dev/nothing && echo done; sleep 1000";
    node.apply(&manifest(&volumes, mounts, script));
    assert_eq!(node.log_until("p", "c", "done"), ["content", "Read-only file system", "Read-only file system", "done"]);
    node.delete_without_trace("p");
    assert_eq!(fs::read_to_string(base.join("made/dir/new")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(base.join("made-file")).unwrap(), "motd\n");
    assert_eq!(entries(&base.join("unset")).len(), 1);
    assert_eq!(fs::read_to_string(base.join("file")).unwrap(), "content\n");
}

#[test]
fn a_path_of_the_wrong_type_is_refused_before_anything_is_made() {
    let Some(node) = Node::with_busybox() else { return };
    let made = node.scratch.join("made");
    let volumes = format!(
        "{{name: a, hostPath: {{path: {}, type: DirectoryOrCreate}}}}, {{name: b, hostPath: {{path: /nowhere, type: Socket}}}}",
        made.display()
    );
    let file = node.manifest(&manifest(&volumes, "{name: a, mountPath: /a}", "true"));
    assert_eq!(
        node.refused(&["apply", "-f", &file]),
        format!(
            "hshim: {file}:11: spec.volumes[1].hostPath.type: Invalid value: \"Socket\": hostPath type check failed: /nowhere is not a socket file\n"
        )
    );
    assert!(!made.exists());
    assert_eq!(node.traces(&[]), [""; 0]);
}
