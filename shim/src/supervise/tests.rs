//! The loop in a scripted world whose clock jumps.

use hshim_health::input::{Exit, Outcome, RunNumber, StartStage};
use hshim_health::plan::{BackoffPlan, ContainerPlan, PodPlan, ProbeHandler, ProbePlan, RestartPolicy};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// What the scripted containers do.
#[derive(Clone, Debug)]
struct Script {
    start_takes: Vec<Duration>,
    start_fails: Option<&'static str>,
    /// None: the probe never answers.
    probe: Option<Outcome>,
    /// None: it ignores the signal.
    ends_on_signal: Option<i32>,
}

struct ScriptedWorld {
    begin: Instant,
    script: Script,
    report: mpsc::UnboundedSender<Happening>,
    happenings: mpsc::UnboundedReceiver<Happening>,
    timeline: mpsc::UnboundedSender<String>,
    runs: Vec<Option<RunNumber>>,
}

impl ScriptedWorld {
    fn write(&self, line: &str) {
        drop(self.timeline.send(format!("{} {line}", self.begin.elapsed().as_secs())));
    }

    fn later(&self, wait: Duration, happening: Happening) {
        let report = self.report.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            drop(report.send(happening));
        });
    }

    fn exit(&mut self, container: ContainerIndex, signal: i32) {
        if let Some(run) = self.runs[container.0].take() {
            let exit = Exit { code: 128 + signal, signal: Some(signal), oom_killed: false };
            self.later(Duration::ZERO, Happening::Input(Input::Exited { container, run, exit }));
        }
    }

    fn start(&mut self, container: ContainerIndex, run: RunNumber) {
        self.write(&format!("start {} run {}", container.0, run.0));
        let input = match self.script.start_fails {
            Some(message) => Input::StartFailed { container, run, stage: StartStage::Start, message: message.to_owned() },
            None => {
                self.runs[container.0] = Some(run);
                Input::Started { container, run, pid: 7 }
            }
        };
        self.later(self.script.start_takes[container.0], Happening::Input(input));
    }
}

impl World for ScriptedWorld {
    fn now(&self) -> Moment {
        Moment::since_boot(self.begin.elapsed())
    }

    async fn next(&mut self, deadline: Option<Moment>) -> Happening {
        let until = deadline.map(|moment| self.begin + moment.as_duration());
        tokio::select! {
            biased;
            Some(happening) = self.happenings.recv() => happening,
            () = tokio::time::sleep_until(until.unwrap_or(self.begin)), if until.is_some() => Happening::Deadline,
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { container, run } => self.start(container, run),
            Action::Probe { container, run, probe, attempt, .. } => {
                if let Some(outcome) = self.script.probe.clone() {
                    let input = Input::Probed { container, run, probe, attempt, outcome };
                    self.later(Duration::ZERO, Happening::Input(input));
                }
            }
            Action::Terminate { container, signal, .. } => {
                self.write(&format!("terminate {} with {signal}", container.0));
                if self.script.ends_on_signal.is_some() {
                    self.exit(container, signal);
                }
            }
            Action::Kill { container, .. } => {
                self.write(&format!("kill {}", container.0));
                self.exit(container, libc::SIGKILL);
            }
            Action::Record(_) | Action::Publish(_) => {}
            Action::Finish => self.write("finish"),
        }
    }

    fn remember(&mut self, _supervisor: &Supervisor) {
        self.write("remember");
    }

    fn let_go(&mut self) {}

    fn signal(&mut self, container: ContainerIndex, signal: i32, _reach: Reach) -> bool {
        self.write(&format!("signal {} with {signal}", container.0));
        let reached = self.runs[container.0].is_some();
        if self.script.ends_on_signal == Some(signal) {
            self.exit(container, signal);
        }
        reached
    }
}

struct Stage {
    report: mpsc::UnboundedSender<Happening>,
    timeline: mpsc::UnboundedReceiver<String>,
    task: tokio::task::JoinHandle<Ending>,
}

impl Stage {
    fn set(origin: Origin, policy: RestartPolicy, script: Script) -> Self {
        Self::set_to(Stay::UntilDeleted, origin, policy, script)
    }

