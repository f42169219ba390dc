//! What a container finds: command, arguments, environment, directory, user, names, network, devices, limits.

use hshim_tests::image::Image;
use serde_json::json;

use crate::node::Node;

fn pod(more: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  restartPolicy: Never\n{}", more.trim_start_matches('\n'))
}

/// The output of a pod with one container, as given.
fn output(node: &Node, spec: &str) -> Vec<String> {
    node.apply(&pod(spec));
    let log = node.log_until("p", "c", "done");
    node.delete_without_trace("p");
    log
}

#[test]
fn the_images_defaults_hold_until_the_manifest_says_otherwise() {
    let Some(node) = Node::new() else { return };
    let config = json!({"Entrypoint": ["sh", "-c", "echo \"$0\" \"$@\"; pwd; echo $A $B; id -u -n; echo done"], "Cmd": ["image"],
        "Env": ["PATH=/bin", "A=image"], "WorkingDir": "/usr", "User": "nobody"});
    node.load(&Image { config, ..Image::busybox("defaults:1") });
    let base = "  containers:\n  - name: c\n    image: defaults:1\n";
    assert_eq!(output(&node, base), ["image", "/usr", "image", "nobody", "done"]);
    let more = format!(
        "{base}    args: [manifest, two]\n    workingDir: /new/dir\n    env: [{{name: A, value: mine}}, {{name: B, value: b}}]\n"
    );
    assert_eq!(output(&node, &more), ["manifest two", "/new/dir", "mine b", "nobody", "done"]);
    let command = format!("{base}    command: [sh, -c, 'echo $#; echo done']\n");
    assert_eq!(output(&node, &command), ["0", "done"], "the image's arguments go with its entrypoint");
}

#[test]
fn references_are_expanded_by_the_manifests_variables() {
    let Some(node) = Node::with_busybox() else { return };
    let spec = "  containers:\n  - name: c\n    image: busybox\n    command: [sh, -c, 'echo $0 $1; echo $(env | grep ^C=); echo done']\n    \
        args: ['$(A)-$(B)', '$$(A) $(UNKNOWN) $(PATH)']\n    \
        env: [{name: A, value: one}, {name: B, value: $(A)+two}, {name: C, value: $(LATER)}, {name: LATER, value: x}]\n";
    assert_eq!(output(&node, spec), ["one-one+two $(A) $(UNKNOWN) $(PATH)", "C=$(LATER)", "done"]);
}

#[test]
fn the_surroundings_are_those_of_a_kubernetes_container() {
    let Some(node) = Node::with_busybox() else { return };
    let script = "hostname; cat /etc/hostname; grep -c localhost /etc/hosts; grep -v : /etc/hosts | tail -n 1; echo $HOSTNAME; \
        cat /proc/self/oom_score_adj; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status; \
        ls /dev | tr '\\n' ' '; echo; ls /sys/class/net | tr '\\n' ' '; echo; ping -c 1 -q 127.0.0.1 | grep -c ' 0% packet loss'; \
        echo x > /proc/sys/kernel/hostname || echo read-only; cat /proc/kcore | wc -c; mount | grep -c ' on /sys/fs/cgroup.*ro,'; df -m /dev/shm | tail -n 1 | awk '{print $2}'; \
        echo message > /dev/termination-log && echo written; echo done";
    let spec = format!("  hostname: chosen\n  containers:\n  - name: c\n    image: busybox\n    command: [sh, -c, {script:?}]\n");
    let log = output(&node, &spec);
    let expected =
        ["chosen", "chosen", "2", "127.0.0.1\tchosen", "chosen", "1000", "CapEff:\t00000000a80425fb", "NoNewPrivs:\t0"];
    assert_eq!(log.get(..expected.len()).unwrap(), expected);
    let rest: Vec<&str> = log.iter().skip(expected.len()).map(|line| line.trim_end()).collect();
    assert_eq!(rest[0], "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero");
    assert_eq!(rest[1], "lo");
    assert_eq!(rest[2], "1", "loopback is up: {log:?}");
    assert!(rest.contains(&"read-only"), "{log:?}");
    assert!(rest.contains(&"64") && rest.contains(&"written"), "{log:?}");
}

#[test]
fn a_pod_in_the_nodes_network_has_the_nodes_names() {
    let Some(node) = Node::with_busybox() else { return };
    let script =
        "readlink /proc/self/ns/net; readlink /proc/self/ns/uts; readlink /proc/self/ns/ipc; hostname; cat /etc/hosts; echo done";
    let spec =
        format!("  hostNetwork: true\n  containers:\n  - name: c\n    image: busybox\n    command: [sh, -c, {script:?}]\n");
    let log = output(&node, &spec);
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    assert_eq!(log.get(..2).unwrap(), [own("net"), own("uts")]);
    assert_ne!(log[2], own("ipc"));
    assert_eq!(log[3], std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim_end());
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap();
    assert!(hosts.lines().all(|line| log.iter().any(|other| other == line)), "{log:?}");
}

#[test]
fn the_stop_signal_is_the_images() {
    let Some(node) = Node::new() else { return };
    let script =
        "trap 'echo got usr1; exit 0' USR1; trap 'echo got term; exit 1' TERM; echo ready; while :; do usleep 20000; done";
    let config = json!({"Cmd": ["sh", "-c", script], "StopSignal": "SIGUSR1"});
    node.load(&Image { config, ..Image::busybox("signal:1") });
    node.apply(&pod("  containers:\n  - name: c\n    image: signal:1\n"));
    node.log_until("p", "c", "ready");
    let log = node.data().join(format!("logs/default_p_{}/c/0.log", node.uid("p")));
    // The log goes with the pod, so a second name of it is kept.
    let kept = node.scratch.join("kept.log");
    std::fs::hard_link(log, &kept).unwrap();
    assert_eq!(node.ok(&["delete", "pod/p"]), "pod \"p\" deleted\n");
    assert!(std::fs::read_to_string(kept).unwrap().ends_with("got usr1\n"));
}
