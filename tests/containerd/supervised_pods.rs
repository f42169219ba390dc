//! Restarts in place under CRI: the kubelet's view does not change, the log goes on, the neighbours are left alone.

use std::fs;

use hshim_tests::containerd::{Container, ContainerRequest, Daemon, PodRequest, Setting, supervises};
use hshim_tests::wait::until;
use nix::sys::signal::{Signal, kill};

use crate::supervised::{ALWAYS, FAILING, LIVENESS, LONG, QUICK, SCRIPT, is_judged, lives};

fn log(container: &Container) -> String {
    fs::read_to_string(&container.log).unwrap_or_default()
}

#[test]
fn one_container_is_made_healthy_again_while_its_neighbours_run_on() {
    if !is_judged() {
        return;
    }
    let Some(mut daemon) = Daemon::start(Setting::Cri) else { return };
    // Of the pod, as a user writes it in its metadata, and of the container, as a device plugin may.
    let annotations = [("web.hshim.dev/livenessProbe", LIVENESS.1), ("web.hshim.dev/supervision", QUICK.1)];
    let pod = daemon.cri().run_pod(&PodRequest { name: "pod", network: true, annotations: &annotations, ..Default::default() });
    let ticking = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done";
    let neighbour =
        daemon.cri().run(&pod, &ContainerRequest { name: "neighbour", command: &["sh", "-c", ticking], ..Default::default() });
    let web = daemon.cri().run(&pod, &ContainerRequest { name: "web", command: &["sh", "-c", SCRIPT], ..Default::default() });
    let before = daemon.cri().status(&web);
    let address = "ip -o -4 addr show eth0 | sed 's/ *valid_lft.*//; s/.*inet //'";
    let network = daemon.cri().exec_sync(&web, &["sh", "-c", address], 10).unwrap().stdout;
    for life in 2..=3 {
        if life == 3 {
            daemon.crash();
            daemon.serve();
        }
        let cri = daemon.cri();
        until("it is broken", || cri.exec_sync(&web, &["rm", "/tmp/ok"], 10).is_ok_and(|it| it.exit_code == 0));
        until("it lives again, in the same log", || lives(&log(&web)) == life);
        assert_eq!(cri.status(&web), before, "nothing has changed for the kubelet");
    }
    let cri = daemon.cri();
    until("commands run in the new life", || cri.exec_sync(&web, &["true"], 10).is_ok_and(|it| it.exit_code == 0));
    assert_eq!(cri.exec_sync(&web, &["sh", "-c", address], 10).unwrap().stdout, network, "its network is the pod's");
    let ticks: Vec<String> = log(&neighbour).lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    assert!(
        ticks.iter().enumerate().all(|(number, tick)| *tick == number.to_string()),
        "the neighbour was never restarted: {ticks:?}"
    );
    cri.stop(&web, 10);
    assert_eq!((cri.status(&web).state, cri.status(&web).exit_code), ("EXITED", 0));
    assert_eq!(cri.status(&neighbour).state, "RUNNING");
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn annotations_of_the_container_itself_count_too() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", ..Default::default() });
    let budget = ("hshim.dev/supervision", r#"{"restartBudget":{"restarts":1,"withinMilliseconds":600000}}"#);
    let request =
        ContainerRequest { name: "app", command: &["sh", "-c", FAILING], annotations: &[ALWAYS, budget], ..Default::default() };
    let container = cri.run(&pod, &request);
    until("it has failed for good", || cri.status(&container).state == "EXITED");
    assert_eq!((cri.status(&container).exit_code, lives(&log(&container))), (3, 2));
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn a_pod_is_stopped_while_its_container_backs_off() {
    if !is_judged() {
        return;
    }
    let Some(mut daemon) = Daemon::start(Setting::Cri) else { return };
    let pod = daemon.cri().run_pod(&PodRequest { name: "pod", annotations: &[ALWAYS, LONG], ..Default::default() });
    let container =
        daemon.cri().run(&pod, &ContainerRequest { name: "app", command: &["sh", "-c", FAILING], ..Default::default() });
    // As the kubelet, the shim restarts once without a back-off.
    until("it has failed twice", || lives(&log(&container)) == 2);
    daemon.crash();
    daemon.serve();
    let cri = daemon.cri();
    assert_eq!(cri.status(&container).state, "RUNNING");
    cri.stop(&container, 30);
    assert_eq!((cri.status(&container).state, cri.status(&container).exit_code, lives(&log(&container))), ("EXITED", 3, 2));
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn nothing_is_restarted_into_the_namespaces_of_a_dead_pod() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", network: true, annotations: &[LIVENESS, QUICK], ..Default::default() });
    let container = cri.run(&pod, &ContainerRequest { name: "app", command: &["sh", "-c", SCRIPT], ..Default::default() });
    until("it lives", || lives(&log(&container)) == 1);
    kill(daemon.task(&pod.id).unwrap().init(), Signal::SIGKILL).unwrap();
    until("the pod is known to be dead", || !cri.is_ready(&pod));
    assert_eq!(cri.status(&container).state, "RUNNING");
    cri.exec_sync(&container, &["rm", "/tmp/ok"], 10).unwrap();
    until("its end is handed on", || cri.status(&container).state == "EXITED");
    assert_eq!(lives(&log(&container)), 1);
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn a_rotated_log_is_written_on_in_its_new_file() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let annotations: &[(&str, &str)] = if supervises() { &[LIVENESS, QUICK] } else { &[] };
    let pod = cri.run_pod(&PodRequest { name: "pod", annotations, ..Default::default() });
    let script = "touch /tmp/ok; echo alive; trap 'exit 0' TERM; while :; do echo tick; sleep 0.05; done";
    let container = cri.run(&pod, &ContainerRequest { name: "app", command: &["sh", "-c", script], ..Default::default() });
    until("it speaks", || log(&container).contains("tick"));
    fs::rename(&container.log, container.log.with_extension("log.1")).unwrap();
    cri.reopen_log(&container);
    until("it speaks in the new file", || log(&container).contains("tick"));
    if supervises() {
        cri.exec_sync(&container, &["rm", "/tmp/ok"], 10).unwrap();
        until("its next life speaks there too", || lives(&log(&container)) == 1);
    }
    cri.remove_pod(&pod);
    daemon.finish();
}
