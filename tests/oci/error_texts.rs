//! What callers of runc look for in the JSON log when a verb fails: containerd and podman tell errors apart by these words.

use std::fs;

use hshim_tests::bundle::Bundle;
use hshim_tests::wait;

use crate::support::*;

/// The exit code of a failing verb, and the last error in its log.
fn failure(bundle: &Bundle, args: &[&str]) -> (Option<i32>, String) {
    let log = bundle.scratch.join("log");
    fs::write(&log, "").unwrap();
    let mut all = vec!["--log", log.to_str().unwrap(), "--log-format", "json"];
    all.extend(args);
    let output = bundle.runtime(&all);
    assert!(!output.status.success(), "{args:?}");
    let log = fs::read_to_string(log).unwrap();
    let mut lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = lines.find(|line| line["level"] == "error").unwrap_or_else(|| panic!("{args:?}: {log}"));
    (output.status.code(), last["msg"].as_str().unwrap().to_owned())
}

fn check(bundle: &Bundle, rows: &[(&[&str], i32, &str)]) {
    for (args, code, words) in rows {
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "ID" { bundle.id() } else { *arg }).collect();
        let (told, message) = failure(bundle, &args);
        assert_eq!(told, Some(*code), "{args:?}: {message}");
        assert!(message.contains(words), "{args:?}: {message}");
    }
}

#[test]
fn of_an_absent_container() {
    let bundle = bundle!("true");
    let absent = "container does not exist";
    check(
        &bundle,
        &[
            (&["state", "ID"], 1, absent),
            (&["start", "ID"], 1, absent),
            (&["kill", "ID"], 1, absent),
            (&["delete", "ID"], 1, absent),
            (&["pause", "ID"], 1, absent),
            (&["resume", "ID"], 1, absent),
            (&["exec", "ID", "true"], 255, absent),
            (&["update", "--pids-limit", "5", "ID"], 1, absent),
            (&["ps", "ID"], 1, absent),
            (&["events", "ID"], 1, absent),
        ],
    );
}

#[test]
fn of_a_running_and_a_paused_container() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    check(
        &bundle,
        &[
            (&["create", "ID"], 1, "container with given ID already exists"),
            (&["start", "ID"], 1, "cannot start an already running container"),
            (&["delete", "ID"], 1, "that is not stopped: running"),
            (&["resume", "ID"], 1, "container not paused"),
            (&["kill", "ID", "FOO"], 1, "unknown signal \"FOO\""),
            (&["exec", "ID", "nosuch"], 255, "exec: \"nosuch\": executable file not found in $PATH"),
            (&["exec", "ID", "/nosuch"], 255, "stat /nosuch: no such file or directory"),
            (&["exec", "--cwd", "/nosuch", "ID", "true"], 255, "\"/nosuch\""),
        ],
    );
    bundle.ok(&["pause", bundle.id()]);
    check(&bundle, &[(&["exec", "ID", "true"], 255, "cannot exec in a paused container (use --ignore-paused to override)")]);
    bundle.ok(&["resume", bundle.id()]);
}

#[test]
fn of_a_stopped_container() {
    let bundle = bundle!("true");
    bundle.run_detached();
    wait::until("it has ended", || bundle.status() == "stopped");
    check(
        &bundle,
        &[
            (&["kill", "ID"], 1, "container not running"),
            (&["start", "ID"], 1, "cannot start a container that has stopped"),
            (&["exec", "ID", "true"], 255, "cannot exec in a stopped container"),
            (&["pause", "ID"], 1, "container not running"),
            (&["resume", "ID"], 1, "container not paused"),
            (&["update", "--pids-limit", "5", "ID"], 1, "container not running"),
            (&["events", "--stats", "ID"], 1, "not running"),
        ],
    );
}

#[test]
fn of_a_container_that_cannot_be_made() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| config["process"]["args"] = json!(["nosuch"]));
    check(
        &bundle,
        &[
            (&["create", "ID"], 1, "unable to start container process: exec: \"nosuch\": executable file not found in $PATH"),
            (&["run", "ID"], 1, "exec: \"nosuch\": executable file not found in $PATH"),
            (&["create", "--bundle", "/no/such", "ID"], 1, "/no/such"),
        ],
    );
}
