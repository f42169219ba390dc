//! CRI: pods and their containers as a kubelet makes, looks at and removes them.

use std::fs;

use hshim_tests::containerd::{ContainerRequest, Daemon, ExecResult, PodRequest, Setting, cgroup_value, shims_below};
use hshim_tests::wait::until;

#[test]
fn a_pod_with_several_containers_shares_one_shim_and_one_network() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", network: true, ..Default::default() });
    assert!(cri.is_ready(&pod));
    let address = cri.pod_address(&pod);
    assert!(address.starts_with("10."), "{address:?}");
    let server = cri.run(
        &pod,
        &ContainerRequest {
            name: "server",
            command: &["httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/etc"],
            ..Default::default()
        },
    );
    let client = cri.run(&pod, &ContainerRequest { name: "client", command: &["sleep", "1000"], ..Default::default() });
    assert_eq!(shims_below(daemon.home()).len(), 1);
    until("the neighbour answers on loopback", || {
        cri.exec_sync(&client, &["wget", "-qO-", "http://127.0.0.1:8080/passwd"], 10)
            .is_ok_and(|it| it.stdout.starts_with("root:"))
    });
    assert_eq!(cri.list(&pod).into_values().collect::<Vec<_>>(), [1, 1], "both run");
    cri.stop(&server, 0);
    assert_eq!((cri.status(&server).state, cri.status(&server).exit_code), ("EXITED", 137));
    cri.remove(&server);
    assert_eq!(cri.list(&pod).into_keys().collect::<Vec<_>>(), ["client"]);
    assert_eq!(cri.exec_sync(&client, &["echo", "here"], 10).unwrap().stdout, "here\n");
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn a_pod_on_the_hosts_network_runs_a_container_to_its_end() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", ..Default::default() });
    assert_eq!(cri.pod_address(&pod), "");
    let script = "echo out; echo err >&2; exit 3";
    let container = cri.create(&pod, &ContainerRequest { name: "job", command: &["sh", "-c", script], ..Default::default() });
    assert_eq!(cri.status(&container).state, "CREATED");
    cri.start(&container);
    until("it ends", || cri.status(&container).state == "EXITED");
    let status = cri.status(&container);
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    let log = fs::read_to_string(&container.log).unwrap();
    let mut lines: Vec<&str> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stderr F err", "stdout F out"]);
    cri.remove(&container);
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn a_container_is_given_its_grace_and_no_more() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", ..Default::default() });
    let polite = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    for (name, script, expected) in [("polite", polite, (0, "Completed")), ("stubborn", stubborn, (137, "Error"))] {
        let container = cri.run(&pod, &ContainerRequest { name, command: &["sh", "-c", script], ..Default::default() });
        until("its trap is set", || fs::read_to_string(&container.log).is_ok_and(|log| log.contains("ready")));
        cri.stop(&container, 1);
        let status = cri.status(&container);
        assert_eq!((status.state, status.exit_code, status.reason.as_str()), ("EXITED", expected.0, expected.1), "{name}");
    }
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn commands_have_their_result_and_their_deadline() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", ..Default::default() });
    let container = cri.run(&pod, &ContainerRequest { name: "app", command: &["sleep", "1000"], ..Default::default() });
    let result = cri.exec_sync(&container, &["sh", "-c", "echo out; echo err >&2; exit 9"], 10).unwrap();
    assert_eq!(result, ExecResult { exit_code: 9, stdout: "out\n".to_owned(), stderr: "err\n".to_owned() });
    let refusal = cri.exec_sync(&container, &["sleep", "1000"], 1).unwrap_err();
    assert!(refusal.message.contains("timeout 1s exceeded"), "{refusal}");
    assert!(cri.exec_sync(&container, &["no-such-command"], 10).unwrap_err().message.contains("no-such-command"));
    until("the command that was too slow is gone", || {
        !cri.exec_sync(&container, &["ps"], 10)
            .unwrap()
            .stdout
            .lines()
            .any(|line| line.contains("sleep 1000") && !line.trim_start().starts_with("1 "))
    });
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn limits_and_use_are_those_of_the_container() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", ..Default::default() });
    let request =
        ContainerRequest { name: "app", command: &["sh", "-c", "while :; do :; done"], memory: 64 << 20, ..Default::default() };
    let container = cri.run(&pod, &request);
    let cgroup = format!("{}/{}", daemon.name(), container.id);
    let limit = || cgroup_value(&cgroup, &["memory.limit_in_bytes", "memory.max"]).unwrap();
    assert_eq!(limit(), (64 << 20).to_string());
    let (before, memory) = cri.stats(&container);
    assert!(memory > 0);
    until("its time grows", || cri.stats(&container).0 > before + 10_000_000);
    cri.limit_memory(&container, 32 << 20);
    assert_eq!(limit(), (32 << 20).to_string());
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn a_container_that_runs_out_of_memory_is_said_to_have() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", ..Default::default() });
    let request = ContainerRequest { name: "app", command: &["tail", "/dev/zero"], memory: 16 << 20, ..Default::default() };
    let container = cri.run(&pod, &request);
    until("it has ended of that", || {
        let status = cri.status(&container);
        (status.state, status.reason.as_str(), status.exit_code) == ("EXITED", "OOMKilled", 137)
    });
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn pods_live_through_a_crash_of_containerd() {
    let Some(mut daemon) = Daemon::start(Setting::Cri) else { return };
    let pod = daemon.cri().run_pod(&PodRequest { name: "pod", network: true, ..Default::default() });
    let request = ContainerRequest {
        name: "app",
        command: &["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done"],
        ..Default::default()
    };
    let container = daemon.cri().run(&pod, &request);
    let status = daemon.cri().status(&container);
    daemon.crash();
    daemon.serve();
    let cri = daemon.cri();
    assert_eq!(cri.status(&container), status);
    assert!(cri.is_ready(&pod));
    let before = fs::read_to_string(&container.log).unwrap().len();
    until("its log goes on", || fs::read_to_string(&container.log).unwrap().len() > before);
    assert_eq!(cri.exec_sync(&container, &["echo", "here"], 10).unwrap().stdout, "here\n");
    cri.remove_pod(&pod);
    daemon.finish();
}
