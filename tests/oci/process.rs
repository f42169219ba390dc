//! The process object: what the command is, as whom it runs, and what it finds around it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::*;

#[test]
fn arguments_are_handed_over_word_for_word() {
    let bundle =
        bundle!("true", process.args = ["/bin/sh", "-c", "for a; do echo \"[$a]\"; done", "sh", "", " a  b ", "$HOME", "ä\"'\\"]);
    assert_eq!(bundle.says(), "[]\n[ a  b ]\n[$HOME]\n[ä\"'\\]");
}

#[test]
fn a_process_without_arguments_is_refused() {
    let bundle = bundle!("true", process.args = []);
    bundle.refused(&["create", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_missing_process_is_refused() {
    only_hshim!("runc 1.1 crashes at it");
    let bundle = bundle!("true", process = null);
    assert!(bundle.refused(&["create", bundle.id()]).contains("process"));
}

#[test]
fn the_command_is_looked_for_in_the_path_of_its_environment() {
    let mut bundle = bundle!("true");
    fs::create_dir_all(bundle.rootfs().join("own/bin")).unwrap();
    fs::write(bundle.rootfs().join("own/bin/mine"), "#!/bin/sh\necho mine\n").unwrap();
    fs::set_permissions(bundle.rootfs().join("own/bin/mine"), fs::Permissions::from_mode(0o755)).unwrap();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["mine"]);
        config["process"]["env"] = json!(["PATH=/nowhere:/own/bin"]);
    });
    assert_eq!(bundle.says(), "mine");
}

#[test]
fn a_command_that_is_not_found_is_told_in_the_words_that_callers_look_for() {
    let bundle = bundle!("true", process.args = ["no-such-command"]);
    // runc quotes its text log.
    let errors = bundle.fails().replace('\\', "");
    assert!(errors.contains("exec: \"no-such-command\": executable file not found in $PATH"), "{errors}");
}

#[test]
fn a_command_that_may_not_be_executed_is_told_as_such() {
    let bundle = bundle!("true", process.args = ["/etc/passwd"]);
    let errors = bundle.fails();
    assert!(errors.contains("permission denied"), "{errors}");
}

#[test]
fn a_directory_is_no_command() {
    let bundle = bundle!("true", process.args = ["/etc"]);
    let errors = bundle.fails();
    assert!(errors.contains("permission denied") || errors.contains("is a directory"), "{errors}");
}

#[test]
fn a_script_without_its_interpreter_is_told_as_missing() {
    let bundle = bundle!("true", process.args = ["/script"]);
    fs::write(bundle.rootfs().join("script"), "#!/no/interpreter\n").unwrap();
    fs::set_permissions(bundle.rootfs().join("script"), fs::Permissions::from_mode(0o755)).unwrap();
    let errors = bundle.fails();
    assert!(errors.contains("no such file or directory"), "{errors}");
}

#[test]
fn the_working_directory_is_cwd() {
    let bundle = bundle!("pwd", process.cwd = "/tmp");
    assert_eq!(bundle.says(), "/tmp");
}

#[test]
fn a_missing_working_directory_is_made() {
    let bundle = bundle!("pwd", process.cwd = "/made/on/the/way");
    assert_eq!(bundle.says(), "/made/on/the/way");
}

#[test]
fn a_relative_working_directory_is_refused() {
    let bundle = bundle!("pwd", process.cwd = "tmp");
    let errors = bundle.refused(&["create", bundle.id()]);
    assert!(errors.to_lowercase().contains("cwd"), "{errors}");
}

#[test]
fn a_command_name_with_a_slash_is_relative_to_cwd() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        config["process"]["args"] = json!(["./busybox", "echo", "found"]);
        config["process"]["cwd"] = json!("/bin");
    });
    assert_eq!(bundle.says(), "found");
}

