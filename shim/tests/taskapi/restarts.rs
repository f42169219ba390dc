//! Restarts in place, which a client does not notice.

use std::time::Duration;

use crate::messages::*;
use crate::shim::{Done, Scene, Shim, cannot_run, client_end, reads, runtimes, until};

const LIVENESS: (&str, &str) =
    ("hshim.dev/livenessProbe", r#"{"exec":{"command":["cat","/tmp/healthy"]},"periodSeconds":1,"failureThreshold":1}"#);
const GRACE: (&str, &str) = ("hshim.dev/terminationGracePeriodSeconds", "0");

#[tokio::test]
async fn an_unhealthy_container_goes_on_in_the_same_task() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let script = "trap 'exit 1' TERM; echo life; touch /tmp/healthy; while :; do sleep 0.1; done";
        let file = ("hshim.dev/supervision", r#"{"statusFile":"/tmp/ready"}"#);
        let shim = Shim::start(&runtime, &Scene { script, annotations: &[LIVENESS, GRACE, file], ..Scene::default() }).await;
        shim.create().await;
        let output = client_end(&shim.fifo("stdout"), false);
        let first = shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap().pid;
        reads(&output, "life\n").await;
        let ready = shim.bundle().join("rootfs/tmp/ready");
        until("the container reads that it is ready", || ready.exists()).await;
        let resources = Any { value: br#"{"pids":{"limit":77}}"#.to_vec(), ..Any::default() };
        let update = UpdateTaskRequest { id: shim.id.clone(), resources: Some(resources), ..UpdateTaskRequest::default() };
        shim.call::<Done>("Update", &update).await.unwrap();
        std::fs::remove_file(shim.bundle().join("rootfs/tmp/healthy")).unwrap();
        let request = shim.process("");
        let waiting = shim.call::<WaitResponse>("Wait", &request);
        let looking = the_next_process(&shim, first);
        let second = tokio::select! {
            ended = waiting => panic!("Wait must pend: {ended:?}"),
            second = looking => second,
        };
        reads(&output, "life\n").await;
        assert!(std::fs::read_to_string(format!("/proc/{second}/cgroup")).unwrap().contains(&shim.id));
        let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let limit = format!("/sys/fs/cgroup/{}{}/pids.max", if unified { "" } else { "pids/" }, shim.id);
        assert_eq!(std::fs::read_to_string(limit).unwrap(), "77\n", "the last update holds");
        shim.exec("e", "echo again", false).await.unwrap();
        let again = client_end(&shim.fifo("e-out"), false);
        shim.call::<StartResponse>("Start", &shim.process("e")).await.unwrap();
        reads(&again, "again\n").await;
        shim.kill(libc::SIGTERM).await.unwrap();
        assert_eq!(shim.wait("").await, 1, "a terminating signal is the end");
        until("the end is told", || shim.topics().last().is_some_and(|topic| topic == "/tasks/exit")).await;
        let expected = ["/hshim/unhealthy", "/hshim/restarting", "/hshim/restarted"];
        let own: Vec<String> = shim.topics().into_iter().filter(|topic| topic.starts_with("/hshim/")).collect();
        assert_eq!(own, expected);
        let exit = shim.events.lock().unwrap().last().unwrap().1.clone();
        assert_eq!((exit.pid, exit.status), (second, 1), "one exit, of the last process");
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn the_cgroup_and_its_counters_go_on_through_restarts_and_poststop_hooks_are_run() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        for with_hook in [false, true] {
            let annotations = [("hshim.dev/restartPolicy", "Always")];
            let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo life; exec sleep 1000";
            let shim = Shim::start(&runtime, &Scene { script, annotations: &annotations, ..Scene::default() }).await;
            let ran = shim.base.join("ran");
            if with_hook {
                let config = shim.bundle().join("config.json");
                let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
                let script = format!("echo once >> {}", ran.display());
                spec["hooks"] = serde_json::json!({"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
                std::fs::write(&config, spec.to_string()).unwrap();
            }
            shim.create().await;
            let output = client_end(&shim.fifo("stdout"), false);
            let first = shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap().pid;
            reads(&output, "life\n").await;
            let (cgroups, used) = (shim.cgroups(), shim.processor_time());
            assert!(!cgroups.is_empty());
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(first.cast_signed()), nix::sys::signal::Signal::SIGKILL).unwrap();
            the_next_process(&shim, first).await;
            let is_hshim = runtime.ends_with("hshim");
            if is_hshim || !with_hook {
                assert_eq!(shim.cgroups(), cgroups, "{runtime}: each is the same one");
                assert!(shim.processor_time() >= used, "{runtime}: and counts on");
            }
            assert_eq!(ran.exists(), with_hook, "{runtime}");
            shim.ends_without_trace().await;
        }
    }
}

/// Looks at the task all the time until another process runs: to every look it runs.
async fn the_next_process(shim: &Shim, first: u32) -> u32 {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let state = shim.state("").await;
        assert_eq!(state.status, 2, "{}: it runs all the time", shim.runtime);
        assert_ne!(state.pid, 0);
        let pids: PidsResponse = shim.call("Pids", &shim.process("")).await.unwrap();
        assert!(!pids.processes.is_empty());
        if state.pid != first && shim.topics().contains(&"/hshim/restarted".to_owned()) {
            return state.pid;
        }
        assert!(tokio::time::Instant::now() < deadline, "no restart: {:?}", shim.topics());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn restarts_are_bounded_and_then_the_true_exit_goes_out() {
    if cannot_run() {
        return;
    }
    let budget = ("hshim.dev/supervision", r#"{"restartBudget":{"restarts":2,"withinMilliseconds":600000}}"#);
    let annotations = [("hshim.dev/restartPolicy", "Always"), budget];
    let shim = Shim::start(&runtimes()[0], &Scene { script: "exit 9", annotations: &annotations, ..Scene::default() }).await;
    shim.run().await;
    assert_eq!(shim.wait("").await, 9);
    until("it is told", || shim.topics().contains(&"/tasks/exit".to_owned())).await;
    let count = |topic: &str| shim.topics().iter().filter(|it| *it == topic).count();
    assert_eq!((count("/hshim/restarted"), count("/hshim/gave-up"), count("/tasks/exit")), (2, 1, 1));
    shim.ends_without_trace().await;
}

#[tokio::test]
async fn a_terminating_signal_in_back_off_is_the_end_at_once() {
    if cannot_run() {
        return;
    }
    let backoff = ("hshim.dev/backoff", r#"{"initialMilliseconds":500000,"capMilliseconds":500000}"#);
    let annotations = [("hshim.dev/restartPolicy", "Always"), backoff];
    let shim = Shim::start(&runtimes()[0], &Scene { script: "exit 9", annotations: &annotations, ..Scene::default() }).await;
    shim.run().await;
    until("it backs off", || shim.topics().contains(&"/hshim/backing-off".to_owned())).await;
    let state = shim.state("").await;
    assert_eq!(state.status, 2);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", state.pid)).unwrap();
    assert!(stat.contains(") Z "), "its process id stays its own: {stat}");
    let pids: PidsResponse = shim.call("Pids", &shim.process("")).await.unwrap();
    assert_eq!(pids.processes[0].pid, state.pid);
    shim.exec("e", "true", false).await.unwrap();
    let refused = shim.call::<StartResponse>("Start", &shim.process("e")).await.unwrap_err();
    assert_eq!(refused.0, ttrpc::proto::Code::UNAVAILABLE);
    assert_eq!(
        shim.call::<DeleteResponse>("Delete", &shim.process("")).await.unwrap_err().0,
        ttrpc::proto::Code::FAILED_PRECONDITION
    );
    shim.kill(libc::SIGHUP).await.unwrap();
    assert_eq!(shim.state("").await.status, 2, "another signal changes nothing");
    shim.kill(libc::SIGTERM).await.unwrap();
    assert_eq!(shim.wait("").await, 9);
    assert_eq!(shim.state("").await.status, 3);
    shim.ends_without_trace().await;
}

#[tokio::test]
async fn a_kubelet_that_owns_restarts_gets_every_exit() {
    if cannot_run() {
        return;
    }
    let owner = ("hshim.dev/supervision", r#"{"restartOwner":"kubelet"}"#);
    let script = "trap 'exit 3' TERM; while :; do sleep 0.1; done";
    let shim = Shim::start(&runtimes()[0], &Scene { script, annotations: &[LIVENESS, owner], ..Scene::default() }).await;
    shim.run().await;
    assert_eq!(shim.wait("").await, 3, "the probe killed it, nobody here starts it again");
    shim.ends_without_trace().await;
}

#[tokio::test]
async fn a_lack_of_memory_is_held_against_the_container_only_when_it_is_the_end() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let budget = ("hshim.dev/supervision", r#"{"restartBudget":{"restarts":1,"withinMilliseconds":600000}}"#);
        let annotations = [("hshim.dev/restartPolicy", "Always"), budget];
        let scene = Scene { script: "tail /dev/zero", annotations: &annotations, memory: Some(16 << 20), ..Scene::default() };
        let shim = Shim::start(&runtime, &scene).await;
        // The mount of /dev is empty.
        std::fs::create_dir_all(shim.bundle().join("rootfs/dev")).unwrap();
        shim.run().await;
        assert_eq!(shim.wait("").await, 137);
        until("the end is told", || shim.topics().contains(&"/tasks/exit".to_owned())).await;
        let topics = shim.topics();
        let position = |topic: &str| topics.iter().position(|it| it == topic);
        assert_eq!(topics.iter().filter(|it| *it == "/tasks/oom").count(), 1, "{topics:?}");
        assert!(position("/hshim/oom") < position("/hshim/restarting") && position("/hshim/oom").is_some(), "{topics:?}");
        assert!(position("/hshim/restarted") < position("/tasks/oom"), "{topics:?}");
        assert!(position("/tasks/oom") < position("/tasks/exit"), "{topics:?}");
        shim.ends_without_trace().await;
    }
}
