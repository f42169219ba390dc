//! The shim that is told to end, and the one that is killed: what stays, and what the clean-up makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::messages::*;
use crate::shim::{Scene, Shim, cannot_run, lives, runtimes, until};

/// containerd's own shim needs about as long; a shutdown of the machine waits for it.
const PROMPT: Duration = Duration::from_secs(2);

async fn ends_promptly(shim: &Shim, signal: Signal) {
    let (pid, begin) = (shim.shim_pid().unwrap(), Instant::now());
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
    until("the shim has ended", || !lives(pid)).await;
    assert!(begin.elapsed() < PROMPT, "{signal}: {:?}", begin.elapsed());
}

async fn is_cleared_away(shim: Shim, pid: u32) {
    assert!(lives(pid), "the container is left to the clean-up");
    assert_eq!(shim.delete_binary().pid, pid);
    until("it is gone", || !lives(pid)).await;
    shim.nothing_is_left();
    fs::remove_dir_all(&shim.base).unwrap();
}

#[tokio::test]
async fn a_shim_that_is_asked_to_end_does_so_at_once_and_leaves_its_containers() {
    if cannot_run() {
        return;
    }
    let probe = [("hshim.dev/livenessProbe", r#"{"exec":{"command":["true"]},"periodSeconds":1}"#)];
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let shim =
            Shim::start(&runtimes()[0], &Scene { script: "exec sleep 1000", annotations: &probe, ..Scene::default() }).await;
        let pid = shim.run().await;
        shim.exec("e", "exec sleep 1000", false).await.unwrap();
        shim.call::<StartResponse>("Start", &shim.process("e")).await.unwrap();
        // As containerd's clients, which wait for each process.
        let client = ttrpc::asynchronous::Client::connect(&shim.address).await.unwrap();
        let request = shim.process("");
        let waiting = tokio::spawn(async move {
            let mut call = ttrpc::Request::new();
            call.service = "containerd.task.v2.Task".to_owned();
            call.method = "Wait".to_owned();
            call.payload = crate::wire::Message::to_bytes(&request);
            client.request(call).await.is_err()
        });
        ends_promptly(&shim, signal).await;
        assert!(waiting.await.unwrap(), "who waits hears that the shim is gone, not that the container has ended");
        assert!(!Path::new(shim.address.trim_start_matches("unix://")).exists(), "its socket goes with it");
        is_cleared_away(shim, pid).await;
    }
}

#[tokio::test]
async fn a_shim_ends_at_once_though_containerd_is_away_and_has_not_heard_all() {
    if cannot_run() {
        return;
    }
    let mut shim = Shim::start(&runtimes()[0], &Scene { script: "exec sleep 1000", ..Scene::default() }).await;
    let pid = shim.run().await;
    shim.exec("e", "true", false).await.unwrap();
    shim.lose_containerd().await;
    ends_promptly(&shim, Signal::SIGTERM).await;
    is_cleared_away(shim, pid).await;
}

#[tokio::test]
async fn the_clean_up_after_a_killed_shim_takes_all_its_sockets_and_those_of_no_other() {
    if cannot_run() {
        return;
    }
    let terminals = |pid: u32| -> Vec<PathBuf> {
        let entries = fs::read_dir("/run/hshim/pty").into_iter().flatten().flatten();
        entries.filter(|it| it.file_name().to_string_lossy().starts_with(&format!("{pid}-"))).map(|it| it.path()).collect()
    };
    let mut shims = Vec::new();
    for _ in 0..2 {
        let shim = Shim::start(&runtimes()[0], &Scene { script: "exec sleep 1000", terminal: true, ..Scene::default() }).await;
        let mut request = shim.create_request();
        (request.terminal, request.stderr) = (true, String::new());
        shim.call::<CreateTaskResponse>("Create", &request).await.unwrap();
        let pid = shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap().pid;
        shim.exec("e", "exec sleep 1000", true).await.unwrap();
        shim.call::<StartResponse>("Start", &shim.process("e")).await.unwrap();
        shims.push((shim, pid));
    }
    let (other, _) = shims.pop().unwrap();
    let (killed, pid) = shims.pop().unwrap();
    let (own, its) = (killed.shim_pid().unwrap(), other.shim_pid().unwrap());
    let before = terminals(its);
    assert!(!terminals(own).is_empty() && !before.is_empty());
    // A live shim's clean-up of another container, or of one that is long gone, touches no socket.
    assert_eq!(other.state("").await.status, 2);
    kill(Pid::from_raw(own.cast_signed()), Signal::SIGKILL).unwrap();
    until("it is dead", || !lives(own)).await;
    assert_eq!(killed.delete_binary().pid, pid);
    assert_eq!(terminals(own), Vec::<PathBuf>::new());
    assert!(!Path::new(killed.address.trim_start_matches("unix://")).exists());
    assert_eq!(terminals(its), before);
    killed.nothing_is_left();
    fs::remove_dir_all(&killed.base).unwrap();
    other.ends_without_trace().await;
    assert_eq!(terminals(its), Vec::<PathBuf>::new());
}