#[test]
fn the_environment_is_what_the_specification_says_and_home() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        config["process"]["args"] = json!(["/bin/env"]);
        config["process"]["env"] = json!(["A=1", "EMPTY=", "SPACES=a b  c", "EQ=x=y"]);
    });
    assert_eq!(bundle.says(), "A=1\nEMPTY=\nSPACES=a b  c\nEQ=x=y\nHOME=/root");
}

#[test]
fn nothing_of_the_callers_environment_gets_in() {
    let bundle = bundle!("true", process.args = ["/bin/env"]);
    let output = bundle.command(&["run", bundle.id()]).env("SECRET_OF_THE_CALLER", "x").output().unwrap();
    assert!(output.status.success());
    assert!(!stdout(&output).contains("SECRET_OF_THE_CALLER"));
}

#[test]
fn home_is_that_of_the_user_in_the_image() {
    let mut bundle = bundle!("echo $HOME");
    bundle.edit(|config| {
        config["process"]["user"] = json!({"uid": 65534, "gid": 65534});
        config["process"]["env"] = json!(["PATH=/bin"]);
    });
    assert_eq!(bundle.says(), "/home");
}

#[test]
fn a_home_that_is_set_stays() {
    let bundle = bundle!("echo $HOME", process.env = ["PATH=/bin", "HOME=/elsewhere"]);
    assert_eq!(bundle.says(), "/elsewhere");
}

#[test]
fn user_and_group_are_those_of_the_specification() {
    let bundle = bundle!("id -u; id -g", process.user = {"uid": 1234, "gid": 5678});
    assert_eq!(bundle.says(), "1234\n5678");
}

#[test]
fn additional_groups_are_set_and_no_others() {
    let bundle = bundle!("grep Groups /proc/self/status", process.user = {"uid": 1, "gid": 2, "additionalGids": [10, 20, 30]});
    assert_eq!(bundle.says().split_whitespace().collect::<Vec<_>>(), ["Groups:", "10", "20", "30"]);
}

#[test]
fn without_additional_groups_there_are_none() {
    let bundle = bundle!("grep Groups /proc/self/status", process.user = {"uid": 1, "gid": 2});
    assert_eq!(bundle.says().split_whitespace().collect::<Vec<_>>(), ["Groups:"]);
}

#[test]
fn the_umask_is_that_of_the_specification() {
    let bundle = bundle!("umask", process.user = {"uid": 0, "gid": 0, "umask": 0o027});
    assert_eq!(bundle.says(), "0027");
}

#[test]
fn without_a_umask_it_is_022() {
    let bundle = bundle!("umask");
    let output = std::process::Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" \"$@\""])
        .arg(&bundle.program)
        .args(["--root", bundle.root().to_str().unwrap(), "run", bundle.id()])
        .current_dir(bundle.dir())
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "0022\n", "{}", stderr(&output));
}

const STATUS_OF_CAPS: &str = "grep '^Cap' /proc/self/status";

/// Lines of /proc/self/status: inheritable, permitted, effective, bounding, ambient.
fn caps(bundle: &hshim_tests::bundle::Bundle) -> Vec<u64> {
    bundle.says().lines().map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()).collect()
}

const KILL: u64 = 1 << 5;
const CHOWN: u64 = 1;
const NET_RAW: u64 = 1 << 13;

#[test]
fn the_capability_sets_are_those_of_the_specification() {
    let bundle = bundle!(STATUS_OF_CAPS, process.capabilities = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"], "permitted": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"]
    });
    // Root executing a file gains the bounding set (capabilities(7)).
    assert_eq!(caps(&bundle)[3], KILL | CHOWN | NET_RAW);
}

#[test]
fn capabilities_of_another_user_are_ambient() {
    let mut bundle = bundle!(STATUS_OF_CAPS);
    let set = json!(["CAP_KILL", "CAP_NET_RAW"]);
    bundle.edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["capabilities"] =
            json!({"bounding": set, "permitted": set, "effective": set, "inheritable": set, "ambient": ["CAP_KILL"]});
    });
    assert_eq!(caps(&bundle), [KILL | NET_RAW, KILL, KILL, KILL | NET_RAW, KILL]);
}

