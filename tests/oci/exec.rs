//! exec: a further process is like the container's own, and in its namespaces.

use std::fs;
use std::process::Command;

use hshim_tests::bundle::Bundle;
use hshim_tests::programs::soft_limit_of_files;
use hshim_tests::wait;

use crate::support::*;

/// A running container with something to recognise in every part of its identity.
fn distinctive() -> Bundle {
    let mut bundle = Bundle::new("sleep 1000");
    bundle.edit(|config| {
        let process = &mut config["process"];
        process["user"] = json!({"uid": 1000, "gid": 1001, "umask": 0o077, "additionalGids": [7, 8]});
        process["cwd"] = json!("/tmp");
        push(&mut process["env"], json!("OF_THE_CONTAINER=1"));
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": soft_limit_of_files(99, 100), "hard": 100}]);
        process["oomScoreAdj"] = json!(654);
    });
    bundle.run_detached();
    bundle
}

#[test]
fn its_output_and_exit_code_are_the_callers() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let output = bundle.runtime(&["exec", bundle.id(), "sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(output.status.code(), Some(42));
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("out\n", "err\n"));
}

#[test]
fn its_input_is_the_callers() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    fs::write(bundle.scratch.join("input"), "input\n").unwrap();
    let output = bundle
        .command(&["exec", bundle.id(), "cat"])
        .stdin(fs::File::open(bundle.scratch.join("input")).unwrap())
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "input\n", "{}", stderr(&output));
}

#[test]
fn it_is_in_the_containers_namespaces() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    for namespace in ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user"] {
        let init = fs::read_link(format!("/proc/{}/ns/{namespace}", bundle.pid())).unwrap();
        let link = format!("/proc/self/ns/{namespace}");
        assert_eq!(bundle.exec(&[bundle.id(), "readlink", &link]), init.display().to_string());
    }
}

#[test]
fn it_is_the_containers_user_unless_told_otherwise() {
    needs_containers!();
    let bundle = distinctive();
    assert_eq!(bundle.exec(&[bundle.id(), "sh", "-c", "id -u; id -g; pwd; echo $OF_THE_CONTAINER"]), "1000\n1001\n/tmp\n1");
}

#[test]
fn it_has_the_containers_umask() {
    only_hshim!("runc 1.1 has no umask for exec");
    needs_containers!();
    let bundle = distinctive();
    assert_eq!(bundle.exec(&[bundle.id(), "sh", "-c", "umask"]), "0077");
}

#[test]
fn it_has_the_containers_limits() {
    needs_containers!();
    let bundle = distinctive();
    let soft = soft_limit_of_files(99, 100);
    let said = bundle.exec(&[bundle.id(), "sh", "-c", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj"]);
    assert_eq!(said, format!("{soft}\n100\n654"));
}

#[test]
fn it_has_the_containers_groups() {
    needs_containers!();
    let bundle = distinctive();
    let groups = bundle.exec(&[bundle.id(), "grep", "Groups", "/proc/self/status"]);
    assert_eq!(groups.split_whitespace().collect::<Vec<_>>(), ["Groups:", "7", "8"]);
}

#[test]
fn it_has_the_containers_capabilities_and_no_new_privileges() {
    let bundle = bundle!("grep -E '^(Cap|NoNew)' /proc/self/status; sleep 1000");
    bundle.run_detached();
    wait::until("the container speaks", || bundle.stdout().contains("NoNew"));
    assert_eq!(bundle.exec(&[bundle.id(), "grep", "-E", "^(Cap|NoNew)", "/proc/self/status"]), bundle.stdout().trim_end());
}

#[test]
fn only_the_standard_streams_are_open() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let output = through_shell(&bundle, "exec \"$@\" 7</etc/passwd", &["exec", bundle.id(), "ls", "/proc/self/fd"]);
    assert_eq!(stdout(&output).split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{}", stderr(&output));
}

#[test]
fn a_command_that_is_not_found_is_code_255_and_told() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let output = bundle.runtime(&["exec", bundle.id(), "no-such-command"]);
    assert_eq!(output.status.code(), Some(255));
    assert!(stderr(&output).contains("executable file not found in $PATH"), "{}", stderr(&output));
}

#[test]
fn a_command_that_is_killed_is_128_and_the_signal() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let output = bundle.runtime(&["exec", bundle.id(), "sh", "-c", "kill -KILL $$"]);
    assert_eq!(output.status.code(), Some(137));
}

