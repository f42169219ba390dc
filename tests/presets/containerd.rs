//! Presets under a real containerd: containers that have never heard of hshim are probed and restarted in place.

use std::fs;

use hshim_tests::containerd::{Container, ContainerRequest, Daemon, PodRequest, Setting, supervises};
use hshim_tests::wait::{for_value, until};

use crate::written::{HEALTH, SCRIPT, write};

fn lives(output: &str) -> usize {
    output.lines().filter(|line| line.ends_with("alive here")).count()
}

fn is_judged() -> bool {
    if !supervises() {
        hshim_tests::skip::note("the reference has no presets");
    }
    supervises()
}

#[test]
fn a_container_is_probed_and_restarted_in_place_by_a_preset_alone() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    write(&daemon.presets(), "10.yaml", HEALTH);
    let first = daemon.detach("c1", &["--label", "role=frontend"], &["sh", "-c", SCRIPT]);
    let other = daemon.detach("c2", &[], &["sh", "-c", SCRIPT]);
    until("it speaks, with the variable of the preset", || lives(&daemon.output("c1")) == 1);
    until("it has made itself healthy", || fs::remove_file(format!("/proc/{}/root/tmp/ok", first.pid)).is_ok());
    until("so has the other", || fs::remove_file(format!("/proc/{}/root/tmp/ok", other.pid)).is_ok());
    for_value("the next life", || {
        let task = daemon.task("c1").expect("the task is there all the time");
        assert!(task.runs() && task.pid > 0, "{task:?}");
        (task.pid != first.pid).then_some(())
    });
    until("it has the variable in its next life", || lives(&daemon.output("c1")) == 2);
    assert_eq!((daemon.task("c2").unwrap().pid, daemon.output("c2").as_str()), (other.pid, "alive\n"), "no preset is for it");
    daemon.remove("c1");
    daemon.remove("c2");
    daemon.finish();
}

#[test]
fn a_broken_preset_refuses_every_container_with_file_line_and_field() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    write(&daemon.presets(), "10.yaml", &HEALTH.replace("failureThreshold", "failureTreshold"));
    let said = daemon.run("c1", &[], &["true"]);
    let text = format!("{said:?}");
    assert!(text.contains("10.yaml:12: spec.livenessProbe.failureTreshold: unknown field: did you mean"), "{text}");
    write(&daemon.presets(), "10.yaml", HEALTH);
    daemon.run("c1", &[], &["true"]).ok();
    daemon.finish();
}

#[test]
fn a_conflict_of_two_presets_refuses_the_container_and_names_both() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    write(&daemon.presets(), "10.yaml", HEALTH);
    write(
        &daemon.presets(),
        "20.yaml",
        &HEALTH.replace("name: health", "name: other").replace("failureThreshold: 2", "failureThreshold: 9"),
    );
    let text = format!("{:?}", daemon.run("c1", &["--label", "role=frontend"], &["true"]));
    assert!(text.contains("conflict over livenessProbe of container c1"), "{text}");
    assert!(text.contains("preset other (") && text.contains("and preset health ("), "{text}");
    daemon.run("c2", &[], &["true"]).ok();
    daemon.finish();
}

#[test]
fn the_containers_of_a_pod_of_the_kubelet_are_found_by_name_and_by_labels_in_an_annotation() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let labels = r#"{"role":"frontend"}"#;
    let broken = write(&daemon.presets(), "10.yaml", "broken: true");
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", annotations: &[("hshim.dev/labels", labels)], ..Default::default() });
    // A pause container has no part in it.
    let of_web = HEALTH.replace("spec:\n", "spec:\n  containers: [web]\n").replace("  terminationGracePeriodSeconds: 1\n", "");
    fs::write(broken, of_web).unwrap();
    let run = |name: &str| cri.run(&pod, &ContainerRequest { name, command: &["sh", "-c", SCRIPT], ..Default::default() });
    let (web, neighbour) = (run("web"), run("neighbour"));
    let log = |container: &Container| fs::read_to_string(&container.log).unwrap_or_default();
    let before = cri.status(&web);
    // While web is restarted twice, nobody probes its neighbour.
    until("the neighbour speaks", || log(&neighbour).contains("alive"));
    until("the neighbour is broken", || cri.exec_sync(&neighbour, &["rm", "/tmp/ok"], 10).is_ok_and(|it| it.exit_code == 0));
    for life in 1..=2 {
        until("web speaks, with the variable of the preset", || lives(&log(&web)) == life);
        until("web is broken", || cri.exec_sync(&web, &["rm", "/tmp/ok"], 10).is_ok_and(|it| it.exit_code == 0));
    }
    until("web lives again", || lives(&log(&web)) == 3);
    assert_eq!(cri.status(&web), before, "nothing has changed for the kubelet");
    assert_eq!(log(&neighbour).matches("alive").count(), 1);
    cri.remove_pod(&pod);
    daemon.finish();
}
