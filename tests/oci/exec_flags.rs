//! Every flag of exec.

use std::fs;

use hshim_tests::bundle::Bundle;
use hshim_tests::programs::soft_limit_of_files;
use hshim_tests::wait;

use crate::support::*;

fn running() -> Bundle {
    let bundle = Bundle::new("sleep 1000");
    bundle.run_detached();
    bundle
}

/// A process file beside the bundle.
fn process_file(bundle: &Bundle, change: impl FnOnce(&mut Value)) -> String {
    let mut process = json!({"user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", "echo from the file"], "cwd": "/",
        "env": ["PATH=/bin", "OF_THE_FILE=1"]});
    change(&mut process);
    let file = bundle.scratch.join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    file.display().to_string()
}

#[test]
fn cwd_is_the_working_directory() {
    needs_containers!();
    let bundle = running();
    assert_eq!(bundle.exec(&["--cwd", "/tmp", bundle.id(), "pwd"]), "/tmp");
}

#[test]
fn a_cwd_that_is_missing_is_refused() {
    needs_containers!();
    let bundle = running();
    bundle.refused(&["exec", "--cwd", "/no/such", bundle.id(), "pwd"]);
}

#[test]
fn env_adds_variables_and_the_last_counts() {
    needs_containers!();
    let bundle = running();
    let said =
        bundle.exec(&["-e", "A=1", "-e", "B=x y", "-e", "A=2", "-e", "HOME=/h", bundle.id(), "sh", "-c", "echo $A $B $HOME"]);
    assert_eq!(said, "2 x y /h");
}

#[test]
fn user_is_a_uid_and_a_gid() {
    needs_containers!();
    let bundle = running();
    assert_eq!(bundle.exec(&["--user", "1000:2000", bundle.id(), "sh", "-c", "id -u; id -g"]), "1000\n2000");
    assert_eq!(bundle.exec(&["-u", "1000", bundle.id(), "id", "-u"]), "1000");
}

#[test]
fn a_user_that_is_no_number_is_refused() {
    needs_containers!();
    let bundle = running();
    for user in ["root", "0:root", "x"] {
        bundle.refused(&["exec", "-u", user, bundle.id(), "true"]);
    }
}

#[test]
fn another_user_has_no_capabilities_of_his_own() {
    needs_containers!();
    let bundle = running();
    let said = bundle.exec(&["-u", "1000", bundle.id(), "grep", "CapEff", "/proc/self/status"]);
    assert!(said.ends_with("0000000000000000"), "{said}");
}

#[test]
fn additional_gids_are_added() {
    needs_containers!();
    let bundle = running();
    let said = bundle.exec(&["-g", "100", "-g", "65534", bundle.id(), "grep", "Groups", "/proc/self/status"]);
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["Groups:", "100", "65534"]);
}

#[test]
fn cap_adds_a_capability() {
    needs_containers!();
    let bundle = running();
    let script = "grep -E 'Cap(Eff|Bnd)' /proc/self/status";
    let said = bundle.exec(&["--cap", "CAP_SYS_PTRACE", bundle.id(), "sh", "-c", script]);
    for line in said.lines() {
        let bits = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_ne!(bits & (1 << 19), 0, "{said}");
    }
    let without = bundle.exec(&[bundle.id(), "sh", "-c", script]);
    assert_ne!(said, without);
}

#[test]
fn an_unknown_capability_is_refused_or_warned_of() {
    needs_containers!();
    let bundle = running();
    let output = bundle.runtime(&["exec", "--cap", "CAP_NO_SUCH", bundle.id(), "true"]);
    assert!(!output.status.success() || stderr(&output).contains("CAP_NO_SUCH"), "{}", stderr(&output));
}