    fn set_to(stay: Stay, origin: Origin, policy: RestartPolicy, script: Script) -> Self {
        let (report, happenings) = mpsc::unbounded_channel();
        let (write, timeline) = mpsc::unbounded_channel();
        let runs = vec![None; script.start_takes.len()];
        let begin = Instant::now();
        let supervisor = Supervisor::new(plan(origin, policy, runs.len()), Moment::BOOT);
        let world = ScriptedWorld { begin, script, report: report.clone(), happenings, timeline: write, runs };
        let task = tokio::spawn(async move { Loop::new(supervisor, world, stay).run().await });
        Self { report, timeline, task }
    }

    fn ask(&self, request: Request) -> oneshot::Receiver<Reply> {
        let (answer, reply) = oneshot::channel();
        self.report.send(Happening::Asked(Question { request, answer })).unwrap();
        reply
    }

    async fn line(&mut self) -> String {
        self.timeline.recv().await.unwrap()
    }

    async fn until(&mut self, wanted: &str) {
        while self.line().await != wanted {}
    }

    /// What has been written so far, without the memory.
    fn so_far(&mut self) -> Vec<String> {
        let mut lines: Vec<String> = std::iter::from_fn(|| self.timeline.try_recv().ok()).collect();
        lines.retain(|line| !line.ends_with("remember"));
        lines
    }
}

fn plan(origin: Origin, restart_policy: RestartPolicy, containers: usize) -> PodPlan {
    let liveness = ProbePlan {
        handler: ProbeHandler::Exec { command: vec!["true".into()] },
        initial_delay: Duration::ZERO,
        period: 10 * SECOND,
        timeout: SECOND,
        success_threshold: 1,
        failure_threshold: 3,
        termination_grace: None,
    };
    let container = |n| ContainerPlan {
        name: format!("c{n}"),
        image: String::new(),
        restart_policy,
        startup: None,
        liveness: Some(liveness.clone()),
        readiness: None,
        backoff: BackoffPlan::KUBERNETES,
        errors_count_as_failures: false,
        stop_signal: libc::SIGTERM,
    };
    PodPlan {
        name: "web".into(),
        namespace: "default".into(),
        uid: "u".into(),
        origin,
        termination_grace: 30 * SECOND,
        containers: (0..containers).map(container).collect(),
    }
}

fn healthy() -> Script {
    Script {
        start_takes: vec![Duration::ZERO],
        start_fails: None,
        probe: Some(Outcome::Success),
        ends_on_signal: Some(libc::SIGTERM),
    }
}

