//! Who restarts while containerd comes and goes, and what it is told when it is back.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::messages::*;
use crate::shim::{Scene, Shim, cannot_run, client_end, lives, reads, runtimes, until};

const ALWAYS: (&str, &str) = ("hshim.dev/restartPolicy", "Always");
const AUTO: (&str, &str) = ("hshim.dev/supervision", r#"{"restartOwner":"auto"}"#);
const LIFE: &str = "echo life; exec sleep 1000";

fn count(shim: &Shim, topic: &str) -> usize {
    shim.topics().iter().filter(|it| *it == topic).count()
}

fn end(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
}

/// The present process of the container, from its records: nobody may be asked.
fn process(shim: &Shim) -> Option<u32> {
    let status = std::fs::read_to_string(shim.base.join("run/taskapi/bundles").join(&shim.id).join("status.json")).ok()?;
    let after = status.split("\"pid\":").nth(1)?;
    after.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

#[tokio::test]
async fn a_container_is_restarted_here_only_while_nobody_is_connected() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let mut shim = Shim::start(&runtime, &Scene { script: LIFE, annotations: &[ALWAYS, AUTO], ..Scene::default() }).await;
        shim.create().await;
        let output = client_end(&shim.fifo("stdout"), false);
        let first = shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap().pid;
        reads(&output, "life\n").await;
        assert_eq!(count(&shim, "/hshim/restart-owner"), 0, "nothing has changed yet");
        shim.hang_up();
        until("the change is told", || count(&shim, "/hshim/restart-owner") == 1).await;
        end(first);
        reads(&output, "life\n").await;
        until("it runs again", || count(&shim, "/hshim/restarted") == 1).await;
        let second = process(&shim).unwrap();
        assert!(second != first && lives(second));
        shim.connect().await;
        assert_eq!(shim.state("").await.pid, second);
        until("this change is told, too", || count(&shim, "/hshim/restart-owner") == 2).await;
        end(second);
        assert_eq!(shim.wait("").await, 137, "its end is handed on");
        until("and told", || count(&shim, "/tasks/exit") == 1).await;
        assert_eq!(count(&shim, "/hshim/restarting"), 1);
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn what_happens_while_containerd_is_away_is_told_in_order_when_it_is_back() {
    if cannot_run() {
        return;
    }
    let mut shim = Shim::start(&runtimes()[0], &Scene { script: LIFE, annotations: &[ALWAYS, AUTO], ..Scene::default() }).await;
    let first = shim.run().await;
    until("it is told of", || count(&shim, "/tasks/start") == 1).await;
    shim.lose_containerd().await;
    until("the first process is looked after", || process(&shim) == Some(first)).await;
    end(first);
    until("the next one runs", || process(&shim).is_some_and(|pid| pid != first && lives(pid))).await;
    // Longer than an event is tried for: then it is kept, and nothing wakes the shim.
    let waiting = format!("/proc/{}/status", shim.shim_pid().unwrap());
    let switches = || {
        let status = std::fs::read_to_string(&waiting).unwrap();
        status.lines().find(|line| line.starts_with("voluntary")).unwrap().to_owned()
    };
    let mut before = (switches(), std::time::Instant::now());
    until("nothing wakes it for five seconds", || {
        let now = switches();
        if now != before.0 {
            before = (now, std::time::Instant::now());
        }
        before.1.elapsed().as_secs() >= 5
    })
    .await;
    assert!(Path::new(&waiting).exists());
    shim.find_containerd().await;
    assert_eq!(shim.state("").await.status, 2);
    until("all is told", || count(&shim, "/hshim/restart-owner") == 2).await;
    let told: Vec<String> = shim.topics().into_iter().filter(|topic| topic.starts_with("/hshim/")).collect();
    assert_eq!(told, ["/hshim/restart-owner", "/hshim/restarting", "/hshim/restarted", "/hshim/restart-owner"]);
    shim.ends_without_trace().await;
}
