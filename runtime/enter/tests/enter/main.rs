//! The program against real containers, made by Debian's runc from its static busybox.
//!
//! Needs root, runc and busybox-static; without them each test says so and passes as skipped.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_arguments,
    reason = "a test fails by panicking"
)]
#![allow(unsafe_code, reason = "waitid, fcntl and ioctl on what is our own")]

mod container;
mod pure_v1;
mod terminal;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use container::{Container, allow_everything, exited, identity, run, skipped};
use hshim_enter::{Capabilities, Identity, Report, Rlimit, Seccomp};
use serde_json::json;

#[test]
fn a_probe_tells_exit_codes_signals_missing_and_unexecutable_commands_apart() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    assert_eq!(container.probe(&["true"]).0, exited(0));
    assert_eq!(container.probe(&["sh", "-c", "exit 7"]).0, exited(7));
    assert_eq!(container.probe(&["sh", "-c", "echo out; echo err >&2; exit 1"]), (exited(1), "out\nerr\n".to_owned()));
    assert_eq!(container.probe(&["sh", "-c", "kill -9 $$"]).0, Report::Signaled { signal: 9, leftovers: false });
    assert_eq!(container.probe(&["missing"]).0, Report::CouldNotExec { errno: libc::ENOENT, pid: 0 });
    assert_eq!(container.probe(&["/bin/missing"]).0, Report::CouldNotExec { errno: libc::ENOENT, pid: 0 });
    assert_eq!(container.probe(&["data"]).0, Report::CouldNotExec { errno: libc::EACCES, pid: 0 });
    let outside = Identity { cwd: c"/nowhere".to_owned(), ..identity() };
    let report = container.probe_for(&outside, &["true"], 1.0).0;
    assert!(matches!(report, Report::CouldNotEnter { errno: libc::ENOENT, .. }), "{report:?}");
}

#[test]
fn a_command_has_the_containers_namespaces_cgroups_and_exactly_its_identity() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let identity = Identity {
        uid: 1000,
        gid: 2000,
        groups: vec![3000, 3001],
        capabilities: Capabilities { bounding: 0x400, ..Capabilities::default() },
        seccomp: Some(allow_everything()),
        rlimits: vec![Rlimit { resource: libc::RLIMIT_NOFILE.cast_unsigned(), reserved: 0, soft: 100, hard: 200 }],
        umask: Some(0o27),
        cwd: c"/tmp".to_owned(),
        oom_score_adj: Some(600),
        ..identity()
    };
    let script = "grep -E '^(Uid|Gid|Groups|CapBnd|CapEff|CapPrm|CapInh|CapAmb|NoNewPrivs|Seccomp|SigIgn|SigBlk|Umask):' /proc/self/status; \
        cat /proc/self/oom_score_adj; ls /proc/self/fd; pwd; echo $A; ulimit -n; cat /proc/self/cgroup; readlink /proc/self/ns/pid; cat /proc/1/comm";
    let (report, code, text) = container.exec(&identity, &["sh", "-c", script]);
    assert!(matches!(report, Report::Running { .. }), "{report:?}");
    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let has = |line: &str| assert!(lines.iter().any(|other| other == line), "{line} is not in:\n{text}");
    for line in ["Uid: 1000 1000 1000 1000", "Gid: 2000 2000 2000 2000", "Groups: 3000 3001", "CapBnd: 0000000000000400"] {
        has(line);
    }
    for line in
        ["CapEff: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2", "SigBlk: 0000000000000000", "SigIgn: 0000000000000000"]
    {
        has(line);
    }
    for line in ["Umask: 0027", "600", "/tmp", "1", "100", "sleep"] {
        has(line);
    }
    assert!(text.contains(&format!("memory:/{}", container.id)) || text.contains(&format!("0::/{}", container.id)), "{text}");
    let theirs = fs::read_link(format!("/proc/{}/ns/pid", container.target.pid())).unwrap();
    has(theirs.to_str().unwrap());
    // 0, 1, 2, and the one that ls reads the directory with.
    assert!(text.contains("\n0\n1\n2\n3\n/tmp"), "descriptors leak: {text}");
}

