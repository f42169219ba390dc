//! Pods from apply to delete: policies and exits, several containers, probes, signals, names.

use hshim_tests::wait;

use crate::node::Node;

/// A pod of one container that runs a script.
fn pod(name: &str, policy: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: {policy}\n  containers:\n  - name: c\n    image: busybox\n    \
         command: [sh, -c, {script:?}]\n"
    )
}

#[test]
fn a_policy_decides_by_the_exit_whether_there_is_another_life() {
    let Some(node) = Node::with_busybox() else { return };
    let rows = [
        ("Never", 0, "Succeeded", 0),
        ("Never", 3, "Failed", 0),
        ("OnFailure", 0, "Succeeded", 0),
        ("OnFailure", 3, "Running", 1),
        ("Always", 0, "Running", 1),
        ("Always", 3, "Running", 1),
    ];
    let name = |policy: &str, code: i32| format!("{}-{code}", policy.to_lowercase());
    for (policy, code, ..) in rows {
        node.apply(&pod(&name(policy, code), policy, &format!("exit {code}")));
    }
    for (policy, code, phase, restarts) in rows {
        let pod = name(policy, code);
        // A second life ends like the first; then the back-off keeps it at one restart.
        wait::until(&format!("{pod} is {phase}"), || {
            let ended = node.container(&pod, "c").is_some_and(|container| {
                let last = if restarts == 0 { &container["state"]["terminated"] } else { &container["lastTermination"] };
                last["exit"]["code"] == code
            });
            ended && node.phase(&pod) == phase && node.restarts(&pod, "c") == restarts
        });
    }
    for (policy, code, ..) in rows {
        node.delete_without_trace_of_one(&name(policy, code));
    }
    assert_eq!(node.traces(&[]), [""; 0]);
}

#[test]
fn containers_of_a_pod_share_its_network_and_name_and_nothing_else() {
    let Some(node) = Node::with_busybox() else { return };
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: two}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
        - name: server\n    image: busybox\n    command: [sh, -c, 'echo served > /tmp/index.html; hostname; exec httpd -f -p 127.0.0.1:80 -h /tmp']\n  \
        - name: client\n    image: busybox\n    command: [sh, -c, 'until wget -q -O - http://127.0.0.1/; do usleep 50000; done; hostname; ls /tmp | wc -l; \
        ls /proc | grep -c ^[0-9]; echo done; exec sleep 1000']\n";
    node.apply(manifest);
    let client = node.log_until("two", "client", "done");
    let client: Vec<&str> = client.iter().map(String::as_str).filter(|line| !line.starts_with("wget: ")).collect();
    // Its own /tmp is empty, and of the processes it sees its own: sh, ls, grep, and perhaps wc.
    assert_eq!(client.get(..3).unwrap(), ["served", "two", "0"]);
    assert!(client[3].parse::<u32>().unwrap() <= 4, "{client:?}");
    assert_eq!(node.log("two", "server", 0), ["two"]);
    let other = node.wait_running("two", "server");
    // One that ends is restarted alone.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(node.wait_running("two", "client")), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    wait::until("the client runs again", || node.restarts("two", "client") == 1 && node.pid("two", "client").is_some());
    assert_eq!(node.pid("two", "server"), Some(other));
    node.delete_without_trace("two");
}

#[test]
fn probes_of_all_three_kinds_decide() {
    let Some(node) = Node::with_busybox() else { return };
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: probed}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: c\n    image: busybox\n    \
        command: [sh, -c, 'touch /tmp/started /tmp/ready; sleep 2; touch /tmp/unhealthy; sleep 1000']\n    \
        startupProbe: {exec: {command: [test, -e, /tmp/started]}, periodSeconds: 1}\n    \
        readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}\n    \
        livenessProbe: {exec: {command: [sh, -c, '! test -e /tmp/unhealthy']}, periodSeconds: 1, failureThreshold: 2}\n";
    node.apply(manifest);
    wait::until("it is ready", || node.container("probed", "c").is_some_and(|container| container["ready"] == true));
    wait::until("its liveness probe restarts it", || node.restarts("probed", "c") == 1);
    wait::until("it is ready again", || node.container("probed", "c").is_some_and(|container| container["ready"] == true));
    // The fresh life has a fresh file system.
    assert_eq!(node.container("probed", "c").unwrap()["lastRestart"]["cause"]["probeFailed"]["probe"], "liveness");
    node.delete_without_trace("probed");
}

