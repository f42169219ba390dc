//! Further processes in a container.

use ttrpc::proto::Code;

use crate::messages::*;
use crate::shim::{Done, Scene, Shim, cannot_run, client_end, reads, runtimes, until};

#[tokio::test]
async fn an_exec_runs_ends_and_is_told_of_before_its_container() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let shim = Shim::start(&runtime, &Scene { script: "exec sleep 1000", ..Scene::default() }).await;
        shim.run().await;
        shim.exec("e", "echo hello; exit 5", false).await.unwrap();
        assert_eq!(shim.exec("e", "true", false).await.unwrap_err().0, Code::ALREADY_EXISTS);
        assert_eq!(shim.state("e").await.status, 1);
        let kill = KillRequest { id: shim.id.clone(), exec_id: "e".into(), signal: 9, all: false };
        assert_eq!(shim.call::<Done>("Kill", &kill).await.unwrap_err().0, Code::FAILED_PRECONDITION);
        let output = client_end(&shim.fifo("e-out"), false);
        let pid = shim.call::<StartResponse>("Start", &shim.process("e")).await.unwrap().pid;
        reads(&output, "hello\n").await;
        assert_eq!(shim.wait("e").await, 5);
        assert_eq!(shim.call::<Done>("Kill", &kill).await.unwrap_err().0, Code::NOT_FOUND);
        let deleted: DeleteResponse = shim.call("Delete", &shim.process("e")).await.unwrap();
        assert_eq!((deleted.pid, deleted.exit_status), (pid, 5));
        assert_eq!(shim.call::<StateResponse>("State", &shim.process("e")).await.unwrap_err().0, Code::NOT_FOUND);
        shim.exec("long", "exec sleep 1000", false).await.unwrap();
        let long = shim.call::<StartResponse>("Start", &shim.process("long")).await.unwrap().pid;
        let pids: PidsResponse = shim.call("Pids", &shim.process("")).await.unwrap();
        let of_long = pids.processes.iter().find(|it| it.pid == long).unwrap();
        assert_eq!(of_long.info.as_ref().unwrap().type_url, "containerd.runc.v1.ProcessDetails");
        shim.kill(libc::SIGKILL).await.unwrap();
        shim.wait("").await;
        until("both ends are told", || shim.topics().iter().filter(|topic| *topic == "/tasks/exit").count() == 3).await;
        let ends: Vec<String> = shim
            .events
            .lock()
            .unwrap()
            .iter()
            .filter(|(topic, _)| topic == "/tasks/exit")
            .map(|(_, exit)| exit.id.clone())
            .collect();
        assert_eq!(ends, ["e", "long", &shim.id]);
        assert_eq!(shim.exec("late", "true", false).await.unwrap_err().0, Code::FAILED_PRECONDITION);
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn a_child_that_an_exec_leaves_behind_holds_up_nothing() {
    if cannot_run() {
        return;
    }
    let shim = Shim::start(&runtimes()[0], &Scene { script: "exec sleep 1000", ..Scene::default() }).await;
    shim.run().await;
    shim.exec("e", "sleep 500 & echo done", false).await.unwrap();
    let output = client_end(&shim.fifo("e-out"), false);
    shim.call::<StartResponse>("Start", &shim.process("e")).await.unwrap();
    reads(&output, "done\n").await;
    assert_eq!(shim.wait("e").await, 0);
    shim.call::<DeleteResponse>("Delete", &shim.process("e")).await.unwrap();
    until("the reader sees the end", || matches!(std::io::Read::read(&mut &output, &mut [0; 8]), Ok(0))).await;
    shim.ends_without_trace().await;
}

#[tokio::test]
async fn many_execs_at_once_all_end_and_leave_no_descriptor() {
    if cannot_run() {
        return;
    }
    let shim = Shim::start(&runtimes()[0], &Scene { script: "exec sleep 1000", ..Scene::default() }).await;
    shim.run().await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", shim.shim_pid().unwrap())).unwrap().count();
    let before = descriptors();
    let one = async |n: i32| {
        let id = format!("e{n}");
        shim.exec(&id, "exit 3", false).await.unwrap();
        shim.call::<StartResponse>("Start", &shim.process(&id)).await.unwrap();
        assert_eq!(shim.wait(&id).await, 3);
        shim.call::<DeleteResponse>("Delete", &shim.process(&id)).await.unwrap();
    };
    let (a, b, c, d) = (one(1), one(2), one(3), one(4));
    tokio::join!(a, b, c, d, one(5), one(6), one(7), one(8));
    until("the descriptors are closed", || descriptors() <= before).await;
    shim.ends_without_trace().await;
}
