//! Restarts in place, which containerd does not notice: what it and its clients see meanwhile, and how they end.

use std::fs;
use std::os::unix::fs::MetadataExt;

use hshim_tests::containerd::{Daemon, Message, Setting, cgroup_directories, cgroup_value, shims_below};
use hshim_tests::wait::until;
use nix::sys::signal::{Signal, kill};

use crate::api;
use crate::event_stream::EventStream;
use crate::supervised::{
    ALWAYS, FAILING, LIVENESS, LONG, QUICK, SCRIPT, break_health, detach, inside, is_judged, lives, next_life, options,
    until_lives,
};

fn cgroup_identities(daemon: &Daemon, id: &str) -> Vec<u64> {
    cgroup_directories(&format!("{}/{id}", daemon.name())).iter().map(|path| fs::metadata(path).unwrap().ino()).collect()
}

fn own_exits(events: &EventStream, id: &str) -> Vec<i64> {
    let exits = events.of(id).into_iter().filter(|event| event.topic == "/tasks/exit" && event.body["id"] == id);
    exits.map(|event| event.body["exit_status"].as_i64().unwrap_or(0)).collect()
}

#[test]
fn an_unhealthy_container_is_restarted_and_containerd_does_not_notice() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let events = EventStream::open(&daemon);
    let first = detach(&daemon, "c1", &[LIVENESS, QUICK], SCRIPT);
    let end = api::wait(&daemon, "c1");
    let cgroups = cgroup_identities(&daemon, "c1");
    api::update(&daemon, "c1", r#"{"memory":{"limit":50331648}}"#);
    break_health(&daemon, "c1");
    let second = next_life(&daemon, "c1", first);
    until_lives(&daemon, "c1", 2);
    for topic in ["/hshim/unhealthy", "/hshim/restarting", "/hshim/restarted"] {
        let event = events.wait_for("c1", topic);
        assert!(event.body["labels"].is_object(), "{event:?}");
    }
    assert_eq!(own_exits(&events, "c1").len(), 0);
    assert!(!end.is_finished(), "Wait pends");
    assert_eq!(daemon.exec("c1", &["echo", "here"]).ok(), "here\n");
    assert!(daemon.ctr(&["task", "ps", "c1"]).ok().contains(&second.pid.to_string()));
    assert_eq!(cgroup_identities(&daemon, "c1"), cgroups, "the cgroup is the same one");
    let limit = cgroup_value(&format!("{}/c1", daemon.name()), &["memory.limit_in_bytes", "memory.max"]);
    assert_eq!(limit.as_deref(), Some("50331648"), "the last Update holds");
    daemon.ctr(&["task", "kill", "--signal", "SIGKILL", "c1"]).ok();
    assert_eq!(end.join().unwrap(), Ok(137));
    assert_eq!(daemon.wait_stopped("c1"), 137);
    daemon.remove("c1");
    events.wait_for("c1", "/tasks/delete");
    assert_eq!(own_exits(&events, "c1"), [137]);
    assert_eq!(lives(&daemon.output("c1")), 2);
    daemon.finish();
}

#[test]
fn output_goes_on_in_the_same_stream() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let annotations = options(&[LIVENESS, QUICK]);
    let annotations: Vec<&str> = annotations.iter().map(String::as_str).collect();
    let mut run = daemon.start_run("c1", &annotations, &["sh", "-c", SCRIPT]);
    for life in 1..=3 {
        until("the next life speaks", || lives(&run.stdout()) == life);
        if life < 3 {
            break_health(&daemon, "c1");
        }
    }
    assert!(run.is_running());
    daemon.ctr(&["task", "kill", "--signal", "SIGTERM", "c1"]).ok();
    assert_eq!(run.finish().ok(), "alive\nalive\nalive\n");
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn a_terminal_goes_on_too() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    daemon.remember("c1");
    let annotations = options(&[LIVENESS, QUICK, ("hshim.dev/terminationGracePeriodSeconds", "1")]);
    let annotations: Vec<&str> = annotations.iter().map(String::as_str).collect();
    let script = "touch /tmp/ok; echo begins with $(stty size); while read line; do echo got $line; stty size; done";
    let image = hshim_tests::containerd::IMAGE;
    let fixed =
        [&["run", "--rm", "--tty", "--runtime", daemon.runtime()], annotations.as_slice(), &[image, "c1", "sh", "-c", script]];
    let mut terminal = crate::terminal::Terminal::start(&daemon, &fixed.concat());
    terminal.shows("begins with");
    let first = daemon.task("c1").unwrap();
    terminal.resize_to(33, 77);
    break_health(&daemon, "c1");
    next_life(&daemon, "c1", first);
    terminal.shows("begins with 33 77");
    terminal.type_in("hello\n");
    terminal.shows("got hello");
    daemon.ctr(&["task", "kill", "--signal", "SIGKILL", "c1"]).ok();
    assert_eq!(terminal.finish(), 137);
    daemon.finish();
}