#[test]
fn without_capabilities_there_are_none() {
    let bundle = bundle!(STATUS_OF_CAPS, process.capabilities = {"bounding": [], "permitted": [], "effective": []});
    assert_eq!(caps(&bundle), [0, 0, 0, 0, 0]);
}

#[test]
fn another_user_without_ambient_capabilities_has_none() {
    let mut bundle = bundle!(STATUS_OF_CAPS);
    bundle.edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let caps = caps(&bundle);
    assert_eq!((caps[1], caps[2], caps[4]), (0, 0, 0));
}

#[test]
fn no_new_privileges_is_set_and_not_set() {
    for (wanted, shown) in [(true, "1"), (false, "0")] {
        let bundle = bundle!("grep NoNewPrivs /proc/self/status", process.noNewPrivileges = wanted);
        assert_eq!(bundle.says().split_whitespace().nth(1), Some(shown));
    }
}

#[test]
fn resource_limits_are_set() {
    let soft = hshim_tests::programs::soft_limit_of_files(111, 222);
    let bundle = bundle!("ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc", process.rlimits = [
        {"type": "RLIMIT_NOFILE", "soft": soft, "hard": 222}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
    ]);
    assert_eq!(bundle.says(), format!("{soft}\n222\n0\n0"));
}

#[test]
fn a_resource_limit_that_is_not_known_is_refused() {
    let bundle = bundle!("true", process.rlimits = [{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]);
    bundle.fails();
}

#[test]
fn a_resource_limit_written_twice_is_refused() {
    let bundle = bundle!("true", process.rlimits = [
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}, {"type": "RLIMIT_NOFILE", "soft": 2, "hard": 2}
    ]);
    only_hshim!("runc 1.1 sets both, the specification wants an error");
    assert!(bundle.fails().contains("rlimits"));
}

#[test]
fn the_oom_score_is_adjusted() {
    let bundle = bundle!("cat /proc/self/oom_score_adj", process.oomScoreAdj = 789);
    assert_eq!(bundle.says(), "789");
}

#[test]
fn an_oom_score_that_is_not_written_is_the_callers() {
    let bundle = bundle!("cat /proc/self/oom_score_adj");
    assert_eq!(bundle.says(), fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim());
}

#[test]
fn the_scheduler_is_set() {
    only_hshim!("runc 1.1 does not know process.scheduler");
    let bundle = bundle!("cut -d' ' -f41,19 /proc/1/stat", process.scheduler = {"policy": "SCHED_BATCH", "nice": 7});
    // Nice value and policy of proc_pid_stat(5): SCHED_BATCH is 3.
    assert_eq!(bundle.says(), "7 3");
}

#[test]
fn the_io_priority_is_set() {
    only_hshim!("runc 1.1 does not know process.ioPriority");
    let bundle = bundle!("ionice -p 1", process.ioPriority = {"class": "IOPRIO_CLASS_BE", "priority": 6});
    assert_eq!(bundle.says(), "best-effort: prio 6");
}

#[test]
fn the_hostname_is_set_in_its_own_namespace() {
    let bundle = bundle!("hostname", hostname = "of-the-container");
    assert_eq!(bundle.says(), "of-the-container");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "of-the-container");
}

#[test]
fn the_domainname_is_set_in_its_own_namespace() {
    only_hshim!("runc 1.1 does not know domainname");
    let bundle = bundle!("cat /proc/sys/kernel/domainname", domainname = "example.org");
    assert_eq!(bundle.says(), "example.org");
}

