//! Connections: only those of our own user, counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};

use crate::task::shared::Shared;

/// Accepts for the server.
pub(super) struct Connections {
    listener: UnixListener,
    shared: Arc<Shared>,
}

/// One of them.
pub(super) struct Connection {
    stream: UnixStream,
    shared: Arc<Shared>,
}

impl Connections {
    pub(super) fn new(listener: UnixListener, shared: Arc<Shared>) -> Self {
        Self { listener, shared }
    }
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let (stream, _) = match ready!(self.listener.poll_accept(context)) {
                Ok(accepted) => accepted,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            let peer = stream.peer_cred().map(|peer| peer.uid());
            if peer.as_ref().is_ok_and(|uid| *uid == nix::unistd::geteuid().as_raw()) {
                let shared = Arc::clone(&self.shared);
                shared.agent.on_connected();
                return Poll::Ready(Some(Ok(Connection { stream, shared })));
            }
            log::warn!("refuse a connection of another user ({peer:?})");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.agent.on_disconnected();
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