#[test]
fn when_the_budget_is_used_up_the_true_exit_goes_out() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let events = EventStream::open(&daemon);
    let budget = ("hshim.dev/supervision", r#"{"restartBudget":{"restarts":2,"withinMilliseconds":600000}}"#);
    let quick = ("hshim.dev/backoff", r#"{"initialMilliseconds":50,"capMilliseconds":100}"#);
    detach(&daemon, "c1", &[ALWAYS, budget, quick], FAILING);
    assert_eq!(daemon.wait_stopped("c1"), 3);
    assert_eq!(lives(&daemon.output("c1")), 3);
    events.wait_for("c1", "/hshim/gave-up");
    daemon.remove("c1");
    events.wait_for("c1", "/tasks/delete");
    assert_eq!(own_exits(&events, "c1"), [3]);
    daemon.finish();
}

#[test]
fn without_a_policy_a_containers_own_end_is_handed_on() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    detach(&daemon, "c1", &[LIVENESS, QUICK], FAILING);
    assert_eq!(daemon.wait_stopped("c1"), 3);
    assert_eq!(lives(&daemon.output("c1")), 1);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn in_back_off_the_task_runs_for_everybody_and_a_kill_ends_it_at_once() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let events = EventStream::open(&daemon);
    for signal in ["SIGTERM", "SIGKILL"] {
        detach(&daemon, "c1", &[ALWAYS, LONG], FAILING);
        let end = api::wait(&daemon, "c1");
        events.wait_for("c1", "/hshim/backing-off");
        let task = daemon.task("c1").unwrap();
        assert!(task.runs() && task.pid > 0, "{task:?}");
        let processes =
            daemon.grpc().call("/containerd.services.tasks.v1.Tasks/ListPids", &Message::new().text(1, "c1")).unwrap();
        assert_eq!(processes.messages(1).len(), 1, "containerd 1.7 and later delete a task without processes");
        assert_ne!(daemon.exec("c1", &["true"]).status, 0);
        assert_ne!(daemon.ctr(&["task", "pause", "c1"]).status, 0);
        assert_ne!(daemon.ctr(&["task", "rm", "c1"]).status, 0);
        daemon.ctr(&["task", "metrics", "c1"]).ok();
        daemon.ctr(&["task", "kill", "--signal", "SIGUSR1", "c1"]).ok();
        assert!(!end.is_finished() && daemon.task("c1").unwrap().runs(), "an ordinary signal changes nothing");
        daemon.ctr(&["task", "kill", "--signal", signal, "c1"]).ok();
        assert_eq!(end.join().unwrap(), Ok(3));
        assert_eq!(daemon.wait_stopped("c1"), 3);
        daemon.remove("c1");
    }
    daemon.finish();
}

