//! Copies from one descriptor to another until the first one ends, without ever waiting in the kernel.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::sys;

/// As much as a pipe takes at once or not at all (PIPE_BUF).
const PORTION: usize = 4096;

/// Where a pump writes to. A regular file is always ready and has no readiness.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    file: Arc<File>,
    ready: Option<Arc<AsyncFd<Arc<File>>>>,
}

/// Makes a descriptor of the shim's own ready to be written to by pumps.
pub(super) fn writable(file: File) -> io::Result<Sink> {
    let file = Arc::new(file);
    if file.metadata()?.is_file() {
        return Ok(Sink { file, ready: None });
    }
    sys::set_nonblocking(file.as_fd(), true)?;
    let ready = sys::writable(Arc::clone(&file))?;
    Ok(Sink { file, ready: Some(Arc::new(ready)) })
}

/// Starts to copy. `from` becomes non-blocking.
pub(super) fn start(from: Arc<File>, to: Sink) -> io::Result<JoinHandle<()>> {
    sys::set_nonblocking(from.as_fd(), true)?;
    let from = sys::readable(from)?;
    Ok(tokio::spawn(async move {
        if let Err(error) = copy(&from, &to).await {
            log::debug!("copy a stream: {error}");
        }
    }))
}

async fn copy(from: &AsyncFd<Arc<File>>, to: &Sink) -> io::Result<()> {
    loop {
        let mut ready = from.readable().await?;
        match portion(from.get_ref()) {
            Ok(bytes) if bytes.is_empty() => return Ok(()),
            Ok(bytes) => write_all(to, &bytes).await?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The other side of a terminal is closed.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn portion(mut from: &File) -> io::Result<Vec<u8>> {
    let mut buffer = [0_u8; PORTION];
    let read = from.read(&mut buffer)?;
    Ok(buffer.get(..read).unwrap_or_default().to_vec())
}

async fn write_all(to: &Sink, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match (&*to.file).write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match &to.ready {
                Some(ready) => {
                    let mut ready = ready.writable().await?;
                    // Look again before waiting: the readiness may be that of an earlier moment.
                    match (&*to.file).write(bytes) {
                        Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                        Err(error) => return Err(error),
                    }
                }
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