#[test]
fn a_second_apply_finds_it_unchanged_and_another_manifest_finds_the_name_in_use() {
    let Some(node) = Node::with_busybox() else { return };
    assert_eq!(node.apply(&pod("p", "Always", "sleep 1000")), "pod/p created\n");
    let pid = node.wait_running("p", "c");
    assert_eq!(node.apply(&pod("p", "Always", "sleep 1000")), "pod/p unchanged\n");
    let file = node.manifest(&pod("p", "Never", "sleep 1000"));
    assert_eq!(
        node.refused(&["apply", "-f", &file]),
        "hshim: pod/p: the name is in use by a pod with another manifest, and pods cannot be changed: \
         delete it first (hshim delete pod/p --namespace default)\n"
    );
    assert_eq!(node.pid("p", "c"), Some(pid));
    // In another namespace the name is free.
    assert_eq!(node.ok(&["apply", "-f", &file, "--namespace", "other"]), "pod/p created\n");
    assert_eq!(node.ok(&["delete", "pod/p", "-n", "other", "--grace-period=0"]), "pod \"p\" deleted\n");
    assert_eq!(node.pid("p", "c"), Some(pid));
    node.delete_without_trace("p");
}

#[test]
fn several_documents_and_json_are_applied_and_deleted_together() {
    let Some(node) = Node::with_busybox() else { return };
    let yaml = format!("---\n{}---\n# nothing\n---\n{}", pod("a", "Always", "sleep 1000"), pod("b", "Always", "sleep 1000"));
    let file = node.manifest(&yaml);
    assert_eq!(node.ok(&["check", "-f", &file]), "pod/a is valid\npod/b is valid\n");
    assert_eq!(node.ok(&["apply", "-f", &file]), "pod/a created\npod/b created\n");
    let json = node.scratch.join("c.json");
    std::fs::write(&json, "{\n\t\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"c\"},\n\t\"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"busybox\", \"command\": [\"sleep\", \"1000\"]}]}\n}\n").unwrap();
    assert_eq!(node.ok(&["apply", "-f", json.to_str().unwrap()]), "pod/c created\n");
    let uids = ["a", "b", "c"].map(|pod| node.uid(pod));
    let deleted = node.ok(&["delete", "--filename", &file, "--filename", json.to_str().unwrap(), "--grace-period", "0"]);
    assert_eq!(deleted, "pod \"a\" deleted\npod \"b\" deleted\npod \"c\" deleted\n");
    assert_eq!(node.traces(&uids), [""; 0]);
}

#[test]
fn another_runtime_runs_the_containers() {
    let Some(runc) = hshim_tests::programs::installed("runc") else { hshim_tests::skip!("no runc") };
    let Some(node) = Node::with_busybox() else { return };
    let file = node.manifest(&pod("p", "Always", "echo hello; echo done; sleep 1000"));
    node.ok(&["apply", "-f", &file, "--runtime", runc.to_str().unwrap()]);
    assert_eq!(node.log_until("p", "c", "done"), ["hello", "done"]);
    assert!(node.root().join("runtimes/runc/default_p_c").exists());
    node.delete_without_trace("p");
    let error = node.refused(&["apply", "-f", &file, "--runtime", "/nowhere/runc"]);
    assert_eq!(error, "hshim: --runtime /nowhere/runc: there is no such program\n");
}

#[test]
fn a_long_name_is_a_name() {
    let Some(node) = Node::with_busybox() else { return };
    let name = ["a"; 62].join(".") + &"b".repeat(60);
    node.apply(&pod(&name, "Always", "hostname; echo done; sleep 1000"));
    let hostname = node.log_until(&name, "c", "done").remove(0);
    assert!(name.starts_with(&hostname) && hostname.len() <= 63 && !hostname.ends_with('.'), "{hostname}");
    node.delete_without_trace(&name);
}
