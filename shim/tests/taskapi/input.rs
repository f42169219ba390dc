//! Bad input: refused by name, and the shim stays up.

use std::io::Write;
use std::os::unix::net::UnixStream;

use ttrpc::proto::Code;

use crate::messages::*;
use crate::shim::{Scene, Shim, cannot_run, runtimes};

#[tokio::test]
async fn a_container_that_cannot_be_as_it_asks_is_refused_by_name() {
    if cannot_run() {
        return;
    }
    let shim = Shim::start(&runtimes()[0], &Scene { script: "exit 0", ..Scene::default() }).await;
    let config = shim.bundle().join("config.json");
    let good = std::fs::read_to_string(&config).unwrap();
    let with = |annotations: &str| good.replace("\"annotations\":{}", &format!("\"annotations\":{annotations}"));
    for (text, named) in [
        (String::from("{"), "config.json"),
        (with(r#"{"hshim.dev/livenessProbe":"{"}"#), "annotations[\"hshim.dev/livenessProbe\"]"),
        (with(r#"{"hshim.dev/livenesProbe":"{}"}"#), "annotations[\"hshim.dev/livenesProbe\"]"),
        (
            with(r#"{"hshim.dev/livenessProbe":"{\"exec\":{\"command\":[\"true\"]},\"periodSecond\":1}"}"#),
            "annotations[\"hshim.dev/livenessProbe\"].periodSecond",
        ),
    ] {
        std::fs::write(&config, text).unwrap();
        let (code, message) = shim.call::<CreateTaskResponse>("Create", &shim.create_request()).await.unwrap_err();
        assert_eq!(code, Code::INVALID_ARGUMENT, "{message}");
        assert!(message.contains(named), "{message}");
    }
    std::fs::remove_file(&config).unwrap();
    let (_, message) = shim.call::<CreateTaskResponse>("Create", &shim.create_request()).await.unwrap_err();
    assert!(message.contains("config.json"), "{message}");
    std::fs::write(&config, good).unwrap();
    let mut request = shim.create_request();
    request.options = Some(Any { type_url: "some.other/Options".into(), value: vec![1] });
    let (code, message) = shim.call::<CreateTaskResponse>("Create", &request).await.unwrap_err();
    assert_eq!(code, Code::INVALID_ARGUMENT);
    assert!(message.contains("some.other/Options"), "{message}");
    request = shim.create_request();
    request.checkpoint = "/some".into();
    assert_eq!(shim.call::<CreateTaskResponse>("Create", &request).await.unwrap_err().0, Code::UNIMPLEMENTED);
    // And a good one still works.
    shim.run().await;
    assert_eq!(shim.wait("").await, 0);
    shim.ends_without_trace().await;
}

#[tokio::test]
async fn malformed_frames_end_at_most_their_own_connection() {
    if cannot_run() {
        return;
    }
    let shim = Shim::start(&runtimes()[0], &Scene { script: "exec sleep 1000", ..Scene::default() }).await;
    shim.run().await;
    let path = shim.address.trim_start_matches("unix://");
    for frame in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 4, 0, 0, 0, 1, 1, 0, 0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0, 0, 0, 0, 2, 1, 0],
        &[0, 0, 0, 0, 0, 0, 0, 1, 9, 9],
        &[0xff; 64],
    ] {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(frame).unwrap();
    }
    assert_eq!(shim.state("").await.status, 2);
    shim.ends_without_trace().await;
}
