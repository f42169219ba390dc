//! CRI's streams: exec, attach and port-forward, over WebSocket as kubectl may speak it.

use hshim_tests::containerd::{Channel, ContainerRequest, Daemon, PodRequest, Setting, WebSocket};
use hshim_tests::wait::until;

const REMOTE_COMMAND: &str = "v4.channel.k8s.io";
const PORT_FORWARD: &str = "v4.channel.k8s.io";

#[test]
fn a_command_streams_in_and_out_and_tells_how_it_ended() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", ..Default::default() });
    let container = cri.run(&pod, &ContainerRequest { name: "app", command: &["sleep", "1000"], ..Default::default() });
    let mut stream =
        WebSocket::open(&cri.exec(&container, &["sh", "-c", "read line; echo got $line; exit 4"], false), REMOTE_COMMAND);
    stream.send(Channel::Stdin, b"hello\n");
    assert_eq!(stream.read_until(Channel::Stdout, "hello\n"), "got hello\n");
    let status: serde_json::Value = serde_json::from_str(&stream.read_to_end(Channel::Error)).unwrap();
    assert_eq!((&status["status"], &status["details"]["causes"][0]["message"]), (&"Failure".into(), &"4".into()));
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn a_command_in_a_terminal_gets_its_size() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", ..Default::default() });
    let container = cri.run(&pod, &ContainerRequest { name: "app", command: &["sleep", "1000"], ..Default::default() });
    let script = "while [ \"$(stty size)\" != '31 71' ]; do sleep 0.05; done; echo resized";
    let mut stream = WebSocket::open(&cri.exec(&container, &["sh", "-c", script], true), REMOTE_COMMAND);
    stream.send(Channel::Resize, br#"{"Width":71,"Height":31}"#);
    stream.read_until(Channel::Stdout, "resized");
    let status: serde_json::Value = serde_json::from_str(&stream.read_to_end(Channel::Error)).unwrap();
    assert_eq!(status["status"], "Success");
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn a_container_can_be_attached_to() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", ..Default::default() });
    let request = ContainerRequest {
        name: "app",
        command: &["sh", "-c", "while read line; do echo got $line; done"],
        stdin: true,
        ..Default::default()
    };
    let container = cri.run(&pod, &request);
    let mut stream = WebSocket::open(&cri.attach(&container, false), REMOTE_COMMAND);
    stream.send(Channel::Stdin, b"one\n");
    stream.read_until(Channel::Stdout, "got one\n");
    drop(stream);
    let mut stream = WebSocket::open(&cri.attach(&container, false), REMOTE_COMMAND);
    stream.send(Channel::Stdin, b"two\n");
    stream.read_until(Channel::Stdout, "got two\n");
    let log = std::fs::read_to_string(&container.log).unwrap();
    assert!(log.contains("stdout F got one\n") && log.contains("stdout F got two\n"), "{log}");
    cri.remove_pod(&pod);
    daemon.finish();
}

#[test]
fn a_port_of_a_pod_can_be_forwarded() {
    let Some(daemon) = Daemon::start(Setting::Cri) else { return };
    let cri = daemon.cri();
    let pod = cri.run_pod(&PodRequest { name: "pod", network: true, ..Default::default() });
    let command = ["httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/etc"];
    let container = cri.run(&pod, &ContainerRequest { name: "app", command: &command, ..Default::default() });
    until("it listens", || cri.exec_sync(&container, &["netstat", "-ltn"], 10).unwrap().stdout.contains("127.0.0.1:8080"));
    let url = format!("{}?port=8080", cri.port_forward(&pod, 8080));
    let mut stream = WebSocket::open(&url, PORT_FORWARD);
    // Two channels a port: data and errors; both begin with the port's number.
    let port = 8080_u16.to_le_bytes();
    assert_eq!(stream.receive(), Some((0, port.to_vec())));
    stream.send_bytes(0, b"GET /passwd HTTP/1.0\r\n\r\n");
    stream.read_until(Channel::Stdin, "root:x:0:0");
    cri.remove_pod(&pod);
    daemon.finish();
}
