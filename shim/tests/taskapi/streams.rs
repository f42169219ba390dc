//! Standard input, files, log programs and terminals.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::messages::*;
use crate::shim::{Done, Scene, Shim, cannot_run, client_end, reads, runtimes, until, write};

#[tokio::test]
async fn input_is_read_until_it_is_closed() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let shim = Shim::start(&runtime, &Scene { script: "cat; echo end; exit 4", ..Scene::default() }).await;
        shim.create().await;
        let output = client_end(&shim.fifo("stdout"), false);
        shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap();
        write(&shim.fifo("stdin"), "one\n");
        reads(&output, "one\n").await;
        write(&shim.fifo("stdin"), "two\n");
        reads(&output, "two\n").await;
        let close = CloseIoRequest { id: shim.id.clone(), stdin: true, ..CloseIoRequest::default() };
        shim.call::<Done>("CloseIO", &close).await.unwrap();
        reads(&output, "end\n").await;
        assert_eq!(shim.wait("").await, 4);
        shim.call::<Done>("CloseIO", &close).await.unwrap();
        shim.ends_without_trace().await;
    }
}

#[tokio::test]
async fn both_streams_go_into_a_file_or_a_program() {
    if cannot_run() {
        return;
    }
    let shim = Shim::start(&runtimes()[0], &Scene { script: "echo out; echo err >&2", ..Scene::default() }).await;
    let log = shim.base.join("deep/er/log");
    let mut request = shim.create_request();
    request.stdout = format!("file://{}", log.display());
    shim.call::<CreateTaskResponse>("Create", &request).await.unwrap();
    shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap();
    shim.wait("").await;
    assert_eq!(fs::read_to_string(&log).unwrap(), "out\nerr\n");
    shim.ends_without_trace().await;

    let shim = Shim::start(&runtimes()[0], &Scene { script: "echo out; echo err >&2", ..Scene::default() }).await;
    let (program, log) = (shim.base.join("logger"), shim.base.join("logged"));
    fs::write(
        &program,
        "#!/bin/sh\nexec 5>&-\necho $1 $2 $CONTAINER_ID $CONTAINER_NAMESPACE >> $2\ncat <&3 >> $2\ncat <&4 >> $2\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut request = shim.create_request();
    request.stdout = format!("binary://{}?file={}", program.display(), log.display());
    shim.call::<CreateTaskResponse>("Create", &request).await.unwrap();
    shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap();
    shim.wait("").await;
    let expected = format!("file {} {} taskapi\nout\nerr\n", log.display(), shim.id);
    until("the program has logged", || fs::read_to_string(&log).is_ok_and(|text| text == expected)).await;
    shim.ends_without_trace().await;

    let shim = Shim::start(&runtimes()[0], &Scene::default()).await;
    let mut request = shim.create_request();
    request.stdout = "carrier://pigeon".to_owned();
    let (_, message) = shim.call::<CreateTaskResponse>("Create", &request).await.unwrap_err();
    assert!(message.contains("unknown scheme carrier"), "{message}");
    shim.ends_without_trace().await;
}

#[tokio::test]
async fn a_terminal_has_the_size_that_was_set_and_takes_input() {
    if cannot_run() {
        return;
    }
    for runtime in runtimes() {
        let shim = Shim::start(
            &runtime,
            &Scene { script: "read line; stty size; echo got $line; exit 6", terminal: true, ..Scene::default() },
        )
        .await;
        let mut request = shim.create_request();
        (request.terminal, request.stderr) = (true, String::new());
        let created = shim.call::<CreateTaskResponse>("Create", &request).await;
        created.unwrap();
        let output = client_end(&shim.fifo("stdout"), false);
        shim.call::<StartResponse>("Start", &shim.process("")).await.unwrap();
        let resize = ResizePtyRequest { id: shim.id.clone(), width: 91, height: 17, ..ResizePtyRequest::default() };
        shim.call::<Done>("ResizePty", &resize).await.unwrap();
        write(&shim.fifo("stdin"), "words\n");
        reads(&output, "17 91\r\n").await;
        assert_eq!(shim.wait("").await, 6);
        shim.ends_without_trace().await;
    }
}