#[test]
fn a_filter_without_no_new_privs_is_loaded_before_the_privileges_go() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let identity = Identity { uid: 7, no_new_privs: false, seccomp: Some(allow_everything()), ..identity() };
    let (report, text) =
        container.probe_for(&identity, &["grep", "-E", "^(Seccomp|NoNewPrivs|CapEff):", "/proc/self/status"], 5.0);
    assert_eq!(report, exited(0));
    assert_eq!(text, "CapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n");
}

#[test]
fn a_probe_that_times_out_leaves_no_process_no_zombie_and_no_cgroup() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let before = container.zombies();
    let bomb = "for i in 1 2 3 4 5 6 7 8; do setsid sh -c 'sleep 1000 & sleep 1000 & wait' & done; sleep 1000";
    for _ in 0..5 {
        let begin = Instant::now();
        assert_eq!(container.probe_for(&identity(), &["sh", "-c", bomb], 0.3).0, Report::TimedOut);
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    }
    assert_eq!(container.zombies(), before, "nothing was left to a pid 1 that never reaps");
    assert_eq!(container.probe(&["true"]).0, exited(0), "a probe after kills");
    assert_eq!(container.exec(&identity(), &["true"]).1, Some(0), "an exec after kills");
}

#[test]
fn what_a_command_leaves_behind_is_killed_and_does_not_delay_the_report() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let before = container.zombies();
    let begin = Instant::now();
    let (report, text) = container.probe(&["sh", "-c", "echo hi; setsid sleep 1000 & exit 3"]);
    assert_eq!(report, Report::Exited { code: 3, leftovers: true });
    assert_eq!(text, "hi\n");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(container.zombies(), before);
}

#[test]
fn a_probe_that_kills_its_reaper_is_reported_and_leaves_nothing_alive() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let (report, _) = container.probe(&["sh", "-c", "kill -9 $PPID; sleep 1000"]);
    assert_eq!(report, Report::ReaperKilled);
    assert_eq!(container.probe(&["true"]).0, exited(0));
}

#[test]
fn a_user_namespace_is_entered_too() {
    if skipped() {
        return;
    }
    let container = Container::start(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
        let rootfs = std::env::temp_dir().join(spec["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/'));
        run(Command::new("chown").args(["-R", "100000:100000"]).arg(rootfs.join("rootfs")));
    });
    assert!(container.target.has_own_users());
    let (report, text) = container.probe(&["sh", "-c", "cat /proc/self/uid_map; id -u"]);
    assert_eq!(report, exited(0), "{text}");
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536", "0"]);
    assert_eq!(container.exec(&identity(), &["id", "-u"]).2, "0\n");
    assert_eq!(container.probe_for(&identity(), &["sleep", "1000"], 0.2).0, Report::TimedOut);
}

#[test]
fn the_program_that_runs_inside_is_a_sealed_copy() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    // The link is read while the reaper waits: it is still the program itself.
    let (report, text) = container.probe(&["sh", "-c", "readlink /proc/$PPID/exe; echo x > /proc/$PPID/exe; echo $?"]);
    assert_eq!(report, exited(0));
    assert!(!text.contains("/target/") && text.ends_with("1\n"), "{text}");
}

#[test]
fn a_frozen_container_is_seen_as_such() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let runc = |verb| run(container.command(verb).arg(&container.id));
    assert!(!container.cgroup.is_frozen().unwrap());
    runc("pause");
    assert!(container.cgroup.is_frozen().unwrap());
    runc("resume");
    assert!(!container.cgroup.is_frozen().unwrap());
}

