//! A container that asks for health: its annotations, its script, and what tells its lives apart.

use std::fs;
use std::path::PathBuf;

use hshim_tests::containerd::{Daemon, Task, supervises};
use hshim_tests::wait::{for_value, until};

/// Says `alive` at the start of each life and is healthy while `/tmp/ok` is there; TERM ends it with 0, USR1 with 5.
pub const SCRIPT: &str = "touch /tmp/ok; trap 'exit 0' TERM; trap 'exit 5' USR1; echo alive; while :; do sleep 0.05; done";
/// Says `alive` and fails.
pub const FAILING: &str = "echo alive; exit 3";
/// The probe of [`SCRIPT`].
pub const LIVENESS: (&str, &str) =
    ("hshim.dev/livenessProbe", r#"{"exec":{"command":["test","-e","/tmp/ok"]},"failureThreshold":2,"timeoutSeconds":5}"#);
/// Probe five times a second.
pub const QUICK: (&str, &str) = ("hshim.dev/supervision", r#"{"periodMilliseconds":200}"#);
/// Restart after each end.
pub const ALWAYS: (&str, &str) = ("hshim.dev/restartPolicy", "Always");
/// A back-off that no test waits for.
pub const LONG: (&str, &str) = ("hshim.dev/backoff", r#"{"initialMilliseconds":600000,"capMilliseconds":600000}"#);

/// Whether the shim under test supervises; prints and counts the skip if not.
pub fn is_judged() -> bool {
    if !supervises() {
        hshim_tests::skip::note("the reference supervises nothing");
    }
    supervises()
}

/// `--annotation` for each.
pub fn options(annotations: &[(&str, &str)]) -> Vec<String> {
    annotations.iter().flat_map(|(key, value)| ["--annotation".to_owned(), format!("{key}={value}")]).collect()
}

/// Start a detached container with these annotations.
pub fn detach(daemon: &Daemon, id: &str, annotations: &[(&str, &str)], script: &str) -> Task {
    let options = options(annotations);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    daemon.detach(id, &options, &["sh", "-c", script])
}

/// How often the container has said `alive`.
pub fn lives(output: &str) -> usize {
    output.lines().filter(|line| line.ends_with("alive")).count()
}

/// Wait for life number `count`.
pub fn until_lives(daemon: &Daemon, id: &str, count: usize) {
    until(&format!("life {count} of {id}"), || lives(&daemon.output(id)) >= count);
}

/// A file in the container's root as it is now.
pub fn inside(task: Task, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{path}", task.pid))
}

/// Make [`SCRIPT`] unhealthy, from outside.
pub fn break_health(daemon: &Daemon, id: &str) {
    break_process(daemon.task(id).unwrap());
}

/// The same, when containerd is away.
pub fn break_process(task: Task) {
    until("it has made itself healthy", || fs::remove_file(inside(task, "/tmp/ok")).is_ok());
}

/// The task once it runs as another process than `before`; it has to say RUNNING, with a pid, all the time.
pub fn next_life(daemon: &Daemon, id: &str, before: Task) -> Task {
    for_value("the next life", || {
        let task = daemon.task(id).expect("the task is there all the time");
        assert!(task.runs() && task.pid > 0, "{task:?}");
        (task.pid != before.pid && fs::exists(format!("/proc/{}", task.pid)).unwrap()).then_some(task)
    })
}

/// Wait until the container has made a file.
pub fn until_file(task: Task, path: &str) {
    until(&format!("{path} is there"), || inside(task, path).exists());
}
