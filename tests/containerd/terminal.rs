//! A terminal for `ctr`, as a user has one.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hshim_tests::containerd::Daemon;
use hshim_tests::wait::{PATIENCE, for_value, until};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// `ctr` in a terminal of its own.
pub struct Terminal {
    master: File,
    slave: File,
    child: Child,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    /// Start `ctr` with these arguments in a terminal of 24 rows and 80 columns.
    pub fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let (master, slave) = (File::from(master), File::from(slave));
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Command::new("ctr");
        command.arg("--address").arg(daemon.socket()).args(["--namespace", daemon.namespace()]).args(arguments);
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut reader, seen) = (master.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { master, slave, child, screen }
    }

    /// Type something.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Wait until the screen shows `text`.
    pub fn shows(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.screen.lock().unwrap().contains(text) {
            assert!(Instant::now() < end, "{text:?} is not on the screen: {:?}", self.screen.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Drag the window to another size, and see that whoever reads lines inside and answers with `stty size` has got it.
    pub fn resize_to(&mut self, rows: u16, columns: u16) {
        let slave = Stdio::from(self.slave.try_clone().unwrap());
        let (height, width) = (rows.to_string(), columns.to_string());
        assert!(Command::new("stty").args(["rows", &height, "cols", &width]).stdin(slave).status().unwrap().success());
        let wanted = format!("{rows} {columns}");
        until("the new size arrives", || {
            // Each time: ctr may not have begun to listen for it.
            kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGWINCH).unwrap();
            self.type_in("stty size\n");
            self.screen.lock().unwrap().lines().any(|line| line.trim() == wanted)
        });
    }

    /// Wait for the end of `ctr`.
    pub fn finish(mut self) -> i32 {
        for_value("ctr ends", || self.child.try_wait().unwrap()).code().unwrap()
    }
}
