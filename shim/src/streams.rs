//! The standard streams of one process of containerd, through all its lives.
//!
//! ```text
//! init   ◀── stdin FIFO (the shim holds a writing end until CloseIO)      no terminal: the process has the FIFOs themselves,
//!        ──▶ stdout, stderr FIFO, file or log program's pipe               the shim holds them open until the last life has ended
//! exec   ──▶ pipe ──pump──▶ FIFO          what an exec leaves behind may hold the pipe for ever: the pump is cut off at Delete
//! both   ◀─▶ terminal ◀─pump─▶ FIFOs      each life brings a new terminal, which takes the window size of the last one
//! ```

mod log_program;
mod pump;
mod terminal;
mod uri;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::children::Children;
use crate::output::Owner;
use crate::spawn;
use crate::sys;
use log_program::LogProgram;
use terminal::Terminal;
pub(crate) use terminal::console_sockets;
use uri::Target;

/// How long output may take to be read after the process ended.
const DRAIN: Duration = Duration::from_secs(10);

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Path of a FIFO, or empty.
    pub(crate) stdin: String,
    /// Path of a FIFO, a URI, or empty.
    pub(crate) stdout: String,
    /// Path of a FIFO, or empty.
    pub(crate) stderr: String,
    /// A terminal instead of three streams.
    pub(crate) terminal: bool,
}

/// Whose streams they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Of init: whatever it starts ends with it.
    Init,
    /// Of a further process: others may hold its output longer than it lives.
    Exec,
}

/// For whom the streams are opened.
pub(crate) struct Purpose<'a> {
    /// Init or not.
    pub(crate) holder: Holder,
    /// Who may open them again through /dev/stdout.
    pub(crate) owner: Owner,
    /// containerd's namespace and the container's id, for log programs.
    pub(crate) namespace: &'a str,
    /// Container id.
    pub(crate) id: &'a str,
    /// Who waits for log programs.
    pub(crate) children: &'a Arc<Children>,
}

/// The open streams.
#[derive(Debug)]
pub(crate) struct Streams {
    stdin: Mutex<Option<Stdin>>,
    /// What the process is given, kept for its next life.
    outputs: Mutex<Option<[Arc<File>; 2]>>,
    pumps: Mutex<Vec<JoinHandle<()>>>,
    terminal: Option<Terminal>,
    log_program: Mutex<Option<LogProgram>>,
}

#[derive(Debug)]
struct Stdin {
    reader: Arc<File>,
    writer: Option<File>,
}

impl Streams {
    /// Opens what is wanted.
    pub(crate) async fn open(wanted: &Wanted, purpose: &Purpose<'_>) -> io::Result<Self> {
        let stdin = open_stdin(&wanted.stdin, purpose.owner).map_err(|error| named(&wanted.stdin, &error))?;
        let mut streams = Self {
            stdin: Mutex::new(stdin),
            outputs: Mutex::default(),
            pumps: Mutex::default(),
            terminal: None,
            log_program: Mutex::default(),
        };
        let target = Target::parse(&wanted.stdout)?;
        if wanted.terminal {
            let output = match target {
                Target::Nothing => None,
                Target::Fifo(path) => Some(pump::writable(open_fifo(&path, purpose.owner)?)?),
                Target::File(path) => Some(pump::writable(open_file(&path)?)?),
                Target::Program(_) => {
                    return Err(io::Error::other(format!(
                        "{}: a terminal cannot be logged by a program; use a file:// URI",
                        wanted.stdout
                    )));
                }
            };
            let input = lock(&streams.stdin).as_ref().map(|stdin| Arc::clone(&stdin.reader));
            streams.terminal = Some(Terminal::listen(input, output)?);
            return Ok(streams);
        }
        streams.open_outputs(target, &wanted.stderr, purpose).await?;
        Ok(streams)
    }

    async fn open_outputs(&mut self, target: Target, stderr: &str, purpose: &Purpose<'_>) -> io::Result<()> {
        let outputs = match target {
            Target::File(path) => {
                let file = Arc::new(open_file(&path)?);
                [Arc::clone(&file), file]
            }
            Target::Program(program) => {
                let (program, outputs) = LogProgram::start(&program, purpose).await?;
                self.log_program = Mutex::new(Some(program));
                outputs.map(Arc::new)
            }
            Target::Nothing => [self.output("", purpose)?, self.output(stderr, purpose)?],
            Target::Fifo(path) => [self.output(&path, purpose)?, self.output(stderr, purpose)?],
        };
        *lock(&self.outputs) = Some(outputs);
        Ok(())
    }

