//! Bad annotations: refused at Create with the annotation and the field named, never a container that silently runs without its probes.

use hshim_tests::containerd::{ContainerRequest, Daemon, PodRequest, Setting};

use crate::supervised::{LIVENESS, QUICK, is_judged, options};

const PROBE: &str = "hshim.dev/livenessProbe";

#[test]
fn each_fault_is_refused_with_annotation_and_field() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let cases = [
        (PROBE, r#"{"exec":{"command":["true"]"#, r#"annotations["hshim.dev/livenessProbe"]"#),
        (PROBE, r#"{"exec":{"command":["true"]},"periodSecond":1}"#, r#"annotations["hshim.dev/livenessProbe"].periodSecond"#),
        (
            PROBE,
            r#"{"exec":{"command":["true"]},"periodSeconds":0.5}"#,
            r#"annotations["hshim.dev/livenessProbe"].periodSeconds"#,
        ),
        (
            PROBE,
            r#"{"exec":{"command":["true"]},"failureThreshold":-1}"#,
            r#"annotations["hshim.dev/livenessProbe"].failureThreshold"#,
        ),
        (PROBE, "{}", r#"annotations["hshim.dev/livenessProbe"]"#),
        ("hshim.dev/livenesProbe", "{}", r#"annotations["hshim.dev/livenesProbe"]"#),
        ("hshim.dev/restartPolicy", "Sometimes", r#"annotations["hshim.dev/restartPolicy"]"#),
        ("hshim.dev/supervision", r#"{"restartOwner":"me"}"#, r#"annotations["hshim.dev/supervision"].restartOwner"#),
        ("hshim.dev/supervision", r#"{"statusFile":"ready"}"#, r#"annotations["hshim.dev/supervision"].statusFile"#),
        ("hshim.dev/backoff", r#"{"initialMilliseconds":0}"#, r#"annotations["hshim.dev/backoff"].initialMilliseconds"#),
    ];
    for (key, value, named) in cases {
        let annotations = options(&[(key, value)]);
        let annotations: Vec<&str> = annotations.iter().map(String::as_str).collect();
        let refused = daemon.try_detach("c1", &annotations, &["sleep", "1000"]);
        assert_ne!(refused.status, 0, "{key}={value} was accepted");
        assert!(refused.stderr.contains(named), "{key}={value}: {}", refused.stderr);
        assert_eq!(daemon.task("c1"), None);
        daemon.ctr(&["container", "rm", "c1"]);
    }
    daemon.finish();
}

#[test]
fn a_refusal_does_not_touch_the_other_containers_of_the_pod() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let annotations =
        [("web.hshim.dev/livenessProbe", r#"{"exec":{"comand":["true"]}}"#), ("db.hshim.dev/livenessProbe", LIVENESS.1)];
    let pod = cri.run_pod(&PodRequest { name: "pod", annotations: &annotations, ..Default::default() });
    let command = ["sh", "-c", "touch /tmp/ok; exec sleep 1000"];
    let db = cri.run(&pod, &ContainerRequest { name: "db", command: &command, annotations: &[QUICK], ..Default::default() });
    let web = cri.create(&pod, &ContainerRequest { name: "web", command: &command, ..Default::default() });
    let refusal = cri.try_start(&web).unwrap_err();
    assert!(refusal.message.contains(r#"annotations["web.hshim.dev/livenessProbe"].exec.comand"#), "{refusal}");
    assert_eq!((cri.status(&db).state, cri.status(&web).state), ("RUNNING", "EXITED"));
    assert!(cri.is_ready(&pod));
    cri.remove_pod(&pod);
    daemon.finish();
}
