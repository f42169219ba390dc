//! The real shim over real containers: runc's, and hshim's own where it has been built beside the shim.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is what these are for"
)]
#![allow(missing_docs, unreachable_pub, unused_crate_dependencies, reason = "a test program")]

#[path = "supervise/stage.rs"]
mod stage;

use std::fs;
use std::path::Path;
use std::time::Duration;

use hshim_health::control::{Ready, Reply, Request};
use hshim_health::status::{ContainerState, StopCause, TerminationReason};
use nix::sys::signal::Signal;

use stage::{Scene, Stage, cannot_run, runtimes, until};

fn says(text: &str) -> Reply {
    Reply::Refused { message: text.to_owned() }
}

#[tokio::test]
async fn a_container_that_fails_is_restarted_with_a_fresh_layer_and_its_pod_leaves_nothing_behind() {
    if cannot_run(false) {
        return;
    }
    for runtime in runtimes() {
        let script = "test -e /mark && echo stale; touch /mark; echo out; echo err >&2; test $$ = 1 && exit 3";
        let mut stage = Stage::set(&runtime, &Scene { script, ..Scene::default() });
        assert_eq!(stage.ready, Ready::Serving { pid: None });
        until("two lives have failed", || stage.container().is_some_and(|it| it.restart_count == 1 && it.state_is_waiting()));
        let before = stage.container().unwrap().last_termination.unwrap();
        assert_eq!((before.reason, before.exit.code), (TerminationReason::Error, 3));
        for run in [0, 1] {
            let mut log = stage.log(run);
            log.sort();
            assert_eq!(log, ["stderr F err", "stdout F out"], "{}: {}", runtime.display(), stage.shim_log());
        }
        assert_eq!(stage.shim_log(), "");
        stage.ends_without_trace().await;
    }
}

#[tokio::test]
async fn the_liveness_example_fails_is_killed_and_is_explained() {
    if cannot_run(true) {
        return;
    }
    for runtime in runtimes() {
        let script = "test -e /dev/shm; touch /tmp/healthy; sleep 1; rm /tmp/healthy; sleep 1000";
        let scene = Scene { script, liveness: &["cat", "/tmp/healthy"], ..Scene::default() };
        let mut stage = Stage::set(&runtime, &scene);
        until("it was restarted", || stage.is_running_again(1));
        let restart = stage.container().unwrap().last_restart.unwrap();
        assert!(restart.grace_exceeded, "the shell is pid 1 and ignores SIGTERM");
        assert!(matches!(restart.cause, StopCause::ProbeFailed { failures: 3, .. }), "{restart:?}");
        let events = stage.events();
        let unhealthy = "Unhealthy: Liveness probe failed: cat: can't open '/tmp/healthy': No such file or directory ×3";
        assert!(events.contains(&unhealthy.to_owned()), "{events:#?}");
        assert!(
            events.contains(&"Killing: Container main failed liveness probe, will be restarted ×1".to_owned()),
            "{events:#?}"
        );
        assert_eq!(stage.shim_log(), "");
        stage.ends_without_trace().await;
    }
}

#[tokio::test]
async fn a_probe_that_times_out_leaves_no_process_behind_and_one_without_a_command_is_an_error() {
    if cannot_run(true) {
        return;
    }
    for runtime in runtimes() {
        let forks = &["sh", "-c", "(sleep 777 & sleep 777 & sleep 777) & echo hi; sleep 777"];
        let mut stage = Stage::set(&runtime, &Scene { liveness: forks, ..Scene::default() });
        let expected = format!("Unhealthy: Liveness probe failed: command timed out: \"{}\" timed out after 1s", forks.join(" "));
        until("a probe timed out", || stage.events().iter().any(|event| event.starts_with(&expected)));
        let init = stage.pid().unwrap();
        let sleepers = || processes_in(init).into_iter().filter(|line| line.contains("777")).count();
        until("the probe's processes are gone", || sleepers() == 0);
        stage.ends_without_trace().await;
        let mut stage = Stage::set(&runtime, &Scene { liveness: &["nonsense"], ..Scene::default() });
        let expected = "Unhealthy: Liveness probe errored and resulted in unknown state: exec: \"nonsense\": executable file not found in $PATH";
        until("a probe could not be made", || stage.events().iter().any(|event| event.starts_with(expected)));
        stage.ends_without_trace().await;
    }
}