fn says(text: &str) -> Reply {
    Reply::Refused { message: text.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_of_one_container_does_not_hold_up_the_health_of_another() {
    let script = Script {
        start_takes: vec![100 * SECOND, Duration::ZERO],
        probe: Some(Outcome::Failure("no".into())),
        ends_on_signal: None,
        ..healthy()
    };
    let mut stage = Stage::set(Origin::Manifest, RestartPolicy::Always, script);
    stage.until("50 start 1 run 1").await;
    assert!(!stage.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_answers_does_not_keep_the_pod_from_being_deleted() {
    let script = Script { probe: None, ..healthy() };
    let mut stage = Stage::set(Origin::Manifest, RestartPolicy::Always, script);
    tokio::time::sleep(SECOND).await;
    assert_eq!(stage.ask(Request::Delete { grace: None }).await.unwrap(), Reply::Done);
    assert_eq!((&mut stage.task).await.unwrap(), Ending::Deleted);
    assert_eq!(stage.so_far(), ["0 start 0 run 0", "1 terminate 0 with 15", "1 finish"]);
}

#[tokio::test(start_paused = true)]
async fn a_shim_that_a_caller_waits_for_ends_as_the_container_finally_did() {
    let mut stage = Stage::set_to(Stay::UntilContainerEnds, Origin::Bundle, RestartPolicy::Always, healthy());
    assert_eq!(stage.ask(Request::Start).await.unwrap(), Reply::Done);
    let wait = stage.ask(Request::Wait);
    assert_eq!(stage.ask(Request::Kill { signal: libc::SIGTERM, all: false }).await.unwrap(), Reply::Done);
    assert_eq!(wait.await.unwrap(), Reply::Exited { code: 143 });
    assert_eq!((&mut stage.task).await.unwrap(), Ending::Handed(143));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ignores_the_stop_signal_is_killed_after_its_grace() {
    let script = Script { ends_on_signal: None, ..healthy() };
    let mut stage = Stage::set(Origin::Manifest, RestartPolicy::Always, script);
    tokio::time::sleep(SECOND).await;
    let wait = stage.ask(Request::Wait);
    assert_eq!(stage.ask(Request::Delete { grace: None }).await.unwrap(), Reply::Done);
    assert_eq!(wait.await.unwrap(), Reply::Exited { code: 137 });
    assert_eq!((&mut stage.task).await.unwrap(), Ending::Deleted);
    assert_eq!(stage.so_far(), ["0 start 0 run 0", "1 terminate 0 with 15", "31 kill 0", "31 finish"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_new_shim_would_need_is_kept_before_anything_is_begun() {
    let mut stage = Stage::set(Origin::Manifest, RestartPolicy::Always, healthy());
    assert_eq!(stage.line().await, "0 remember");
    assert_eq!(stage.line().await, "0 start 0 run 0");
}

#[tokio::test(start_paused = true)]
async fn a_healthy_day_changes_nothing() {
    let mut stage = Stage::set(Origin::Manifest, RestartPolicy::Always, healthy());
    tokio::time::sleep(100 * SECOND).await;
    stage.so_far();
    tokio::time::sleep(86_400 * SECOND).await;
    assert!(stage.timeline.is_empty(), "nothing is remembered, published or done");
}

#[tokio::test(start_paused = true)]
async fn a_bundle_waits_to_be_started_and_the_answer_comes_when_it_runs() {
    let script = Script { start_takes: vec![3 * SECOND], ..healthy() };
    let mut stage = Stage::set(Origin::Bundle, RestartPolicy::AfterProbeKill, script);
    tokio::time::sleep(SECOND).await;
    assert_eq!(stage.so_far(), [""; 0]);
    let begin = Instant::now();
    let start = stage.ask(Request::Start);
    let again = stage.ask(Request::Start);
    assert_eq!(again.await.unwrap(), says("cannot start an already running container"));
    assert_eq!(start.await.unwrap(), Reply::Done);
    assert_eq!(begin.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_cannot_be_started_says_why_in_the_runtimes_words() {
    let script = Script { start_fails: Some("exec: \"foo\": not found"), ..healthy() };
    let stage = Stage::set(Origin::Bundle, RestartPolicy::AfterProbeKill, script);
    assert_eq!(stage.ask(Request::Start).await.unwrap(), says("exec: \"foo\": not found"));
    assert_eq!(stage.ask(Request::Start).await.unwrap(), says("cannot start a container that has stopped"));
    assert_eq!(stage.ask(Request::Wait).await.unwrap(), Reply::Exited { code: 128 });
}

#[tokio::test(start_paused = true)]
async fn a_terminating_kill_of_a_bundle_is_forwarded_as_given_and_nothing_follows_it() {
    let script = Script { ends_on_signal: Some(libc::SIGKILL), ..healthy() };
    let mut stage = Stage::set(Origin::Bundle, RestartPolicy::Always, script);
    assert_eq!(stage.ask(Request::Start).await.unwrap(), Reply::Done);
    let wait = stage.ask(Request::Wait);
    let kill = |signal| Request::Kill { signal, all: false };
    assert_eq!(stage.ask(kill(libc::SIGUSR1)).await.unwrap(), Reply::Done);
    assert_eq!(stage.ask(kill(libc::SIGINT)).await.unwrap(), Reply::Done);
    tokio::time::sleep(1000 * SECOND).await;
    assert_eq!(stage.so_far(), ["0 start 0 run 0", "0 signal 0 with 10", "0 signal 0 with 2"]);
    let delete = || Request::Delete { grace: None };
    assert_eq!(stage.ask(delete()).await.unwrap(), says("cannot delete container web that is not stopped: running"));
    assert_eq!(stage.ask(kill(libc::SIGKILL)).await.unwrap(), Reply::Done);
    assert_eq!(wait.await.unwrap(), Reply::Exited { code: 137 });
    assert_eq!(stage.ask(kill(libc::SIGKILL)).await.unwrap(), says("container not running"));
    assert_eq!(stage.ask(delete()).await.unwrap(), Reply::Done);
    assert_eq!((&mut stage.task).await.unwrap(), Ending::Deleted);
}

#[tokio::test(start_paused = true)]
async fn an_exit_of_a_bundle_that_only_has_probes_is_handed_on_and_the_shim_stays_until_delete() {
    let mut stage = Stage::set(Origin::Bundle, RestartPolicy::AfterProbeKill, healthy());
    assert_eq!(stage.ask(Request::Start).await.unwrap(), Reply::Done);
    let exit = Exit { code: 3, signal: None, oom_killed: false };
    let exited = Input::Exited { container: FIRST, run: RunNumber(0), exit };
    stage.report.send(Happening::Input(exited)).unwrap();
    assert_eq!(stage.ask(Request::Wait).await.unwrap(), Reply::Exited { code: 3 });
    tokio::time::sleep(1000 * SECOND).await;
    assert!(!stage.task.is_finished());
    assert_eq!(stage.ask(Request::Delete { grace: None }).await.unwrap(), Reply::Done);
    assert_eq!((&mut stage.task).await.unwrap(), Ending::Deleted);
}

#[tokio::test(start_paused = true)]
async fn a_kill_in_back_off_ends_the_supervision_of_a_bundle() {
    let stage = Stage::set(Origin::Bundle, RestartPolicy::Always, healthy());
    assert_eq!(stage.ask(Request::Start).await.unwrap(), Reply::Done);
    for run in 0..2 {
        let exit = Exit { code: 1, signal: None, oom_killed: false };
        let exited = Input::Exited { container: FIRST, run: RunNumber(run), exit };
        stage.report.send(Happening::Input(exited)).unwrap();
        tokio::time::sleep(SECOND).await;
    }
    let refused = stage.ask(Request::Delete { grace: None }).await.unwrap();
    assert!(matches!(refused, Reply::Refused { message } if message.contains("it will be restarted")));
    // The process is gone, but a restart was to come.
    let kill = Request::Kill { signal: libc::SIGTERM, all: false };
    assert_eq!(stage.ask(kill).await.unwrap(), Reply::Done);
    assert_eq!(stage.ask(Request::Wait).await.unwrap(), Reply::Exited { code: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_created_bundle_that_is_killed_before_its_start_has_ended() {
    let stage = Stage::set(Origin::Bundle, RestartPolicy::Always, healthy());
    drop(stage.ask(Request::Kill { signal: libc::SIGKILL, all: false }).await);
    let wait = stage.ask(Request::Wait);
    stage.report.send(Happening::UnstartedEnded).unwrap();
    assert_eq!(wait.await.unwrap(), Reply::Exited { code: 137 });
    assert_eq!(stage.ask(Request::Start).await.unwrap(), says("cannot start a container that has stopped"));
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_asked_for_by_name() {
    let mut stage = Stage::set(Origin::Manifest, RestartPolicy::Always, healthy());
    tokio::time::sleep(SECOND).await;
    let unknown = stage.ask(Request::Restart { container: "db".into() });
    assert_eq!(unknown.await.unwrap(), says("pod web has no container named db"));
    assert_eq!(stage.ask(Request::Restart { container: "c0".into() }).await.unwrap(), Reply::Done);
    stage.until("1 start 0 run 1").await;
    assert_eq!(stage.ask(Request::Start).await.unwrap(), says("a pod made by apply starts by itself"));
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_could_not_be_created_ends_the_loop() {
    let stage = Stage::set(Origin::Bundle, RestartPolicy::Always, healthy());
    stage.report.send(Happening::Doomed).unwrap();
    assert_eq!(stage.task.await.unwrap(), Ending::Doomed);
}