#[test]
fn a_kill_while_the_old_process_is_being_stopped_is_the_end() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let stubborn = "touch /tmp/ok; trap 'echo asked' TERM; echo alive; while :; do sleep 0.05; done";
    detach(&daemon, "c1", &[LIVENESS, QUICK], stubborn);
    break_health(&daemon, "c1");
    until("it is asked to stop and does not", || daemon.output("c1").contains("asked"));
    assert!(daemon.task("c1").unwrap().runs());
    daemon.ctr(&["task", "kill", "--signal", "SIGKILL", "c1"]).ok();
    assert_eq!(daemon.wait_stopped("c1"), 137);
    assert_eq!(lives(&daemon.output("c1")), 1);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn an_ordinary_signal_is_delivered_and_its_death_restarted() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let first = detach(&daemon, "c1", &[ALWAYS], SCRIPT);
    until_lives(&daemon, "c1", 1);
    daemon.ctr(&["task", "kill", "--signal", "SIGUSR1", "c1"]).ok();
    next_life(&daemon, "c1", first);
    until_lives(&daemon, "c1", 2);
    daemon.ctr(&["task", "kill", "--signal", "SIGTERM", "c1"]).ok();
    assert_eq!(daemon.wait_stopped("c1"), 0);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn with_the_kubelet_as_owner_the_shim_kills_and_hands_the_exit_on() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let events = EventStream::open(&daemon);
    let kubelet = ("hshim.dev/supervision", r#"{"periodMilliseconds":200,"restartOwner":"kubelet"}"#);
    detach(&daemon, "c1", &[LIVENESS, kubelet, ALWAYS], SCRIPT);
    break_health(&daemon, "c1");
    assert_eq!(daemon.wait_stopped("c1"), 0);
    events.wait_for("c1", "/hshim/unhealthy");
    // The end is told beside the answer to who asks.
    events.wait_for("c1", "/tasks/exit");
    assert_eq!((own_exits(&events, "c1"), lives(&daemon.output("c1"))), (vec![0], 1));
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn with_an_automatic_owner_the_shim_restarts_only_while_containerd_is_away() {
    if !is_judged() {
        return;
    }
    let Some(mut daemon) = Daemon::start(Setting::Tasks) else { return };
    let auto = ("hshim.dev/supervision", r#"{"periodMilliseconds":200,"restartOwner":"auto"}"#);
    let first = detach(&daemon, "c1", &[LIVENESS, auto], SCRIPT);
    daemon.crash();
    crate::supervised::break_process(first);
    until_lives(&daemon, "c1", 2);
    daemon.serve();
    assert!(daemon.task("c1").unwrap().runs());
    break_health(&daemon, "c1");
    daemon.wait_stopped("c1");
    assert_eq!(lives(&daemon.output("c1")), 2);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn many_restarts_leave_neither_processes_nor_descriptors() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let budget = ("hshim.dev/supervision", r#"{"restartBudget":{"restarts":1000,"withinMilliseconds":600000}}"#);
    let quick = ("hshim.dev/backoff", r#"{"initialMilliseconds":1,"capMilliseconds":1}"#);
    let script = "echo alive; sleep 1000 & exec sleep 1000";
    detach(&daemon, "c1", &[ALWAYS, budget, quick], script);
    let shim = shims_below(daemon.home()).remove(0);
    let mut opened = 0;
    for life in 1..=25 {
        until_lives(&daemon, "c1", life);
        let task = daemon.task("c1").unwrap();
        until("commands run in this life", || daemon.exec("c1", &["true"]).status == 0);
        if life == 5 {
            opened = shim.descriptors();
        }
        kill(task.init(), Signal::SIGKILL).unwrap();
        next_life(&daemon, "c1", task);
    }
    until_lives(&daemon, "c1", 26);
    until("descriptors are as few as after five lives", || shim.descriptors() <= opened);
    until("two processes are left", || daemon.ctr(&["task", "ps", "c1"]).ok().lines().count() == 3);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn the_status_file_is_there_exactly_while_the_container_is_ready() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let readiness = ("hshim.dev/readinessProbe", r#"{"exec":{"command":["test","-e","/tmp/open"]},"failureThreshold":1}"#);
    let file = ("hshim.dev/supervision", r#"{"periodMilliseconds":200,"statusFile":"/tmp/ready"}"#);
    let task = detach(&daemon, "c1", &[readiness, file], SCRIPT);
    let is_shown = || inside(task, "/tmp/ready").exists();
    until("its life begins", || inside(task, "/tmp/ok").exists());
    assert!(!is_shown());
    fs::write(inside(task, "/tmp/open"), "").unwrap();
    until("it is shown to be ready", is_shown);
    fs::remove_file(inside(task, "/tmp/open")).unwrap();
    until("it is shown not to be ready", || !is_shown());
    assert!(daemon.task("c1").unwrap().pid == task.pid, "readiness restarts nothing");
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn a_server_on_loopback_is_probed() {
    if !is_judged() {
        return;
    }
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let probes = [
        r#"{"httpGet":{"path":"/ok","port":8080},"initialDelaySeconds":1,"failureThreshold":2}"#,
        r#"{"tcpSocket":{"port":8080},"initialDelaySeconds":1,"failureThreshold":2}"#,
    ];
    let script = "echo yes >/tmp/ok; echo alive; exec httpd -f -p 127.0.0.1:8080 -h /tmp";
    for (number, probe) in probes.into_iter().enumerate() {
        let id = format!("c{number}");
        let events = EventStream::open(&daemon);
        if is_unsupported(&daemon, probe) {
            hshim_tests::skip::note("this build refuses probes over the network");
            break;
        }
        let first = detach(&daemon, &id, &[("hshim.dev/livenessProbe", probe), QUICK], script);
        if probe.contains("httpGet") {
            break_health(&daemon, &id);
        } else {
            kill(first.init(), Signal::SIGSTOP).unwrap();
            // A stopped server still accepts by its backlog: the port is taken away with the loopback device.
            let net = format!("--net=/proc/{}/ns/net", first.pid);
            assert!(
                std::process::Command::new("nsenter").args([&net, "ip", "link", "set", "lo", "down"]).status().unwrap().success()
            );
        }
        next_life(&daemon, &id, first);
        events.wait_for(&id, "/hshim/restarted");
        daemon.remove(&id);
    }
    daemon.finish();
}

/// Whether the shim says that it has no such probe.
fn is_unsupported(daemon: &Daemon, probe: &str) -> bool {
    let annotation = format!("hshim.dev/livenessProbe={probe}");
    let tried = daemon.try_detach("tried", &["--annotation", &annotation], &["sleep", "1000"]);
    daemon.remove("tried");
    tried.stderr.contains("not supported by hshim")
}
