//! A command with a terminal of its container.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use hshim_enter::{Report, Shape};

use crate::container::{Container, Streams, identity, reap, skipped};

/// A terminal of the container's own devpts: the side that is typed at, and the command's.
fn open_terminal(container: &Container) -> (File, OwnedFd) {
    let path = format!("/proc/{}/root/dev/pts/ptmx", container.target.pid());
    let master = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).unwrap();
    let unlocked = 0;
    // SAFETY: reads the integer that it is given.
    assert_eq!(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) }, 0);
    // SAFETY: takes integers only, answers with a descriptor.
    let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY) };
    assert!(slave >= 0);
    // SAFETY: just made, for us alone.
    (master, unsafe { OwnedFd::from_raw_fd(slave) })
}

/// Start a command on the terminal: its process id.
fn start(container: &Container, slave: &OwnedFd, argv: &[&str]) -> u32 {
    let streams = Streams { input: slave.as_fd(), output: slave.as_fd(), terminal: true };
    let entered = container.spawn_on(Shape::Exec, &identity(), argv, None, 0.0, streams);
    let report = Report::read(&entered.report).unwrap();
    reap(entered.pid);
    match report {
        Report::Running { pid } => pid,
        other => panic!("{other:?}"),
    }
}

/// What the terminal shows until `end` is there.
fn read_until(master: &mut File, end: &str) -> String {
    let mut shown = String::new();
    let mut bytes = [0; 256];
    while !shown.contains(end) {
        let length = master.read(&mut bytes).unwrap();
        shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    shown
}

#[test]
fn the_terminal_of_a_command_is_its_controlling_one() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let (mut master, slave) = open_terminal(&container);
    let pid = start(&container, &slave, &["sh", "-c", "tty; echo by name > /dev/tty; read line; echo \"got $line\"; exit 9"]);
    drop(slave);
    assert_eq!(read_until(&mut master, "by name\r\n"), "/dev/pts/0\r\nby name\r\n");
    master.write_all(b"typed\n").unwrap();
    read_until(&mut master, "got typed");
    assert_eq!(reap(pid), 9);
}

#[test]
fn control_c_interrupts_the_command() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let (mut master, slave) = open_terminal(&container);
    let pid = start(&container, &slave, &["sh", "-c", "echo up; exec sleep 1000"]);
    drop(slave);
    read_until(&mut master, "up");
    master.write_all(b"\x03").unwrap();
    assert_eq!(reap(pid), 128 + libc::SIGINT);
}

#[test]
fn a_hangup_ends_the_command() {
    if skipped() {
        return;
    }
    let container = Container::start(|_| {});
    let (mut master, slave) = open_terminal(&container);
    let pid = start(&container, &slave, &["sh", "-c", "echo up; exec sleep 1000"]);
    drop(slave);
    read_until(&mut master, "up");
    drop(master);
    assert_eq!(reap(pid), 128 + libc::SIGHUP);
}
