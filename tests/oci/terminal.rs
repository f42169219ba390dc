//! Terminals: over a console socket, and in the foreground.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::Instant;

use hshim_tests::bundle::Bundle;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use hshim_tests::{descriptor, wait};

use crate::support::*;

/// Reads from a terminal until the text appears.
fn read_until(master: &mut File, text: &str) -> String {
    let end = Instant::now() + wait::PATIENCE;
    let mut said = String::new();
    let mut buffer = [0; 4096];
    while !said.contains(text) {
        let left = end.saturating_duration_since(Instant::now());
        let mut ready = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        let count = poll(&mut ready, PollTimeout::try_from(left).unwrap()).unwrap();
        assert!(count > 0, "{text:?} does not come: {said:?}");
        // The last user of the terminal being gone is told as an error.
        let length = master.read(&mut buffer).unwrap_or_else(|error| panic!("{error}: {text:?} did not come: {said:?}"));
        said.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    said
}

/// Creates a container on a terminal and returns the master side.
fn create_on_terminal(bundle: &mut Bundle) -> File {
    bundle.edit(|config| config["process"]["terminal"] = json!(true));
    let socket = bundle.scratch.join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut create = bundle
        .command(&["create", "--console-socket", socket.to_str().unwrap(), bundle.id()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let master = descriptor::receive(&listener);
    assert!(create.wait().unwrap().success());
    File::from(master)
}

#[test]
fn the_console_socket_receives_the_master() {
    let mut bundle = bundle!("echo hello; tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three; sleep 1000");
    let mut master = create_on_terminal(&mut bundle);
    bundle.ok(&["start", bundle.id()]);
    let said = read_until(&mut master, "all three");
    assert!(said.contains("hello\r\n") && said.contains("/dev/pts/0"), "{said:?}");
}

#[test]
fn what_is_typed_arrives() {
    let mut bundle = bundle!("read line; echo \"got $line\"; sleep 1000");
    let mut master = create_on_terminal(&mut bundle);
    bundle.ok(&["start", bundle.id()]);
    master.write_all(b"typed\n").unwrap();
    read_until(&mut master, "got typed");
}

#[test]
fn it_is_the_controlling_terminal() {
    let mut bundle = bundle!("trap 'echo interrupted; exit' INT; echo ready; while :; do sleep 0.05; done");
    let mut master = create_on_terminal(&mut bundle);
    bundle.ok(&["start", bundle.id()]);
    read_until(&mut master, "ready");
    master.write_all(&[3]).unwrap();
    read_until(&mut master, "interrupted");
}

#[test]
fn its_size_is_that_of_the_specification() {
    let mut bundle = bundle!("stty size; sleep 1000");
    bundle.edit(|config| config["process"]["consoleSize"] = json!({"height": 33, "width": 77}));
    let mut master = create_on_terminal(&mut bundle);
    bundle.ok(&["start", bundle.id()]);
    read_until(&mut master, "33 77");
}

#[test]
fn it_belongs_to_the_containers_user() {
    let mut bundle = bundle!("stat -c 'owner %u' $(tty); echo x > $(tty) && echo written; sleep 1000");
    bundle.edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let mut master = create_on_terminal(&mut bundle);
    bundle.ok(&["start", bundle.id()]);
    let said = read_until(&mut master, "written");
    assert!(said.contains("owner 1000"), "{said:?}");
}

#[test]
fn dev_console_is_there() {
    let mut bundle = bundle!("echo through > /dev/console; sleep 1000");
    let mut master = create_on_terminal(&mut bundle);
    bundle.ok(&["start", bundle.id()]);
    read_until(&mut master, "through");
}

#[test]
fn a_terminal_without_a_console_socket_is_refused() {
    let bundle = bundle!("true", process.terminal = true);
    let errors = bundle.refused(&["create", bundle.id()]);
    assert!(errors.contains("console"), "{errors}");
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_console_socket_without_a_terminal_is_refused() {
    let bundle = bundle!("true");
    let errors = bundle.refused(&["create", "--console-socket", "/nowhere", bundle.id()]);
    assert!(errors.contains("console"), "{errors}");
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_console_socket_that_is_not_there_is_refused() {
    let bundle = bundle!("true", process.terminal = true);
    bundle.refused(&["create", "--console-socket", "/no/such/socket", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_console_socket_in_the_foreground_is_refused() {
    let bundle = bundle!("true", process.terminal = true);
    bundle.refused(&["run", "--console-socket", "/nowhere", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

/// A terminal that stands for the user's: its master, and three ends for a program.
fn user_terminal(columns: u16) -> (File, [OwnedFd; 3]) {
    let size = nix::pty::Winsize { ws_row: 44, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).unwrap();
    let ends = [pty.slave.try_clone().unwrap(), pty.slave.try_clone().unwrap(), pty.slave];
    (File::from(pty.master), ends)
}

#[test]
fn run_carries_between_the_users_terminal_and_the_containers() {
    let bundle = bundle!("stty size; read line; echo \"got $line\"; exit 6", process.terminal = true);
    let (mut master, [input, output, errors]) = user_terminal(99);
    let mut run = bundle.command(&["run", bundle.id()]).stdin(input).stdout(output).stderr(errors).spawn().unwrap();
    read_until(&mut master, "44 99");
    master.write_all(b"typed\r").unwrap();
    read_until(&mut master, "got typed");
    assert_eq!(run.wait().unwrap().code(), Some(6));
}

#[test]
fn exec_with_a_terminal_carries_too() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let (mut master, [input, output, errors]) = user_terminal(88);
    let args = ["exec", "-t", bundle.id(), "sh", "-c", "stty size; tty; read line; echo \"got $line\"; exit 6"];
    let mut exec = bundle.command(&args).stdin(input).stdout(output).stderr(errors).spawn().unwrap();
    read_until(&mut master, "/dev/pts/");
    master.write_all(b"typed\r").unwrap();
    read_until(&mut master, "got typed");
    assert_eq!(exec.wait().unwrap().code(), Some(6));
}

#[test]
fn exec_hands_a_terminal_to_a_console_socket() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let socket = bundle.scratch.join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let args = ["exec", "-d", "-t", "--console-socket", socket.to_str().unwrap(), bundle.id(), "sh", "-c", "tty; sleep 1000"];
    let mut exec = bundle.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let mut master = File::from(descriptor::receive(&listener));
    assert!(exec.wait().unwrap().success());
    read_until(&mut master, "/dev/pts/");
}

#[test]
fn exec_detached_with_a_terminal_needs_a_console_socket() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let errors = bundle.refused(&["exec", "-d", "-t", bundle.id(), "true"]);
    assert!(errors.contains("console"), "{errors}");
}

#[test]
fn a_terminal_of_exec_belongs_to_its_user() {
    let bundle = bundle!("sleep 1000");
    bundle.run_detached();
    let (mut master, [input, output, errors]) = user_terminal(80);
    let args = ["exec", "-t", "-u", "1000", bundle.id(), "sh", "-c", "stat -c 'owner %u' $(tty)"];
    let mut exec = bundle.command(&args).stdin(input).stdout(output).stderr(errors).spawn().unwrap();
    read_until(&mut master, "owner 1000");
    assert!(exec.wait().unwrap().success());
}

#[test]
fn the_devpts_is_the_containers_own() {
    let bundle = bundle!("ls /dev/pts");
    fs::metadata("/dev/pts").unwrap();
    assert_eq!(bundle.says(), "ptmx");
}
