//! The output of a container under `apply`: FIFOs whose ends the shim and the container hold, drained into a CRI log.
//!
//! ```text
//! init ──write──▶ FIFO (opened O_RDWR by init's descriptor and by the shim) ──▶ framer ──▶ RUN.log
//! ```
//! Both sides hold a reading and a writing end: a restart is no end of file, a dead shim is no broken pipe. What a life has
//! written is drained into its own log before the next life begins.

mod cri_frame;
mod log_file;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hshim_health::input::RunNumber;
use nix::sys::stat::Mode;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::sys;
use cri_frame::{Framer, Stream};
use log_file::LogFile;

/// What the FIFO holds while nobody reads, if the system allows it.
const PIPE_CAPACITY: i32 = 1 << 20;
/// What is read at once, before others have their turn.
const PORTION: usize = 64 << 10;

/// Who may open the FIFO again through /dev/stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// User id on the host.
    pub(crate) uid: u32,
    /// Group id on the host.
    pub(crate) gid: u32,
}

/// Both streams of one container, through all its lives.
#[derive(Debug)]
pub(crate) struct Output {
    log: Arc<Mutex<Log>>,
    fifos: [PathBuf; 2],
    drains: [JoinHandle<()>; 2],
}

#[derive(Debug)]
struct Log {
    file: LogFile,
    streams: [(Arc<File>, Framer); 2],
}

impl Output {
    /// Makes the FIFOs `stdout` and `stderr` in `directory`, and drains them into `logs` from now on.
    pub(crate) fn open(directory: &Path, logs: &Path) -> io::Result<Self> {
        let fifos = [directory.join("stdout"), directory.join("stderr")];
        let [stdout, stderr] = &fifos;
        let (stdout, stderr) = (open_reader(stdout)?, open_reader(stderr)?);
        let readers = [Arc::clone(&stdout), Arc::clone(&stderr)];
        let streams = [(stdout, Framer::new(Stream::Stdout)), (stderr, Framer::new(Stream::Stderr))];
        let log = Arc::new(Mutex::new(Log { file: LogFile::new(logs), streams }));
        let [stdout, stderr] = readers;
        let drains = [drain(Arc::clone(&log), 0, stdout)?, drain(Arc::clone(&log), 1, stderr)?];
        Ok(Self { log, fifos, drains })
    }

    /// The log of the life before gets what is left in the FIFOs; from now on it is the log of `run`.
    pub(crate) fn begin(&self, run: RunNumber) -> io::Result<()> {
        let mut log = lock(&self.log);
        log.finish_run();
        log.file.begin(run)
    }

    /// The life has ended: its log gets what is left.
    pub(crate) fn finish_run(&self) {
        lock(&self.log).finish_run();
    }

    /// A writing end of each stream for one life, blocking, and held for reading too.
    pub(crate) fn writers(&self, owner: Owner) -> io::Result<[File; 2]> {
        let [stdout, stderr] = &self.fifos;
        Ok([open_writer(stdout, owner)?, open_writer(stderr, owner)?])
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        for drain in &self.drains {
            drain.abort();
        }
    }
}

impl Log {
    fn finish_run(&mut self) {
        let Self { file, streams } = self;
        for (reader, framer) in streams {
            // All writers have ended, so this is bounded by the capacity; one that has not is cut off there.
            let mut left = usize::try_from(PIPE_CAPACITY).unwrap_or(PORTION);
            while let Ok(read @ 1..) = pump(reader, framer, file) {
                left = left.saturating_sub(read);
                if left == 0 {
                    break;
                }
            }
            file.write(framer.finish(jiff::Timestamp::now()));
        }
    }
}

/// Reads once and writes what became complete lines. 0 bytes: the FIFO never ends, so that is an empty buffer.
fn pump(mut reader: &File, framer: &mut Framer, file: &mut LogFile) -> io::Result<usize> {
    let mut buffer = [0_u8; cri_frame::LONGEST_LINE];
    let read = reader.read(&mut buffer)?;
    file.write(framer.push(buffer.get(..read).unwrap_or_default(), jiff::Timestamp::now()));
    Ok(read)
}

fn drain(log: Arc<Mutex<Log>>, stream: usize, reader: Arc<File>) -> io::Result<JoinHandle<()>> {
    let reader = sys::readable(reader)?;
    Ok(tokio::spawn(async move {
        if let Err(error) = drain_for_ever(&log, stream, &reader).await {
            log::error!("read the container's output: {error}");
        }
    }))
}

async fn drain_for_ever(log: &Mutex<Log>, stream: usize, reader: &AsyncFd<Arc<File>>) -> io::Result<()> {
    loop {
        let mut ready = reader.readable().await?;
        match drain_portion(&mut lock(log), stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        drop(ready);
        tokio::task::yield_now().await;
    }
}

fn drain_portion(log: &mut Log, stream: usize) -> io::Result<()> {
    let Log { file, streams } = log;
    let Some((reader, framer)) = streams.get_mut(stream) else { return Ok(()) };
    let mut done = 0;
    while done < PORTION {
        done += pump(reader, framer, file)?.max(1);
    }
    Ok(())
}

fn open_reader(path: &Path) -> io::Result<Arc<File>> {
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Err(nix::Error::EEXIST) if fs::symlink_metadata(path)?.file_type().is_fifo() => {}
        other => other?,
    }
    // For writing too: it never ends.
    let reader = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    sys::widen_pipe(reader.as_fd(), PIPE_CAPACITY);
    Ok(Arc::new(reader))
}

fn open_writer(path: &Path, owner: Owner) -> io::Result<File> {
    chown(path, Some(owner.uid), Some(owner.gid))?;
    File::options().read(true).write(true).open(path)
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::test_support::{Scratch, eventually};

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[tokio::test]
    async fn each_life_has_its_log_and_what_the_pipe_still_holds_belongs_to_the_old_one() {
        let scratch = Scratch::new();
        let output = Output::open(scratch.path(), &scratch.path().join("logs")).unwrap();
        output.begin(RunNumber(0)).unwrap();
        let [mut stdout, mut stderr] = output.writers(Owner::default()).unwrap();
        stdout.write_all(b"one\ntwo").unwrap();
        stderr.write_all(b"oops\n").unwrap();
        drop((stdout, stderr));
        output.begin(RunNumber(1)).unwrap();
        let [mut stdout, _stderr] = output.writers(Owner::default()).unwrap();
        stdout.write_all(b"three\n").unwrap();
        let second = scratch.path().join("logs/1.log");
        eventually("the second life's line is there", || lines(&second) == ["stdout F three"]).await;
        let mut first = lines(&scratch.path().join("logs/0.log"));
        first.sort();
        assert_eq!(first, ["stderr F oops", "stdout F one", "stdout P two"]);
    }

    #[tokio::test]
    async fn a_writer_outlives_the_reader_without_a_broken_pipe() {
        let scratch = Scratch::new();
        let output = Output::open(scratch.path(), &scratch.path().join("logs")).unwrap();
        let [mut stdout, _stderr] = output.writers(Owner::default()).unwrap();
        drop(output);
        eventually("the drains are gone", || Arc::strong_count(&Arc::new(())) == 1).await;
        stdout.write_all(b"still here\n").unwrap();
    }
}
