//! containerd's own shim for runc, told by `--runc-binary` to use another one.

use hshim_tests::containerd::{Daemon, Setting};
use hshim_tests::wait::until;

use super::runtimes;

/// Runs a check for each runtime, which the options of `ctr run` name.
fn for_each_runtime(check: fn(&Daemon, &[&str])) {
    for runtime in runtimes() {
        let Some(daemon) = Daemon::start_for(Setting::Tasks, "io.containerd.runc.v2") else { return };
        check(&daemon, &["--runc-binary", runtime.to_str().unwrap()]);
        daemon.finish();
    }
}

#[test]
fn run_hands_on_output_and_exit_code() {
    for_each_runtime(|daemon, options| {
        let options: Vec<&str> = ["--rm"].iter().chain(options).copied().collect();
        let finished = daemon.run("c1", &options, &["sh", "-c", "echo out; echo err >&2; exit 42"]);
        assert_eq!((finished.status, finished.stdout.as_str(), finished.stderr.as_str()), (42, "out\n", "err\n"));
    });
}

#[test]
fn the_error_of_the_runtime_is_shown_to_the_user() {
    for_each_runtime(|daemon, options| {
        let finished = daemon.run("c1", options, &["no-such-command"]);
        assert_ne!(finished.status, 0);
        let shown = finished.stderr.replace('\\', "");
        assert!(shown.contains("exec: \"no-such-command\": executable file not found in $PATH"), "{shown}");
    });
}

#[test]
fn a_task_is_entered_paused_resumed_killed_and_removed() {
    for_each_runtime(|daemon, options| {
        daemon.detach("c1", options, &["sh", "-c", "echo hello; sleep 1000"]);
        until("it speaks", || daemon.output("c1") == "hello\n");
        assert_eq!(daemon.exec("c1", &["sh", "-c", "echo inside; exit 5"]).stdout, "inside\n");
        daemon.ctr(&["task", "pause", "c1"]).ok();
        assert!(daemon.ctr(&["task", "ls"]).ok().contains("PAUSED"));
        daemon.ctr(&["task", "resume", "c1"]).ok();
        assert!(daemon.task("c1").unwrap().runs());
        daemon.ctr(&["task", "kill", "--signal", "SIGKILL", "c1"]).ok();
        assert_eq!(daemon.wait_stopped("c1"), 137);
        daemon.remove("c1");
    });
}

#[test]
fn a_task_that_takes_too_much_memory_is_killed() {
    for_each_runtime(|daemon, options| {
        if !std::path::Path::new("/sys/fs/cgroup/memory").exists() {
            return;
        }
        let options: Vec<&str> = ["--memory-limit", "16777216"].iter().chain(options).copied().collect();
        daemon.detach("c1", &options, &["sh", "-c", "x=x; while :; do x=$x$x; done"]);
        assert_eq!(daemon.wait_stopped("c1"), 137);
        daemon.remove("c1");
    });
}