#[tokio::test]
async fn a_frozen_container_is_not_probed() {
    if cannot_run(true) {
        return;
    }
    for runtime in runtimes() {
        let script = "touch /tmp/healthy; exec sleep 1000";
        let mut stage = Stage::set(&runtime, &Scene { script, liveness: &["cat", "/tmp/healthy"], ..Scene::default() });
        let healthy = |stage: &Stage| stage.pid().map(|pid| format!("/proc/{pid}/root/tmp/healthy"));
        until("it is healthy", || healthy(&stage).is_some_and(|path| Path::new(&path).exists()));
        stage.freeze("FROZEN");
        fs::remove_file(healthy(&stage).unwrap()).unwrap();
        // Ten periods in which nothing may be said: absence has no condition to wait for.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(stage.events().len(), 3, "{:#?}", stage.events());
        stage.freeze("THAWED");
        until("it is probed again", || stage.events().iter().any(|event| event.starts_with("Unhealthy")));
        stage.ends_without_trace().await;
    }
}

#[tokio::test]
async fn nothing_of_a_life_survives_it_without_a_pid_namespace_either() {
    if cannot_run(false) {
        return;
    }
    for runtime in runtimes() {
        let script = "sleep 88888 & sleep 0.3; exit 1";
        let mut stage = Stage::set(&runtime, &Scene { script, host_pids: true, backoff: 60, ..Scene::default() });
        until("two lives have ended", || stage.container().is_some_and(|it| it.restart_count == 1 && it.state_is_waiting()));
        let alive = || {
            let pids = fs::read_dir("/proc").unwrap().flatten();
            pids.filter(|pid| fs::read(pid.path().join("cmdline")).is_ok_and(|line| line.ends_with(b"sleep\x0088888\0"))).count()
        };
        until("no child of it lives", || alive() == 0);
        stage.ends_without_trace().await;
    }
}

#[tokio::test]
async fn a_bundle_is_created_started_killed_and_deleted_through_its_shim() {
    if cannot_run(false) {
        return;
    }
    for runtime in runtimes() {
        let script = "trap 'echo bye; exit 5' TERM; echo hello; while :; do sleep 0.1; done";
        let mut stage = Stage::set(&runtime, &Scene { origin: "bundle", script, ..Scene::default() });
        let Ready::Serving { pid: Some(pid) } = stage.ready else { panic!("{:?}: {}", stage.ready, stage.shim_log()) };
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        assert_eq!(stage.ask(&Request::Start).await, Reply::Done);
        assert_eq!(stage.line(), "hello");
        assert_eq!(stage.pid(), Some(pid));
        let delete = Request::Delete { grace: None };
        let refused = format!("cannot delete container {} that is not stopped: running", stage.id);
        assert_eq!(stage.ask(&delete).await, says(&refused));
        assert_eq!(stage.ask(&Request::Kill { signal: 15, all: false }).await, Reply::Done);
        assert_eq!(stage.ask(&Request::Wait).await, Reply::Exited { code: 5 });
        assert_eq!(stage.line(), "bye");
        assert_eq!(stage.line(), "", "the reader sees the end although the shim is still there");
        assert_eq!(stage.ask(&delete).await, Reply::Done);
        stage.is_gone();
    }
}

#[tokio::test]
async fn the_second_life_of_a_bundle_writes_where_the_first_did() {
    if cannot_run(false) {
        return;
    }
    for runtime in runtimes() {
        let mut stage = Stage::set(&runtime, &Scene { origin: "bundle", script: "echo alive; exit 1", ..Scene::default() });
        assert_eq!(stage.ask(&Request::Start).await, Reply::Done);
        assert_eq!((stage.line(), stage.line()), ("alive".to_owned(), "alive".to_owned()));
        assert_eq!(stage.ask(&Request::Kill { signal: 9, all: false }).await, Reply::Done);
        assert_eq!(stage.ask(&Request::Wait).await, Reply::Exited { code: 1 });
        stage.ends_without_trace().await;
    }
}

#[tokio::test]
async fn a_bundle_that_cannot_be_created_says_why_and_leaves_nothing_behind() {
    if cannot_run(false) {
        return;
    }
    for runtime in runtimes() {
        let scene = Scene { origin: "bundle", script: "", memory: Some(1), ..Scene::default() };
        let mut stage = Stage::set(&runtime, &scene);
        let Ready::Failed { message } = stage.ready.clone() else { panic!("{:?}", stage.ready) };
        assert!(!message.is_empty());
        stage.is_gone();
    }
}