#[test]
fn exec_without_a_command_is_refused() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let output = bundle.runtime(&["exec", bundle.id()]);
    assert!(!output.status.success());
}

#[test]
fn exec_in_an_absent_container_is_refused() {
    let bundle = bundle!("true");
    let output = bundle.runtime(&["exec", bundle.id(), "true"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("does not exist"), "{}", stderr(&output));
}

#[test]
fn exec_in_a_stopped_container_is_refused() {
    let bundle = bundle!("true");
    bundle.run_detached();
    await_status(&bundle, "stopped");
    let output = bundle.runtime(&["exec", bundle.id(), "true"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("cannot exec in a stopped container"), "{}", stderr(&output));
}

#[test]
fn exec_in_a_created_container_works() {
    let bundle = bundle!("sleep 1000");
    bundle.create();
    assert_eq!(bundle.exec(&[bundle.id(), "hostname"]), "busybox");
    assert_eq!(bundle.status(), "created");
}

#[test]
fn the_commands_own_flags_are_its_own() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    assert_eq!(bundle.exec(&[bundle.id(), "echo", "-e", "-t", "--user", "--", "-x"]), "-t --user -- -x");
}

#[test]
fn signals_are_passed_on() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let script = "trap 'exit 9' TERM; echo > /ready; while :; do sleep 0.05; done";
    let mut exec = bundle.command(&["exec", bundle.id(), "sh", "-c", script]).spawn().unwrap();
    wait::until("the trap is set", || bundle.rootfs().join("ready").exists());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(exec.id().cast_signed()), nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(exec.wait().unwrap().code(), Some(9));
}

#[test]
fn a_command_may_leave_processes_behind() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    bundle.exec(&[bundle.id(), "sh", "-c", "sleep 1000 > /dev/null 2>&1 < /dev/null &"]);
    let pids: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "-f", "json", bundle.id()])).unwrap();
    assert_eq!(pids.len(), 2);
}

#[test]
fn the_end_of_the_container_ends_it() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let mut exec = bundle.command(&["exec", bundle.id(), "sh", "-c", "echo > /ready; sleep 1000"]).spawn().unwrap();
    wait::until("it runs", || bundle.rootfs().join("ready").exists());
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    assert_eq!(exec.wait().unwrap().code(), Some(137));
}

#[test]
fn the_callers_descriptor_table_holds_nothing_of_the_host_for_it() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    // CVE-2024-21626: a working directory through a leaked descriptor.
    for fd in 3..12 {
        let cwd = format!("/proc/self/fd/{fd}");
        let output = bundle.runtime(&["exec", "--cwd", &cwd, bundle.id(), "ls", "../../../../../usr/lib"]);
        assert!(!output.status.success(), "{cwd} leads out: {}", stdout(&output));
    }
}

#[test]
fn exec_at_once_after_run_detached_works() {
    // Init must be running from the moment `run -d` returns, also for a caller that is a subreaper.
    for _round in 0..5 {
        let mut bundle = bundle!("true");
        bundle.edit(|config| {
            config["process"]["args"] = json!(["/bin/sleep", "1000"]);
            config["linux"]["resources"] = json!({});
        });
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let run = Command::new(&bundle.program)
            .arg("--root")
            .arg(bundle.root())
            .args(["run", "-d", "-b", bundle.dir().to_str().unwrap(), bundle.id()])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(run.success());
        assert_eq!(bundle.exec(&[bundle.id(), "echo", "fine"]), "fine");
    }
}