    /// What the process writes to in order to be read at `path`.
    fn output(&self, path: &str, purpose: &Purpose<'_>) -> io::Result<Arc<File>> {
        if path.is_empty() {
            return Ok(Arc::new(spawn::null()?));
        }
        let path = path.strip_prefix("fifo://").unwrap_or(path);
        let fifo = open_fifo(path, purpose.owner)?;
        match purpose.holder {
            Holder::Init => Ok(Arc::new(fifo)),
            Holder::Exec => {
                let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
                nix::unistd::fchown(&writer, Some(purpose.owner.uid.into()), Some(purpose.owner.gid.into()))?;
                let pump = pump::start(Arc::new(File::from(reader)), pump::writable(fifo)?)?;
                lock(&self.pumps).push(pump);
                Ok(Arc::new(File::from(writer)))
            }
        }
    }

    /// What the process is given as 0, 1 and 2. With a terminal that is nothing: the runtime opens the other side.
    pub(crate) fn stdio(&self) -> io::Result<[OwnedFd; 3]> {
        let null = || spawn::null().map(OwnedFd::from);
        let stdin = match lock(&self.stdin).as_ref() {
            Some(stdin) if self.terminal.is_none() => stdin.reader.as_fd().try_clone_to_owned()?,
            Some(_) | None => null()?,
        };
        match lock(&self.outputs).as_ref() {
            Some([stdout, stderr]) => Ok([stdin, stdout.as_fd().try_clone_to_owned()?, stderr.as_fd().try_clone_to_owned()?]),
            None => Ok([stdin, null()?, null()?]),
        }
    }

    /// Where the runtime sends the terminal to.
    pub(crate) fn console_socket(&self) -> Option<PathBuf> {
        self.terminal.as_ref().map(|terminal| terminal.socket().to_owned())
    }

    /// The client will write nothing more.
    pub(crate) fn close_stdin(&self) {
        if let Some(stdin) = lock(&self.stdin).as_mut() {
            stdin.writer = None;
        }
    }

    /// Sets the size of the terminal's window; without a terminal it does nothing.
    pub(crate) fn resize(&self, columns: u32, rows: u32) -> io::Result<()> {
        self.terminal.as_ref().map_or(Ok(()), |terminal| terminal.resize(columns, rows))
    }

    /// The process has what it needs, and there will be no other: only its own ends are left.
    pub(crate) fn let_go_of_outputs(&self) {
        drop(lock(&self.outputs).take());
    }

    /// The last life has ended: readers may see the end.
    pub(crate) fn end(&self) {
        self.let_go_of_outputs();
        drop(lock(&self.stdin).take());
        if let Some(terminal) = &self.terminal {
            terminal.end();
        }
        if let Some(program) = lock(&self.log_program).take() {
            tokio::spawn(program.end());
        }
    }

    /// Waits until what was written has been handed on; what takes too long is cut off.
    pub(crate) async fn drained(&self) {
        let mut pumps = std::mem::take(&mut *lock(&self.pumps));
        pumps.extend(self.terminal.as_ref().and_then(Terminal::take_pump));
        let all = async {
            for pump in &mut pumps {
                drop(pump.await);
            }
        };
        drop(tokio::time::timeout(DRAIN, all).await);
        for pump in pumps {
            pump.abort();
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.end();
        for pump in lock(&self.pumps).drain(..) {
            pump.abort();
        }
    }
}

fn open_stdin(path: &str, owner: Owner) -> io::Result<Option<Stdin>> {
    if path.is_empty() {
        return Ok(None);
    }
    let path = path.strip_prefix("fifo://").unwrap_or(path);
    require_fifo(path)?;
    chown(path, Some(owner.uid), Some(owner.gid))?;
    // Without waiting for the client; afterwards the process must see an ordinary, waiting stream.
    let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    // Clients may come and go without the process seeing the end.
    let writer = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    sys::set_nonblocking(reader.as_fd(), false)?;
    Ok(Some(Stdin { reader: Arc::new(reader), writer: Some(writer) }))
}

/// For reading too: no writer ever gets a broken pipe, and no reader an end, as long as it is open.
fn open_fifo(path: &str, owner: Owner) -> io::Result<File> {
    let opened = (|| {
        require_fifo(path)?;
        chown(path, Some(owner.uid), Some(owner.gid))?;
        File::options().read(true).write(true).open(path)
    })();
    opened.map_err(|error| named(path, &error))
}

fn require_fifo(path: &str) -> io::Result<()> {
    if fs::metadata(path)?.file_type().is_fifo() { Ok(()) } else { Err(io::Error::other("is not a fifo")) }
}

fn open_file(path: &Path) -> io::Result<File> {
    let opened = (|| {
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        File::options().create(true).append(true).mode(0o644).open(path)
    })();
    opened.map_err(|error| named(&path.display().to_string(), &error))
}

fn named(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("open {path}: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
