//! A terminal: a socket to which the runtime sends the master side of each life, and the pumps between it and the FIFOs.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use hshim_health::layout;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::lock;
use super::pump::{self, Sink};
use crate::sys;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The terminal of a process, through all its lives.
#[derive(Debug)]
pub(super) struct Terminal {
    socket: PathBuf,
    accepting: JoinHandle<()>,
    life: Arc<Life>,
}

#[derive(Debug, Default)]
struct Life {
    master: Mutex<Option<Arc<File>>>,
    /// From the terminal, and to it.
    pumps: Mutex<[Option<JoinHandle<()>>; 2]>,
    size: Mutex<Option<(u16, u16)>>,
}

impl Terminal {
    /// Waits for masters from now on.
    pub(super) fn listen(input: Option<Arc<File>>, output: Option<Sink>) -> io::Result<Self> {
        let directory = directory();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let name = format!("{}{}.sock", prefix(std::process::id()), NEXT.fetch_add(1, Ordering::Relaxed));
        let socket = directory.join(name);
        // Of an earlier process with our id.
        drop(fs::remove_file(&socket));
        let listener = UnixListener::bind(&socket)?;
        let life = Arc::new(Life::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&life), input, output));
        Ok(Self { socket, accepting, life })
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn resize(&self, columns: u32, rows: u32) -> io::Result<()> {
        let fit = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let size = (fit(columns), fit(rows));
        *lock(&self.life.size) = Some(size);
        lock(&self.life.master).as_ref().map_or(Ok(()), |master| sys::set_window_size(master.as_fd(), size))
    }

    /// No further life comes.
    pub(super) fn end(&self) {
        self.accepting.abort();
        drop(fs::remove_file(&self.socket));
        let [_, input] = &mut *lock(&self.life.pumps);
        if let Some(input) = input.take() {
            input.abort();
        }
        drop(lock(&self.life.master).take());
    }

    /// The pump of the output, to be waited for.
    pub(super) fn take_pump(&self) -> Option<JoinHandle<()>> {
        let [output, _] = &mut *lock(&self.life.pumps);
        output.take()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.end();
        if let Some(pump) = self.take_pump() {
            pump.abort();
        }
    }
}

/// The sockets where this process takes terminals over, or has taken them over when it was killed.
pub(crate) fn console_sockets(shim: u32) -> Vec<PathBuf> {
    let prefix = prefix(shim);
    let entries = fs::read_dir(directory()).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).map(|entry| entry.path()).collect()
}

fn directory() -> PathBuf {
    Path::new(layout::ROOT).join("pty")
}

fn prefix(shim: u32) -> String {
    format!("{shim}-")
}

async fn accept(listener: UnixListener, life: Arc<Life>, input: Option<Arc<File>>, output: Option<Sink>) {
    loop {
        let begun = match listener.accept().await {
            Ok((stream, _)) => match receive(&stream).await {
                Ok(master) => life.begin(master, input.clone(), output.clone()).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = begun {
            log::warn!("take over a terminal: {error}");
        }
    }
}

async fn receive(stream: &UnixStream) -> io::Result<File> {
    loop {
        stream.readable().await?;
        match stream.try_io(tokio::io::Interest::READABLE, || sys::receive_fd(stream.as_fd())) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other.map(File::from),
        }
    }
}

impl Life {
    async fn begin(&self, master: File, input: Option<Arc<File>>, output: Option<Sink>) -> io::Result<()> {
        // First of all: the process may look at it any moment.
        let master = Arc::new(master);
        if let Some(size) = *lock(&self.size) {
            sys::set_window_size(master.as_fd(), size)?;
        }
        *lock(&self.master) = Some(Arc::clone(&master));
        let before = std::mem::take(&mut *lock(&self.pumps));
        let [old_output, old_input] = before;
        if let Some(pump) = old_input {
            pump.abort();
        }
        // What the life before has written comes first; its terminal is closed, so this ends.
        if let Some(pump) = old_output {
            drop(pump.await);
        }
        let sink = match output {
            Some(sink) => sink,
            None => pump::writable(crate::spawn::null()?)?,
        };
        let from_terminal = pump::start(Arc::clone(&master), sink)?;
        let to_terminal = match input {
            // Each a descriptor of its own: a pump makes its source non-blocking and registers it.
            Some(input) => {
                let source = Arc::new(File::from(input.as_fd().try_clone_to_owned()?));
                let sink = pump::writable(File::from(master.as_fd().try_clone_to_owned()?))?;
                Some(pump::start(source, sink)?)
            }
            None => None,
        };
        *lock(&self.pumps) = [Some(from_terminal), to_terminal];
        Ok(())
    }
}