#[tokio::test]
async fn a_created_bundle_that_is_never_started_can_be_deleted() {
    if cannot_run(false) {
        return;
    }
    for runtime in runtimes() {
        let mut stage = Stage::set(&runtime, &Scene { origin: "bundle", ..Scene::default() });
        stage.ends_without_trace().await;
    }
}

#[tokio::test]
async fn a_container_that_runs_out_of_memory_is_said_to_have() {
    if cannot_run(false) {
        return;
    }
    for runtime in runtimes() {
        let script = "echo go; tail -c 200m /dev/zero; exit 1";
        let scene = Scene { script, memory: Some(16 << 20), backoff: 60, ..Scene::default() };
        let mut stage = Stage::set(&runtime, &scene);
        until("two lives have ended", || stage.container().is_some_and(|it| it.restart_count == 1 && it.state_is_waiting()));
        assert_eq!(stage.container().unwrap().last_termination.unwrap().reason, TerminationReason::OOMKilled);
        stage.ends_without_trace().await;
    }
}

#[tokio::test]
async fn signals_that_stop_a_service_do_not_stop_supervision() {
    if cannot_run(false) {
        return;
    }
    let mut stage = Stage::set(&runtimes()[0], &Scene::default());
    until("it runs", || stage.is_running_again(0));
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGPIPE] {
        stage.signal_shim(signal);
    }
    let first = stage.pid().unwrap();
    assert_eq!(stage.ask(&Request::Restart { container: "main".into() }).await, Reply::Done);
    until("it was restarted", || stage.pid().is_some_and(|pid| pid != first));
    stage.ends_without_trace().await;
}

#[tokio::test]
async fn when_the_shim_is_killed_the_container_and_its_output_go_on() {
    if cannot_run(false) {
        return;
    }
    let mut stage = Stage::set(&runtimes()[0], &Scene { script: "while :; do echo tick; sleep 0.05; done", ..Scene::default() });
    until("it writes", || !stage.log(0).is_empty() && stage.pid().is_some());
    let pid = stage.pid().unwrap();
    stage.signal_shim(Signal::SIGKILL);
    until("the shim is gone", || stage.shim_has_ended());
    let mut fifo = fs::File::options().read(true).write(true).open(stage.dir.container("main").join("stdout")).unwrap();
    let mut ticks = [0; 50];
    std::io::Read::read_exact(&mut fifo, &mut ticks).unwrap();
    assert!(ticks.starts_with(b"tick\n"));
    drop(fifo);
    assert!(Path::new(&format!("/proc/{pid}/root")).exists(), "it lives on");
    stage.clear_by_hand(pid);
}

#[tokio::test]
async fn a_full_disk_does_not_stop_supervision() {
    if cannot_run(false) {
        return;
    }
    let mut stage = Stage::set(&runtimes()[0], &Scene::default());
    until("it runs", || stage.is_running_again(0));
    let first = stage.pid().unwrap();
    // What cannot be written there: a draft whose name is taken by a directory that is not empty.
    for name in ["status.new", "state.new"] {
        fs::create_dir_all(stage.dir.0.join(name).join("x")).unwrap();
    }
    assert_eq!(stage.ask(&Request::Restart { container: "main".into() }).await, Reply::Done);
    until("it was said once", || stage.shim_log().contains("supervision goes on"));
    until("the first life is over", || !Path::new(&format!("/proc/{first}/root")).exists());
    for name in ["status.new", "state.new"] {
        fs::remove_dir_all(stage.dir.0.join(name)).unwrap();
    }
    // Whatever the next change is, it is written.
    until("it runs again", || stage.log(1).is_empty() && stage.has_another_process(first));
    assert_eq!(stage.shim_log().matches("status.json").count(), 1, "{}", stage.shim_log());
    stage.ends_without_trace().await;
}

/// The command lines of the processes in the pid namespace of a container.
fn processes_in(init: u32) -> Vec<String> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(&init.to_string());
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let inside = pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && namespace(pid) == wanted);
    inside.map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()).collect()
}

/// A status, asked what a test wants to know.
trait Asked {
    fn state_is_waiting(&self) -> bool;
}

impl<T> Asked for hshim_health::status::ContainerStatus<T> {
    fn state_is_waiting(&self) -> bool {
        matches!(self.state, ContainerState::Waiting { .. })
    }
}
