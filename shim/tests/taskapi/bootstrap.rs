//! How the shim is started, found again, and cleaned up after.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::messages::*;
use crate::shim::{Done, Scene, Shim, call, cannot_run, launch, runtimes, shim_path, until, write_bundle};
use crate::wire::Message;

const GROUP: (&str, &str) = ("io.kubernetes.cri.sandbox-id", "pod");

#[tokio::test]
async fn containers_of_a_pod_share_a_shim_that_stays_until_the_last_is_gone() {
    if cannot_run() {
        return;
    }
    let runtime = &runtimes()[0];
    let mut pod = Shim::start(runtime, &Scene { script: "exec sleep 1000", annotations: &[GROUP], ..Scene::default() }).await;
    let socket = pod.address.trim_start_matches("unix://").to_owned();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(pod.bundle().join("address")).unwrap(), pod.address);
    pod.run().await;
    let (first, shim_pid) = (pod.id.clone(), pod.shim_pid());
    pod.id = format!("{first}-b");
    write_bundle(&pod.base, &pod.id, &Scene { script: "exit 3", annotations: &[GROUP], ..Scene::default() });
    assert_eq!(launch(&pod.base, &pod.id, true), pod.address, "the second start finds the first's shim");
    assert_eq!(fs::read_to_string(pod.bundle().join("address")).unwrap(), pod.address);
    assert_eq!(pod.shim_pid(), None, "and spawns nothing");
    pod.run().await;
    assert_eq!(pod.wait("").await, 3);
    pod.call::<DeleteResponse>("Delete", &pod.process("")).await.unwrap();
    pod.call::<Done>("Shutdown", &pod.process("")).await.unwrap();
    assert_eq!(pod.delete_binary().exit_status, 137);
    pod.id = first;
    assert_eq!(pod.shim_pid(), shim_pid, "its neighbour still needs it");
    assert_eq!(pod.state("").await.status, 2);
    pod.ends_without_trace().await;
}

#[tokio::test]
async fn a_killed_shim_is_cleaned_up_after_and_its_socket_is_used_again() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let shim = Shim::start(&runtime, &Scene { script: "exec sleep 1000", ..Scene::default() }).await;
        let pid = shim.run().await;
        let shim_pid = shim.shim_pid().unwrap();
        kill(Pid::from_raw(shim_pid.cast_signed()), Signal::SIGKILL).unwrap();
        until("the shim is dead", || shim.shim_pid().is_none()).await;
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "the container lives on");
        let deleted = shim.delete_binary();
        assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
        until("the container is gone", || !Path::new(&format!("/proc/{pid}/exe")).exists()).await;
        assert_eq!(shim.delete_binary().pid, 0, "a second time there is nothing");
        shim.nothing_is_left();
        assert!(!Path::new(shim.address.trim_start_matches("unix://")).exists());
        assert_eq!(launch(&shim.base, &shim.id, true), shim.address);
        let again = shim.shim_pid().unwrap();
        kill(Pid::from_raw(again.cast_signed()), Signal::SIGTERM).unwrap();
        until("a signal ends it", || shim.shim_pid().is_none()).await;
        fs::remove_dir_all(&shim.base).unwrap();
    }
}

#[tokio::test]
async fn an_older_containerd_reads_a_bare_address_whatever_it_sends() {
    if cannot_run() {
        return;
    }
    let shim = Shim::start(&runtimes()[0], &Scene::default()).await;
    let id = format!("{}-bare", shim.id);
    write_bundle(&shim.base, &id, &Scene::default());
    let address = launch(&shim.base, &id, false);
    assert!(
        address.starts_with("unix:///run/containerd/s/") && address.len() == "unix:///run/containerd/s/".len() + 64,
        "{address}"
    );
    let (bare, mut all) = (id, shim);
    let first = std::mem::replace(&mut all.id, bare);
    let client = ttrpc::asynchronous::Client::connect(&address).await.unwrap();
    let connected: ConnectResponse = call(&client, "containerd.task.v2.Task", "Connect", &all.process("")).await.unwrap();
    let pid = all.shim_pid().unwrap();
    assert_eq!(connected.shim_pid, pid);
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).unwrap();
    until("it has ended", || all.shim_pid().is_none()).await;
    assert!(!Path::new(address.trim_start_matches("unix://")).exists());
    all.id = first;
    all.ends_without_trace().await;
}

#[test]
fn the_runtime_tells_about_itself_from_anywhere() {
    let output = Command::new(shim_path()).arg("-info").current_dir("/").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success());
    let info = RuntimeInfo::from_bytes(&output.stdout).unwrap();
    assert_eq!(info.name, "io.containerd.hshim.v2");
    let output = Command::new(shim_path()).arg("-v").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("containerd-shim-hshim-v2 "));
    let output = Command::new(shim_path()).args(["-id", "x", "start"]).stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    assert_eq!(output.stderr.iter().filter(|&&byte| byte == b'\n').count(), 1, "one short line");
}

#[tokio::test]
async fn a_shim_that_nobody_needs_ends_by_itself_and_one_with_a_container_does_not() {
    if cannot_run() {
        return;
    }
    let needed = Shim::start(&runtimes()[0], &Scene { script: "exec sleep 1000", ..Scene::default() }).await;
    needed.run().await;
    let unneeded = Shim::start(&runtimes()[0], &Scene::default()).await;
    // A minute; a connection that asks nothing is no need.
    let begin = std::time::Instant::now();
    while unneeded.shim_pid().is_some() {
        assert!(begin.elapsed().as_secs() < 120, "it is still there");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(begin.elapsed().as_secs() >= 50, "too early: {:?}", begin.elapsed());
    assert!(!Path::new(unneeded.address.trim_start_matches("unix://")).exists());
    fs::remove_dir_all(&unneeded.base).unwrap();
    assert_eq!(needed.state("").await.status, 2);
    needed.ends_without_trace().await;
}

#[test]
fn a_shim_is_the_kernels_choice_before_containerd_and_never_beyond_the_scale() {
    if cannot_run() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (own, expected) in [("7", "8"), ("1000", "1000")] {
        fs::write("/proc/self/oom_score_adj", own).unwrap();
        let shim = runtime.block_on(Shim::start(&runtimes()[0], &Scene::default()));
        let pid = shim.shim_pid().unwrap();
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), expected);
        runtime.block_on(shim.ends_without_trace());
    }
}
