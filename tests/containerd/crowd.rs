//! Many at once: containers, commands, restless clients. The numbers are small in CI; `HSHIM_HEAVY=1` makes them what is promised.

use std::fs;
use std::time::Duration;

use hshim_tests::containerd::{Daemon, Setting, shims_below, supervises};
use hshim_tests::wait::{until, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn many(few: usize, heavy: usize) -> usize {
    if std::env::var("HSHIM_HEAVY").is_ok_and(|value| value == "1") { heavy } else { few }
}

#[test]
fn many_commands_run_at_once_in_one_container() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    daemon.detach("c1", &[], &["sleep", "1000"]);
    let shim = shims_below(daemon.home()).remove(0);
    let descriptors = shim.descriptors();
    let count = many(24, 100);
    let command = |number: usize| format!("echo {number}; exit {}", number % 100);
    let execs: Vec<_> = (0..count).map(|number| daemon.start_exec("c1", &[], &["sh", "-c", &command(number)])).collect();
    for (number, mut exec) in execs.into_iter().enumerate() {
        exec.close_stdin();
        let finished = exec.finish();
        assert_eq!(
            (usize::try_from(finished.status).unwrap(), finished.stdout),
            (number % 100, format!("{number}\n")),
            "{}",
            finished.stderr
        );
    }
    until("the shim has closed what it opened", || shim.descriptors() <= descriptors + 2);
    daemon.remove("c1");
    daemon.finish();
}

#[test]
fn many_containers_run_at_once() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    let count = many(20, 100);
    let ids: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
    let starts: Vec<_> = ids.iter().map(|id| daemon.start_run(id, &["--detach", "--null-io"], &["sleep", "1000"])).collect();
    for start in starts {
        start.finish().ok();
    }
    assert!(ids.iter().all(|id| daemon.task(id).is_some_and(|task| task.runs())));
    assert_eq!(shims_below(daemon.home()).len(), count);
    for id in &ids {
        daemon.ctr(&["task", "kill", "--signal", "SIGKILL", id]).ok();
    }
    for id in &ids {
        assert_eq!(daemon.wait_stopped(id), 137);
        daemon.remove(id);
    }
    daemon.finish();
}

#[test]
fn containers_of_a_group_share_one_shim_and_end_apart() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    daemon.remember("g1");
    let ids = ["c1", "c2", "c3"];
    for id in ids {
        daemon.detach(id, &["--annotation", "io.containerd.runc.v2.group=g1"], &["sleep", "1000"]);
    }
    let shim = shims_below(daemon.home());
    assert_eq!(shim.len(), 1);
    for id in ids {
        assert!(daemon.task(id).unwrap().runs());
        assert_eq!(daemon.exec(id, &["echo", id]).ok(), format!("{id}\n"));
        daemon.remove(id);
    }
    daemon.finish();
}

#[test]
fn a_client_that_dies_while_it_creates_leaves_nothing() {
    let Some(daemon) = Daemon::start(Setting::Tasks) else { return };
    for round in 0..many(8, 40) {
        let id = format!("c{round}");
        let run = daemon.start_run(&id, &["--rm"], &["sleep", "1000"]);
        // Die at a different step of the creation each time.
        let steps = [
            daemon.bundle(&id),
            daemon.bundle(&id).join("address"),
            daemon.bundle(&id).join("rootfs/bin"),
            daemon.bundle(&id).join("init.pid"),
        ];
        let step = &steps[round % steps.len()];
        until("the creation has come so far", || step.exists() || daemon.task(&id).is_some());
        run.signal(Signal::SIGKILL);
        assert_eq!(run.finish().status, 137);
        until("it can be removed", || {
            daemon.ctr(&["task", "rm", "--force", &id]);
            daemon.task(&id).is_none() && !daemon.bundle(&id).exists()
        });
        daemon.ctr(&["container", "rm", &id]);
    }
    if supervises() {
        // A shim that has lost its only client before it had a task waits a minute for another.
        within(Duration::from_secs(120), "shims that nobody needs end", || shims_below(daemon.home()).is_empty());
    } else {
        // The reference of containerd 1.6 leaks a shim or its socket when its client dies before Create is answered.
        for shim in shims_below(daemon.home()) {
            kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
        }
        for round in 0..many(8, 40) {
            fs::remove_file(daemon.shim_socket(&format!("c{round}"))).ok();
        }
    }
    daemon.finish();
}