#[test]
fn no_new_privs_is_set() {
    let mut bundle = bundle!("sleep 1000");
    bundle.edit(|config| config["process"]["noNewPrivileges"] = json!(false));
    bundle.run_detached();
    let args = [bundle.id(), "grep", "NoNewPrivs", "/proc/self/status"];
    assert_eq!(bundle.exec(&args), "NoNewPrivs:\t0");
    let args = ["--no-new-privs", bundle.id(), "grep", "NoNewPrivs", "/proc/self/status"];
    assert_eq!(bundle.exec(&args), "NoNewPrivs:\t1");
}

#[test]
fn detach_returns_while_it_runs() {
    needs_containers!();
    let bundle = running();
    let file = bundle.scratch.join("exec.pid");
    let status = bundle.detached(&["exec", "-d", "--pid-file", file.to_str().unwrap(), bundle.id(), "sleep", "777"]);
    assert!(status.success(), "{}", bundle.stderr());
    let pid = fs::read_to_string(&file).unwrap();
    wait::until("it is there", || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default() == "sleep\x00777\0");
    let pids: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "-f", "json", bundle.id()])).unwrap();
    assert!(pids.contains(&pid.parse().unwrap()));
}

#[test]
fn a_pid_file_is_written_in_the_foreground_too() {
    needs_containers!();
    let bundle = running();
    let file = bundle.scratch.join("exec.pid");
    bundle.exec(&["--pid-file", file.to_str().unwrap(), bundle.id(), "true"]);
    assert!(fs::read_to_string(&file).unwrap().parse::<i32>().unwrap() > 0);
}

#[test]
fn a_process_file_says_it_all() {
    needs_containers!();
    let bundle = running();
    let file = process_file(&bundle, |process| {
        process["args"] = json!(["/bin/sh", "-c", "pwd; id -u; id -g; echo $OF_THE_FILE; ulimit -n"]);
        process["cwd"] = json!("/tmp");
        process["user"] = json!({"uid": 5, "gid": 6});
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": soft_limit_of_files(55, 66), "hard": 66}]);
    });
    assert_eq!(bundle.exec(&["--process", &file, bundle.id()]), format!("/tmp\n5\n6\n1\n{}", soft_limit_of_files(55, 66)));
}

#[test]
fn a_process_file_may_set_its_own_umask() {
    only_hshim!("runc 1.1 has no umask for exec");
    needs_containers!();
    let bundle = running();
    let file = process_file(&bundle, |process| {
        process["args"] = json!(["sh", "-c", "umask"]);
        process["user"]["umask"] = json!(0o027);
    });
    assert_eq!(bundle.exec(&["-p", &file, bundle.id()]), "0027");
}

#[test]
fn long_forms_of_flags_are_taken() {
    needs_containers!();
    let bundle = running();
    let script = "echo $A; id -u; grep Groups /proc/self/status";
    let said = bundle.exec(&["--env", "A=1", "--user", "7", "--additional-gids", "8", bundle.id(), "sh", "-c", script]);
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["1", "7", "Groups:", "8"]);
}

#[test]
fn a_process_file_may_set_its_own_capabilities() {
    needs_containers!();
    let bundle = running();
    let file = process_file(&bundle, |process| {
        process["args"] = json!(["grep", "CapBnd", "/proc/self/status"]);
        process["capabilities"] = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]});
    });
    assert_eq!(bundle.exec(&["-p", &file, bundle.id()]), "CapBnd:\t0000000000000020");
}

#[test]
fn a_process_file_that_is_missing_or_wrong_is_refused() {
    needs_containers!();
    let bundle = running();
    bundle.refused(&["exec", "-p", "/no/such/file", bundle.id()]);
    let wrong = bundle.scratch.join("wrong.json");
    fs::write(&wrong, "{").unwrap();
    bundle.refused(&["exec", "-p", wrong.to_str().unwrap(), bundle.id()]);
    let empty = process_file(&bundle, |process| process["args"] = json!([]));
    bundle.refused(&["exec", "-p", &empty, bundle.id()]);
}