#[test]
fn a_privileged_container_gets_a_reaper_with_memory_of_its_own() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let everything = Capabilities { bounding: u64::MAX, effective: 0, inheritable: 0, permitted: 0, ambient: 0 };
    let privileged = Identity { capabilities: everything, ..identity() };
    assert_eq!(container.probe_for(&privileged, &["sh", "-c", "exit 5"], 5.0).0, exited(5));
    assert_eq!(container.probe_for(&privileged, &["sleep", "100"], 0.2).0, Report::TimedOut);
    assert_eq!(container.probe_for(&privileged, &["missing"], 5.0).0, Report::CouldNotExec { errno: libc::ENOENT, pid: 0 });
}

#[test]
fn a_filter_is_in_force_when_the_command_runs() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let kill = u32::try_from(libc::SYS_kill).unwrap();
    let (refuse, allow) = (0x0005_0000 | libc::EPERM.cast_unsigned(), 0x7fff_0000);
    // Load the number; the next one refuses it, the last one allows all others.
    let program = [(0x20, 0, 0, 0), (0x15, 0, 1, kill), (0x06, 0, 0, refuse), (0x06, 0, 0, allow)];
    let filter = Seccomp { flags: 0, program: program.into_iter().flat_map(container::instruction).collect() };
    let refused = Identity { seccomp: Some(filter), ..identity() };
    let command = ["sh", "-c", "kill -0 $$ 2>&1"];
    assert_eq!(container.probe(&command).0, exited(0));
    let (report, text) = container.probe_for(&refused, &command, 5.0);
    assert_eq!(report, exited(1));
    assert!(text.contains("Operation not permitted"), "{text}");
    assert_eq!(container.exec(&refused, &command).1, Some(1));
}

#[test]
fn a_hard_limit_that_may_not_be_raised_is_kept_as_it_is() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let beyond = Rlimit { resource: libc::RLIMIT_NOFILE.cast_unsigned(), reserved: 0, soft: 64, hard: u64::from(u32::MAX) };
    let limited = Identity { rlimits: vec![beyond], ..identity() };
    // With CAP_SYS_RESOURCE the kernel refuses it too: it is beyond fs.nr_open.
    assert_eq!(container.probe_for(&limited, &["sh", "-c", "ulimit -n"], 5.0), (exited(0), "64\n".to_owned()));
}

#[test]
fn a_container_that_can_write_nowhere_is_probed_as_any_other() {
    if skipped() {
        return;
    }
    let container = Container::start(|spec| spec["root"]["readonly"] = json!(true));
    assert_eq!(container.probe(&["sh", "-c", "touch /x 2>/dev/null; echo $?"]), (exited(0), "1\n".to_owned()));
    assert_eq!(container.probe_for(&identity(), &["sleep", "1000"], 0.2).0, Report::TimedOut);
}

#[test]
fn without_a_pid_namespace_nothing_is_left_either() {
    if skipped() {
        return;
    }
    let container = Container::start(|spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let left = Report::Exited { code: 4, leftovers: true };
    assert_eq!(container.probe(&["sh", "-c", "setsid sleep 1000 & exit 4"]).0, left);
    assert_eq!(container.probe_for(&identity(), &["sh", "-c", "setsid sleep 1000 & sleep 1000"], 0.2).0, Report::TimedOut);
    assert_eq!(container.probe(&["true"]).0, exited(0));
    assert_eq!(container.exec(&identity(), &["sh", "-c", "exit 6"]).1, Some(6));
}

#[test]
fn a_probe_sees_no_descriptor_but_the_standard_ones() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    // The fourth is the one that ls reads the directory with.
    assert_eq!(container.probe(&["ls", "/proc/self/fd"]), (exited(0), "0\n1\n2\n3\n".to_owned()));
}

#[test]
fn probes_of_one_container_run_beside_each_other() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    std::thread::scope(|scope| {
        for n in 0..8 {
            let container = &container;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(container.probe(&["sh", "-c", &format!("exit {n}")]).0, exited(n));
                }
            });
        }
    });
}