#[test]
fn only_the_standard_streams_are_open() {
    // The fourth is that of ls.
    let bundle = bundle!("exec ls /proc/self/fd");
    assert_eq!(bundle.says().split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

#[test]
fn a_descriptor_of_the_caller_does_not_get_in() {
    let bundle = bundle!("exec ls /proc/self/fd");
    let output = through_shell(&bundle, "exec \"$@\" 7</etc/passwd 9</etc/passwd", &["run", bundle.id()]);
    assert_eq!(stdout(&output).split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{}", stderr(&output));
}

#[test]
fn preserved_descriptors_get_in() {
    let bundle = bundle!("cat <&3; cat <&4");
    fs::write(bundle.scratch.join("a"), "a\n").unwrap();
    fs::write(bundle.scratch.join("b"), "b\n").unwrap();
    let output = through_shell(&bundle, "exec \"$@\" 3<../a 4<../b", &["run", "--preserve-fds", "2", bundle.id()]);
    assert_eq!(stdout(&output), "a\nb\n", "{}", stderr(&output));
}

#[test]
fn only_as_many_descriptors_get_in_as_are_preserved() {
    let bundle = bundle!("ls /proc/self/fd | tr '\\n' ' '; [ -e /proc/1/fd/4 ] || echo closed");
    let output = through_shell(&bundle, "exec \"$@\" 3</etc/passwd 4</etc/passwd", &["run", "--preserve-fds", "1", bundle.id()]);
    assert!(stdout(&output).ends_with("closed\n"), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn a_preserved_descriptor_that_is_not_open_is_refused() {
    let bundle = bundle!("true");
    bundle.refused(&["run", "--preserve-fds", "5", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn descriptors_of_socket_activation_get_in() {
    let bundle = bundle!("echo $LISTEN_FDS; cat <&3");
    fs::write(bundle.scratch.join("a"), "a\n").unwrap();
    let output = through_shell(&bundle, "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<../a", &["run", bundle.id()]);
    assert_eq!(stdout(&output), "1\na\n", "{}", stderr(&output));
}

#[test]
fn standard_input_is_the_callers() {
    let bundle = bundle!("cat");
    let mut command = bundle.command(&["run", bundle.id()]);
    fs::write(bundle.scratch.join("input"), "from the caller\n").unwrap();
    let output = command.stdin(fs::File::open(bundle.scratch.join("input")).unwrap()).output().unwrap();
    assert_eq!(stdout(&output), "from the caller\n");
}

#[test]
fn standard_error_stays_apart_from_output() {
    let bundle = bundle!("echo out; echo err >&2");
    let output = bundle.run();
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("out\n", "err\n"));
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    let bundle = bundle!("grep -E '^Sig(Blk|Ign)' /proc/self/status");
    let output = through_shell(&bundle, "trap '' PIPE HUP; exec \"$@\"", &["run", bundle.id()]);
    let lines: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
    assert_eq!(lines[0].split_whitespace().nth(1), Some("0000000000000000"), "{lines:?}");
    let ignored = u64::from_str_radix(lines[1].split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_eq!(ignored & (1 << 12), 0, "SIGPIPE is not ignored: {lines:?}");
}

#[test]
fn the_command_leads_its_own_session() {
    let bundle = bundle!("cut -d' ' -f1,5,6 /proc/1/stat");
    assert_eq!(bundle.says(), "1 1 1");
}

#[test]
fn a_process_that_reaps_nothing_does_not_keep_run_from_ending() {
    let bundle = bundle!("(sleep 0.1 &) ; exit 5");
    assert_eq!(bundle.run().status.code(), Some(5));
}

#[test]
fn an_apparmor_profile_is_refused_where_there_is_no_apparmor() {
    if fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|enabled| enabled.starts_with('Y')) {
        hshim_tests::skip!("AppArmor is enabled here");
    }
    let bundle = bundle!("true", process.apparmorProfile = "some-profile");
    let errors = bundle.fails();
    assert!(errors.to_lowercase().contains("apparmor"), "{errors}");
}

#[test]
fn a_selinux_label_is_refused_where_there_is_no_selinux() {
    only_hshim!("Debian's runc ignores it when SELinux is off");
    let bundle = bundle!("true", process.selinuxLabel = "system_u:system_r:container_t:s0");
    assert!(bundle.fails().contains("SELinux"));
}