#[test]
fn preserved_descriptors_get_in() {
    needs_containers!();
    let bundle = running();
    fs::write(bundle.scratch.join("a"), "a\n").unwrap();
    let args = ["exec", "--preserve-fds", "1", bundle.id(), "sh", "-c", "cat <&3; ls /proc/self/fd | wc -l"];
    let output = through_shell(&bundle, "exec \"$@\" 3<../a 4<../a", &args);
    assert_eq!(stdout(&output), "a\n5\n", "{}", stderr(&output));
}

#[test]
fn preserved_descriptors_that_are_not_open_are_refused() {
    only_hshim!("runc 1.1 looks at it in create and run only");
    needs_containers!();
    let bundle = running();
    bundle.refused(&["exec", "--preserve-fds", "4", bundle.id(), "true"]);
}

#[test]
fn an_apparmor_profile_is_refused_where_there_is_no_apparmor() {
    needs_containers!();
    if fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|enabled| enabled.starts_with('Y')) {
        hshim_tests::skip!("AppArmor is enabled here");
    }
    let bundle = running();
    bundle.refused(&["exec", "--apparmor", "some-profile", bundle.id(), "true"]);
}

#[test]
fn a_process_label_is_refused_and_not_ignored() {
    only_hshim!("Debian's runc ignores it when SELinux is off");
    needs_containers!();
    let bundle = running();
    let errors = bundle.refused(&["exec", "--process-label", "a:b:c", bundle.id(), "true"]);
    assert!(errors.contains("SELinux"), "{errors}");
}

#[test]
fn cgroup_names_a_cgroup_below_the_containers() {
    needs_containers!();
    if !crate::cgroups::has_controller("pids") {
        hshim_tests::skip!("no pids controller here");
    }
    let bundle = running();
    for cgroup in bundle.cgroups() {
        fs::create_dir_all(cgroup.join("below")).unwrap();
    }
    let said = bundle.exec(&[
        "--cgroup",
        "freezer,pids:below",
        bundle.id(),
        "sh",
        "-c",
        "grep -E ':(freezer|pids):|^0::' /proc/self/cgroup",
    ]);
    let path = format!("/hshim-tests/{}/below", bundle.id());
    assert!(said.lines().filter(|line| line.ends_with(&path)).count() >= 1, "{said}");
}

#[test]
fn a_cgroup_that_does_not_exist_is_refused() {
    needs_containers!();
    let bundle = running();
    bundle.refused(&["exec", "--cgroup", "freezer:no-such", bundle.id(), "true"]);
    bundle.refused(&["exec", "--cgroup", "freezer:../..", bundle.id(), "true"]);
}

#[test]
fn ignore_paused_lets_a_process_wait_in_a_paused_container() {
    needs_containers!();
    let bundle = running();
    bundle.ok(&["pause", bundle.id()]);
    let mut exec = bundle.command(&["exec", "--ignore-paused", bundle.id(), "true"]).spawn().unwrap();
    bundle.ok(&["resume", bundle.id()]);
    assert!(exec.wait().unwrap().success());
}

#[test]
fn a_flag_that_does_not_exist_is_refused() {
    needs_containers!();
    let bundle = running();
    bundle.refused(&["exec", "--no-such-flag", bundle.id(), "true"]);
}

#[test]
fn a_pidfd_socket_receives_the_process() {
    only_hshim!("runc has it from 1.2 on");
    needs_containers!();
    let bundle = running();
    let socket = bundle.scratch.join("pidfd.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let file = bundle.scratch.join("exec.pid");
    let args = [
        "exec",
        "-d",
        "--pidfd-socket",
        socket.to_str().unwrap(),
        "--pid-file",
        file.to_str().unwrap(),
        bundle.id(),
        "sleep",
        "1000",
    ];
    assert!(bundle.detached(&args).success(), "{}", bundle.stderr());
    let pidfd = hshim_tests::descriptor::receive(&listener);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&pidfd))).unwrap();
    let pid = fs::read_to_string(&file).unwrap();
    assert!(info.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == ["Pid:", pid.as_str()]), "{info}");
}
