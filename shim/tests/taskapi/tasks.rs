//! One container from Create to Delete: answers, codes, events.

use ttrpc::proto::Code;

use crate::messages::*;
use crate::shim::{Done, Scene, Shim, cannot_run, client_end, reads, runtimes, until};

#[tokio::test]
async fn a_container_lives_and_ends_and_its_events_come_in_order() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let shim = Shim::start(&runtime, &Scene { script: "echo out; echo err >&2; exit 7", ..Scene::default() }).await;
        let connected: ConnectResponse = shim.call("Connect", &shim.process("")).await.unwrap();
        assert_eq!((connected.shim_pid, connected.task_pid), (shim.shim_pid().unwrap(), 0), "before Create");
        let pid = shim.create().await;
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| client_end(&shim.fifo(name), false));
        let state = shim.state("").await;
        assert_eq!((state.status, state.pid, state.bundle), (1, pid, shim.bundle().display().to_string()));
        let (code, _) = shim.call::<CreateTaskResponse>("Create", &shim.create_request()).await.unwrap_err();
        assert_eq!(code, Code::ALREADY_EXISTS);
        let started: StartResponse = shim.call("Start", &shim.process("")).await.unwrap();
        assert_eq!(started.pid, pid);
        reads(&stdout, "out\n").await;
        reads(&stderr, "err\n").await;
        assert_eq!(shim.wait("").await, 7);
        assert_eq!(shim.wait("").await, 7, "as often as it is asked");
        let state = shim.state("").await;
        assert_eq!((state.status, state.pid, state.exit_status), (3, pid, 7));
        assert!(state.exited_at.is_some());
        assert_eq!(shim.kill(libc::SIGTERM).await.unwrap_err().0, Code::NOT_FOUND);
        assert_eq!(shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap_err().0, Code::FAILED_PRECONDITION);
        let deleted: DeleteResponse = shim.call("Delete", &shim.process("")).await.unwrap();
        assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
        assert_eq!(shim.call::<DeleteResponse>("Delete", &shim.process("")).await.unwrap_err().0, Code::NOT_FOUND);
        until("the events are there", || shim.topics().len() == 4).await;
        assert_eq!(shim.topics(), ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_under_both_names_of_the_service() {
    if cannot_run() {
        return;
    }
    let shim = Shim::start(&runtimes()[0], &Scene::default()).await;
    let client = ttrpc::asynchronous::Client::connect(&shim.address).await.unwrap();
    for service in ["containerd.task.v2.Task", "containerd.task.v3.Task"] {
        for method in
            ["State", "Start", "Delete", "Wait", "Pids", "Pause", "Resume", "Stats", "Kill", "ResizePty", "CloseIO", "Update"]
        {
            let answer = crate::shim::call::<Done>(&client, service, method, &shim.process("")).await;
            assert_eq!(answer.unwrap_err().0, Code::NOT_FOUND, "{service} {method}");
        }
        let answer = crate::shim::call::<Done>(&client, service, "Exec", &shim.process("e")).await;
        assert_eq!(answer.unwrap_err().0, Code::NOT_FOUND);
        let answer = crate::shim::call::<Done>(&client, service, "Checkpoint", &shim.process("")).await;
        assert_eq!(answer.unwrap_err().0, Code::UNIMPLEMENTED);
        let answer = crate::shim::call::<ConnectResponse>(&client, service, "Connect", &shim.process("")).await;
        assert_eq!(answer.unwrap().task_pid, 0);
    }
    shim.ends_without_trace().await;
}

#[tokio::test]
async fn it_is_paused_measured_limited_and_killed() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let shim = Shim::start(&runtime, &Scene { script: "exec sleep 1000", memory: Some(64 << 20), ..Scene::default() }).await;
        let pid = shim.run().await;
        let pids: PidsResponse = shim.call("Pids", &shim.process("")).await.unwrap();
        assert_eq!(pids.processes.iter().map(|it| it.pid).collect::<Vec<_>>(), [pid]);
        shim.call::<Done>("Pause", &shim.process("")).await.unwrap();
        assert_eq!(shim.state("").await.status, 4, "{runtime}");
        assert_eq!(shim.call::<Done>("Pause", &shim.process("")).await.unwrap_err().0, Code::FAILED_PRECONDITION);
        assert_eq!(shim.exec("e", "true", false).await.unwrap_err().0, Code::FAILED_PRECONDITION);
        shim.call::<Done>("Resume", &shim.process("")).await.unwrap();
        assert_eq!(shim.state("").await.status, 2);
        let stats: StatsResponse = shim.call("Stats", &shim.process("")).await.unwrap();
        let kind = stats.stats.unwrap().type_url;
        let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        assert_eq!(kind, if unified { "io.containerd.cgroups.v2.Metrics" } else { "io.containerd.cgroups.v1.Metrics" });
        let resources = Any { value: br#"{"pids":{"limit":77}}"#.to_vec(), ..Any::default() };
        let update = UpdateTaskRequest { id: shim.id.clone(), resources: Some(resources), ..UpdateTaskRequest::default() };
        shim.call::<Done>("Update", &update).await.unwrap();
        let limit = format!("/sys/fs/cgroup/{}{}/pids.max", if unified { "" } else { "pids/" }, shim.id);
        assert_eq!(std::fs::read_to_string(limit).unwrap(), "77\n");
        shim.call::<Done>("Pause", &shim.process("")).await.unwrap();
        shim.kill(libc::SIGKILL).await.unwrap();
        assert_eq!(shim.wait("").await, 137, "also while it is paused");
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn a_container_that_was_never_started_is_deleted_and_one_that_cannot_start_says_why() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let shim = Shim::start(&runtime, &Scene { script: "exec sleep 1000", ..Scene::default() }).await;
        shim.create().await;
        shim.call::<DeleteResponse>("Delete", &shim.process("")).await.unwrap();
        shim.ends_without_trace().await;
        let shim = Shim::start(&runtime, &Scene::default()).await;
        let config = shim.bundle().join("config.json");
        let text = std::fs::read_to_string(&config).unwrap().replace("/bin/sh", "/bin/nonsense");
        std::fs::write(&config, text).unwrap();
        let created = shim.call::<CreateTaskResponse>("Create", &shim.create_request()).await;
        let failed = match created {
            Err(failed) => failed,
            Ok(_) => shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap_err(),
        };
        assert!(failed.1.contains("/bin/nonsense"), "{failed:?}");
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn a_lack_of_memory_is_told_before_the_end() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let script = "tail /dev/zero";
        let shim = Shim::start(&runtime, &Scene { script, memory: Some(16 << 20), ..Scene::default() }).await;
        // The mount of /dev is empty.
        std::fs::create_dir_all(shim.bundle().join("rootfs/dev")).unwrap();
        shim.run().await;
        assert_eq!(shim.wait("").await, 137);
        until("it is told", || shim.topics().contains(&"/tasks/oom".to_owned())).await;
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn what_shares_the_machines_pid_namespace_ends_with_init_all_the_same() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let script = "sleep 1000 & sleep 1000 & echo ready; read line; exit 3";
        let shim = Shim::start(&runtime, &Scene { script, host_pid: true, ..Scene::default() }).await;
        shim.create().await;
        let output = client_end(&shim.fifo("stdout"), false);
        shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap();
        reads(&output, "ready\n").await;
        let pids: PidsResponse = shim.call("Pids", &shim.process("")).await.unwrap();
        assert_eq!(pids.processes.len(), 3, "{runtime}");
        crate::shim::write(&shim.fifo("stdin"), "end\n");
        assert_eq!(shim.wait("").await, 3);
        until("the others are gone", || pids.processes.iter().all(|it| !crate::shim::lives(it.pid))).await;
        until("the reader sees the end", || matches!(std::io::Read::read(&mut &output, &mut [0; 8]), Ok(0))).await;
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn what_cannot_be_created_leaves_no_descriptor_and_is_not_told_of() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let shim = Shim::start(&runtime, &Scene { script: "exit 0", ..Scene::default() }).await;
        shim.call::<ConnectResponse>("Connect", &shim.process("")).await.unwrap();
        let config = shim.bundle().join("config.json");
        let good = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, good.replace("\"rootfs\"", "\"no-such-root\"")).unwrap();
        let before = shim.descriptors();
        for _ in 0..5 {
            shim.call::<CreateTaskResponse>("Create", &shim.create_request()).await.unwrap_err();
        }
        until("the descriptors are closed", || shim.descriptors() <= before).await;
        assert_eq!(shim.topics(), Vec::<String>::new());
        std::fs::write(&config, good).unwrap();
        shim.run().await;
        assert_eq!(shim.wait("").await, 0, "{runtime}: the next one is as if nothing had been");
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn deletes_at_once_have_one_answer_and_one_event() {
    if cannot_run() {
        return;
    }
    let shim = Shim::start(&runtimes()[0], &Scene { script: "exit 3", ..Scene::default() }).await;
    shim.run().await;
    shim.wait("").await;
    let request = shim.process("");
    let delete = || shim.call::<DeleteResponse>("Delete", &request);
    let (one, two, three) = tokio::join!(delete(), delete(), delete());
    let statuses = [one, two, three].map(|answer| answer.map(|it| it.exit_status).map_err(|(code, _)| code));
    assert!(statuses.iter().all(|it| matches!(it, Ok(3) | Err(Code::NOT_FOUND))), "{statuses:?}");
    assert!(statuses.contains(&Ok(3)));
    until("it is told", || shim.topics().contains(&"/tasks/delete".to_owned())).await;
    assert_eq!(shim.topics().iter().filter(|topic| *topic == "/tasks/delete").count(), 1);
    shim.ends_without_trace().await;
}

#[tokio::test]
async fn any_signal_may_be_sent_and_what_is_none_is_refused() {
    if cannot_run() {
        return;
    }
    let shim = Shim::start(&runtimes()[0], &Scene { script: "exec sleep 1000", ..Scene::default() }).await;
    shim.run().await;
    for signal in [0, 1, 34, 64] {
        shim.kill(signal).await.unwrap();
        assert_eq!(shim.state("").await.status, 2, "{signal}: pid 1 heeds none that it does not handle");
    }
    for nonsense in [65, 100_000, i32::MAX] {
        assert_eq!(shim.kill(nonsense).await.unwrap_err().0, Code::INVALID_ARGUMENT, "{nonsense}");
    }
    shim.ends_without_trace().await;
}
