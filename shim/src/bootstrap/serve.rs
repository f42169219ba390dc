//! The server process: from its inherited listener to its orderly end.
//!
//! It ends on Shutdown with no container left, and by itself when for a minute it had no container and nobody asked anything: nobody
//! will come any more. On SIGTERM and SIGINT it ends at once, as containerd's own shim: its containers live until containerd, which
//! sees the connection close, has them cleared away by `delete`.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::net::UnixListener;
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::transport::Listener;

use super::flags::Flags;
use super::listener::Connections;
use super::{log_fifo, socket};
use crate::children::{self, Children};
use crate::session;
use crate::sys;
use crate::task::publisher::{Address, Publisher};
use crate::task::shared::{Agent, Shared};
use crate::task::{Tasks, services};

/// The descriptor that `start` bound.
const LISTENER: i32 = 3;
/// How long nobody may need the shim.
const IDLE: Duration = Duration::from_secs(60);
/// How long a shim that was asked to end still takes a container, and how long its last replies have to go out.
const GRACE: Duration = Duration::from_millis(30);
/// How long the last replies and events may take.
const FLUSH: Duration = Duration::from_secs(5);

/// Serves until the end.
pub(super) fn serve(flags: &Flags) -> ExitCode {
    log_fifo::open();
    if flags.debug {
        log::set_max_level(log::LevelFilter::Debug);
    }
    let Some(listener) = sys::inherited(LISTENER).map(StdListener::from) else {
        log::error!("descriptor {LISTENER} is no listener: this program is started by `start`");
        return ExitCode::FAILURE;
    };
    let served = begin().and_then(|runtime| {
        let served = runtime.block_on(run(flags, listener));
        runtime.shutdown_background();
        served
    });
    if let Some(path) = std::env::var_os("HSHIM_SOCKET").map(PathBuf::from)
        && !socket::is_served(&path)
    {
        drop(socket::remove(&path));
    }
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn begin() -> io::Result<tokio::runtime::Runtime> {
    session::stand_alone()?;
    // Waited for by a descriptor.
    ends().thread_block()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn ends() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set
}

async fn run(flags: &Flags, listener: StdListener) -> io::Result<()> {
    let children = Arc::new(Children::default());
    let address = Address {
        ttrpc: std::env::var("TTRPC_ADDRESS").ok().filter(|address| !address.is_empty()),
        grpc: flags.address.clone(),
        binary: flags.publish_binary.clone(),
    };
    let agent = Agent::default();
    let (events, sending) = Publisher::start(&flags.namespace, address, agent.watch(), Arc::clone(&children));
    let namespace = flags.namespace.clone();
    let shared = Arc::new(Shared { namespace, children: Arc::clone(&children), events, agent });
    let tasks = Tasks::new(Arc::clone(&shared));
    let reaper = tokio::spawn(children::reap_strangers_for_ever(children));
    listener.set_nonblocking(true)?;
    let connections = Connections::new(UnixListener::from_std(listener)?, Arc::clone(&shared));
    let mut server = Server::new().add_listener(Listener::new(connections)).register_service(services(&tasks));
    server.start().await.map_err(io::Error::other)?;
    let signals = sys::readable(SignalFd::with_flags(&ends(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)?;
    let replies = tokio::select! {
        () = shut_down(&tasks) => FLUSH,
        () = unneeded(&tasks, &shared) => FLUSH,
        // Whoever waits for a container's end would wait for ever; the containers are left to containerd's `delete`.
        signal = signals.readable() => signal.map(|_readable| GRACE)?,
    };
    server.stop_listen().await;
    // Replies go out first, then events; then the process may end.
    drop(tokio::time::timeout(replies, server.disconnect()).await);
    sending.end(FLUSH).await;
    reaper.abort();
    Ok(())
}

/// Resolves once it was asked for, and nobody made a container meanwhile: a `start` may have found this shim a moment before. A later one
/// must not: the socket is out of its way first, and is put back only if this shim stays.
async fn shut_down(tasks: &Tasks) {
    loop {
        tasks.shut_down().await;
        let socket = std::env::var_os("HSHIM_SOCKET").map(PathBuf::from);
        let aside = socket.as_deref().map(socket::aside);
        if let (Some(path), Some(aside)) = (&socket, &aside) {
            drop(std::fs::rename(path, aside));
        }
        tokio::time::sleep(GRACE).await;
        if let (Some(path), Some(aside)) = (&socket, &aside) {
            if !tasks.is_empty() {
                // Fails where a successor listens: then that one has the name.
                drop(std::fs::hard_link(aside, path));
            }
            drop(socket::remove(aside));
        }
        if tasks.is_empty() {
            return;
        }
    }
}

/// Resolves when for a minute there was no container and nobody asked anything. A connection alone is no need: a containerd whose
/// client went away in the middle of a creation may keep it for ever.
async fn unneeded(tasks: &Tasks, shared: &Shared) {
    // Now, so that the minute begins.
    shared.agent.note();
    loop {
        if !tasks.is_empty() {
            shared.agent.changed().await;
            continue;
        }
        let quiet = shared.agent.quiet_for();
        if quiet >= IDLE {
            return;
        }
        drop(tokio::time::timeout(IDLE - quiet, shared.agent.changed()).await);
    }
}
