//! What every call is answered in every phase of a supervised container, and what happens between the phases.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ttrpc::proto::Code;

use crate::messages::*;
use crate::shim::{Done, Scene, Shim, cannot_run, client_end, reads, runtimes, until};

const ALWAYS: (&str, &str) = ("hshim.dev/restartPolicy", "Always");
const LIVENESS: (&str, &str) =
    ("hshim.dev/livenessProbe", r#"{"exec":{"command":["test","-e","/tmp/ok"]},"failureThreshold":1}"#);
const QUICK: (&str, &str) = ("hshim.dev/supervision", r#"{"periodMilliseconds":100}"#);
const PATIENT: (&str, &str) = ("hshim.dev/terminationGracePeriodSeconds", "600");
const LONG: (&str, &str) = ("hshim.dev/backoff", r#"{"initialMilliseconds":600000,"capMilliseconds":600000}"#);
const DEAF: &str = "trap '' TERM HUP; touch /tmp/ok; echo life; while :; do sleep 0.05; done";

type Answered = Result<(), Code>;

const REFUSED: Answered = Err(Code::FAILED_PRECONDITION);

fn code<T>(answer: Result<T, (Code, String)>) -> Answered {
    answer.map(drop).map_err(|(code, _)| code)
}

/// The answers to Start, Pause, Resume, Kill with HUP, Exec's Start, Update, Stats, Delete.
async fn answers(shim: &Shim, phase: &str) -> [Answered; 8] {
    let request = shim.process("");
    let resources = Any { value: br#"{"pids":{"limit":77}}"#.to_vec(), ..Any::default() };
    let update = UpdateTaskRequest { id: shim.id.clone(), resources: Some(resources), ..UpdateTaskRequest::default() };
    let exec = match shim.exec(phase, "true", false).await {
        Ok(_) => code(shim.call::<StartResponse>("Start", &shim.process(phase)).await),
        Err((code, _)) => Err(code),
    };
    [
        code(shim.call::<StartResponse>("Start", &request).await),
        code(shim.call::<Done>("Pause", &request).await),
        code(shim.call::<Done>("Resume", &request).await),
        code(shim.kill(libc::SIGHUP).await),
        exec,
        code(shim.call::<Done>("Update", &update).await),
        code(shim.call::<StatsResponse>("Stats", &request).await),
        code(shim.call::<DeleteResponse>("Delete", &request).await),
    ]
}

/// To everybody it runs, as the process that it had last.
async fn seems_to_run(shim: &Shim, pid: u32) {
    let state = shim.state("").await;
    assert_eq!((state.status, state.pid, state.exited_at), (2, pid, None));
    let pids: PidsResponse = shim.call("Pids", &shim.process("")).await.unwrap();
    assert!(!pids.processes.is_empty());
    let connected: ConnectResponse = shim.call("Connect", &shim.process("")).await.unwrap();
    assert_eq!(connected.task_pid, pid);
    shim.call::<Done>("Shutdown", &shim.process("")).await.unwrap();
}

fn end(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn each_call_is_answered_in_each_phase_as_promised() {
    if cannot_run() {
        return;
    }
    let annotations = [ALWAYS, LIVENESS, QUICK, PATIENT, LONG];
    let mut shim = Shim::start(&runtimes()[0], &Scene { script: DEAF, annotations: &annotations, ..Scene::default() }).await;
    shim.hold_runtime();
    shim.create().await;
    let output = client_end(&shim.fifo("stdout"), false);
    let first = shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap().pid;
    reads(&output, "life\n").await;
    let running = answers(&shim, "running").await;
    assert_eq!(running, [REFUSED, Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), REFUSED]);
    seems_to_run(&shim, first).await;

    std::fs::remove_file(shim.bundle().join("rootfs/tmp/ok")).unwrap();
    until("it is being stopped", || shim.topics().contains(&"/hshim/restarting".to_owned())).await;
    let stopping = answers(&shim, "stopping").await;
    assert_eq!(stopping, [REFUSED, REFUSED, REFUSED, Ok(()), REFUSED, Ok(()), Ok(()), REFUSED]);
    seems_to_run(&shim, first).await;

    shim.hold("create");
    end(first);
    shim.until_held().await;
    let unavailable = Err(Code::UNAVAILABLE);
    let recreating = answers(&shim, "recreating").await;
    assert_eq!(recreating, [REFUSED, REFUSED, REFUSED, Ok(()), unavailable, Ok(()), Ok(()), REFUSED]);
    seems_to_run(&shim, first).await;
    shim.release("create");
    reads(&output, "life\n").await;
    until("it is told", || shim.topics().contains(&"/hshim/restarted".to_owned())).await;
    let second = shim.state("").await.pid;
    assert_ne!(second, first);
    let limits: Vec<String> =
        shim.cgroups().iter().filter_map(|(path, _)| std::fs::read_to_string(path.join("pids.max")).ok()).collect();
    assert!(limits.iter().all(|limit| limit == "77\n"), "{limits:?}");

    end(second);
    until("it backs off", || shim.topics().contains(&"/hshim/backing-off".to_owned())).await;
    let waiting = answers(&shim, "waiting").await;
    assert_eq!(waiting, [REFUSED, REFUSED, REFUSED, Ok(()), unavailable, Ok(()), Ok(()), REFUSED]);
    seems_to_run(&shim, second).await;

    shim.kill(libc::SIGTERM).await.unwrap();
    assert_eq!(shim.wait("").await, 137, "the true end");
    let state = shim.state("").await;
    assert_eq!((state.status, state.pid, state.exited_at.is_some()), (3, second, true));
    let pids: PidsResponse = shim.call("Pids", &shim.process("")).await.unwrap();
    assert!(pids.processes.is_empty());
    let ended = answers(&shim, "ended").await;
    let gone = Err(Code::NOT_FOUND);
    assert_eq!(ended[..6], [REFUSED, REFUSED, REFUSED, gone, REFUSED, REFUSED]);
    assert_eq!(ended[7], Ok(()));
    shim.ends_without_trace().await;
}

#[tokio::test]
async fn a_kill_while_the_next_life_is_created_is_the_end_and_no_life_begins() {
    if cannot_run() {
        return;
    }
    for all in [false, true] {
        let mut shim =
            Shim::start(&runtimes()[0], &Scene { script: "echo life; exit 9", annotations: &[ALWAYS], ..Scene::default() }).await;
        shim.hold_runtime();
        shim.create().await;
        let output = client_end(&shim.fifo("stdout"), false);
        shim.hold("create");
        shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap();
        reads(&output, "life\n").await;
        shim.until_held().await;
        let request = KillRequest { id: shim.id.clone(), signal: 15, all, ..KillRequest::default() };
        shim.call::<Done>("Kill", &request).await.unwrap();
        shim.release("create");
        assert_eq!(shim.wait("").await, 9, "the end of the only life");
        assert_eq!(std::io::Read::read(&mut &output, &mut [0; 16]).unwrap(), 0, "no other one has spoken");
        until("it is told once", || shim.topics().iter().filter(|topic| *topic == "/tasks/exit").count() == 1).await;
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn a_kill_does_not_wait_for_a_runtime_that_hangs() {
    if cannot_run() {
        return;
    }
    let mut shim = Shim::start(&runtimes()[0], &Scene { script: "exit 9", annotations: &[ALWAYS], ..Scene::default() }).await;
    shim.hold_runtime();
    shim.create().await;
    shim.hold("create");
    shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap();
    shim.until_held().await;
    let begin = std::time::Instant::now();
    shim.kill(libc::SIGKILL).await.unwrap();
    assert_eq!(shim.wait("").await, 9);
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
    shim.ends_without_trace().await;
}

#[tokio::test]
async fn a_shim_that_is_killed_while_the_next_life_is_created_leaves_nothing() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let mut shim = Shim::start(&runtime, &Scene { script: "exit 9", annotations: &[ALWAYS], ..Scene::default() }).await;
        shim.hold_runtime();
        shim.create().await;
        shim.hold("create");
        shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap();
        shim.until_held().await;
        let pid = shim.shim_pid().unwrap();
        end(pid);
        until("it is dead", || !crate::shim::lives(pid)).await;
        // The clean-up comes while the runtime still makes what nobody waits for any more.
        shim.release("create");
        shim.delete_binary();
        assert!(!runs(&shim));
        shim.nothing_is_left();
        std::fs::remove_dir_all(&shim.base).unwrap();
    }
}

/// Whether a command of the runtime runs.
fn runs(shim: &Shim) -> bool {
    let base = shim.base.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |path: std::path::PathBuf| std::fs::read(path.join("cmdline")).unwrap_or_default();
    entries.map(|entry| entry.path()).any(|path| String::from_utf8_lossy(&line(path)).contains(&format!("{base}/between")))
}

#[tokio::test]
async fn a_process_that_ends_before_start_returns_has_started_and_then_ended() {
    if cannot_run() {
        return;
    }
    for annotations in [&[][..], &[ALWAYS, LONG][..]] {
        let mut shim = Shim::start(&runtimes()[0], &Scene { script: "echo word; exit 7", annotations, ..Scene::default() }).await;
        shim.hold_runtime();
        let pid = shim.create().await;
        let output = client_end(&shim.fifo("stdout"), false);
        shim.hold("start");
        let request = shim.process("");
        let starting = async {
            let started = shim.call::<StartResponse>("Start", &request).await;
            assert_eq!(started.unwrap().pid, pid);
        };
        let releasing = async {
            shim.until_held().await;
            reads(&output, "word\n").await;
            until("it has ended", || !crate::shim::lives(pid)).await;
            assert_eq!(shim.state("").await.status, 1, "it is being started");
            shim.release("start");
        };
        tokio::join!(starting, releasing);
        if annotations.is_empty() {
            assert_eq!(shim.wait("").await, 7);
            until("it is told", || shim.topics().len() == 3).await;
            assert_eq!(shim.topics(), ["/tasks/create", "/tasks/start", "/tasks/exit"]);
        } else {
            until("it is started again, and then backs off", || shim.topics().contains(&"/hshim/backing-off".to_owned())).await;
        }
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn the_last_of_two_updates_during_a_start_is_the_one_that_holds() {
    if cannot_run() {
        return;
    }
    let mut shim = Shim::start(&runtimes()[0], &Scene { script: "exec sleep 1000", ..Scene::default() }).await;
    shim.hold_runtime();
    shim.create().await;
    shim.hold("start");
    let update = |limit: u32| {
        let resources = Any { value: format!(r#"{{"pids":{{"limit":{limit}}}}}"#).into_bytes(), ..Any::default() };
        UpdateTaskRequest { id: shim.id.clone(), resources: Some(resources), ..UpdateTaskRequest::default() }
    };
    let request = shim.process("");
    let (one, two) = (update(55), update(66));
    let updating = async {
        shim.until_held().await;
        let releasing = async { shim.release("start") };
        let (first, second, ()) =
            tokio::join!(biased; shim.call::<Done>("Update", &one), shim.call::<Done>("Update", &two), releasing);
        first.unwrap();
        second.unwrap();
    };
    let (started, ()) = tokio::join!(shim.call::<StartResponse>("Start", &request), updating);
    started.unwrap();
    let limits: Vec<String> =
        shim.cgroups().iter().filter_map(|(path, _)| std::fs::read_to_string(path.join("pids.max")).ok()).collect();
    assert!(!limits.is_empty() && limits.iter().all(|limit| limit == "66\n"), "{limits:?}");
    shim.ends_without_trace().await;
}
