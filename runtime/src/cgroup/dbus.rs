//! As much of D-Bus as a conversation with systemd takes: method calls with property lists, their answers, and one signal.
//!
//! Blocking, on one thread, without a dependency: the process that makes a container may not have a second thread
//! (docs/adr/0042). Wire format: the D-Bus specification, "Message Protocol" and "Authentication Protocol"; always little-endian
//! on sending, either order on receiving is refused but little, which is what a peer on the same machine speaks.

mod message;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

pub(super) use message::{Body, Message, Value};
use message::{Kind, call, split};

/// systemd answers at once, and starts a scope in milliseconds; a machine that boots may take long.
const PATIENCE: Duration = Duration::from_secs(30);
/// systemd's own socket for root, which works without a bus.
const PRIVATE: &str = "/run/systemd/private";
/// The system bus.
const BUS: &str = "/run/dbus/system_bus_socket";
/// More is no answer of systemd.
const LARGEST: usize = 1 << 24;

/// A conversation with systemd.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: Vec<Message>,
}

/// An error that the other side sent.
#[derive(Debug, thiserror::Error)]
#[error("systemd: {text} ({name})")]
pub(super) struct Refused {
    /// `org.freedesktop.…`.
    pub(super) name: String,
    text: String,
}

impl Connection {
    /// Connects to systemd, directly or over the system bus, and asks for its signals.
    pub(super) fn open() -> anyhow::Result<Self> {
        match Self::connect(Path::new(PRIVATE)) {
            Ok(connection) => Ok(connection),
            Err(error) => {
                log::debug!("{PRIVATE}: {error:#}");
                Self::open_bus().with_context(|| format!("reach systemd by {PRIVATE} or {BUS}"))
            }
        }
    }

    fn open_bus() -> anyhow::Result<Self> {
        let mut connection = Self::connect(Path::new(BUS))?;
        let bus = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
        connection.call(bus, "Hello", "", Body::default())?;
        let wanted = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
        connection.call(bus, "AddMatch", "s", Body::default().text(wanted))?;
        connection.call_manager("Subscribe", "", Body::default())?;
        Ok(connection)
    }

    fn connect(socket: &Path) -> anyhow::Result<Self> {
        let mut stream = UnixStream::connect(socket).context("connect")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // The user id as decimal text in hexadecimal; the kernel tells the other side whether it is true.
        let uid: String = nix::unistd::geteuid().to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes())?;
        let answer = read_line(&mut stream)?;
        anyhow::ensure!(answer.starts_with("OK "), "authentication: {answer}");
        stream.write_all(b"BEGIN\r\n")?;
        Ok(Self { stream, serial: 0, signals: Vec::new() })
    }

    /// Calls a method of systemd's manager and waits for the answer.
    pub(super) fn call_manager(&mut self, method: &str, signature: &str, body: Body) -> anyhow::Result<Message> {
        let manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
        self.call(manager, method, signature, body)
    }

    fn call(&mut self, target: [&str; 3], method: &str, signature: &str, body: Body) -> anyhow::Result<Message> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&call(serial, target, method, signature, body)).with_context(|| format!("call {method}"))?;
        loop {
            let message = self.receive().with_context(|| format!("wait for the answer to {method}"))?;
            match message.kind {
                Kind::Answer if message.answers == serial => return Ok(message),
                Kind::Error if message.answers == serial => {
                    let text = message.texts().into_iter().next().unwrap_or_default();
                    return Err(Refused { name: message.error, text }.into());
                }
                Kind::Signal => self.signals.push(message),
                Kind::Answer | Kind::Error | Kind::Call => {}
            }
        }
    }

    /// Waits for a signal of systemd's manager that is the one that is meant.
    pub(super) fn wait_for<T>(&mut self, member: &str, is_meant: impl Fn(&Message) -> Option<T>) -> anyhow::Result<T> {
        let find = |message: &Message| if message.member == member { is_meant(message) } else { None };
        if let Some(found) = self.signals.iter().find_map(find) {
            return Ok(found);
        }
        loop {
            let message = self.receive().with_context(|| format!("wait for {member}"))?;
            if let (Kind::Signal, Some(found)) = (message.kind, find(&message)) {
                return Ok(found);
            }
        }
    }

    fn receive(&mut self) -> anyhow::Result<Message> {
        let mut head = [0_u8; 16];
        self.stream.read_exact(&mut head)?;
        let (fields, body) = split(&head)?;
        anyhow::ensure!(fields <= LARGEST && body <= LARGEST, "a message of {fields} + {body} bytes");
        let mut rest = vec![0_u8; fields.next_multiple_of(8) + body];
        self.stream.read_exact(&mut rest)?;
        let (fields_and_padding, body) = rest.split_at(fields.next_multiple_of(8));
        Message::parse(&head, fields_and_padding.get(..fields).unwrap_or_default(), body)
    }
}

fn read_line(stream: &mut UnixStream) -> anyhow::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0_u8];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).context("authentication")?;
        line.push(byte[0]);
        anyhow::ensure!(line.len() < 1_000, "authentication: a line without an end");
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
