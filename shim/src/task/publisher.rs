//! Publishes events to containerd: one queue, one sender, in order.
//!
//! ```text
//! owner ──▶ queue ──▶ Forward over $TTRPC_ADDRESS ──fails──▶ once more, later and later ──refused──▶ dropped
//!                │              ▲                                        └──containerd is away──▶ kept until it is heard of again
//!                │              └────────────────────────────────────────────────────────────────────────┘
//!                └──▶ `containerd publish` where there is no ttrpc address
//! ```
//! So what happens while containerd is away is told when it is back, without a timer that runs meanwhile.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hshim_health::restart_owner::Agent;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use ttrpc::asynchronous::Client;

use super::events::{Envelope, Event, ForwardRequest};
use super::messages::Timestamp;
use crate::children::Children;
use crate::spawn::{self, StdioFds};
use crate::wire::Message;

const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";
/// Of one call.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often an event is tried: with the waits between them about eight seconds, in which containerd restarts.
const TRIES: u32 = 6;
/// So many may wait; hshim's own events are dropped earlier than containerd's.
const MOST: usize = 2048;

/// Where containerd listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    /// `$TTRPC_ADDRESS`, or from the bootstrap.
    pub(crate) ttrpc: Option<String>,
    /// Its gRPC socket, for `containerd publish`.
    pub(crate) grpc: String,
    /// The binary of containerd.
    pub(crate) binary: Option<PathBuf>,
}

/// The sending end of the queue.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    queue: mpsc::UnboundedSender<Envelope>,
    waiting: Arc<AtomicUsize>,
    namespace: String,
}

struct Sender {
    address: Address,
    children: Arc<Children>,
    /// Whether containerd is heard of.
    agent: watch::Receiver<Agent>,
    /// Resolves when the shim is about to end.
    ending: oneshot::Receiver<()>,
    is_ending: bool,
    client: Option<Client>,
}

/// The sending task.
#[derive(Debug)]
pub(crate) struct Sending {
    task: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl Sending {
    /// What is in the queue is sent, in the given time, and nothing after that. An event that cannot be sent at once is not tried again.
    pub(crate) async fn end(self, within: Duration) {
        if self.end.send(()).is_err() {
            return; // It has ended.
        }
        drop(tokio::time::timeout(within, self.task).await);
    }
}

/// An event was not delivered.
#[derive(Debug, Error)]
enum SendError {
    /// Nobody takes it.
    #[error("containerd is away: {0}")]
    Away(std::io::Error),
    /// It was not taken.
    #[error("{0}")]
    Refused(std::io::Error),
}

impl Publisher {
    /// A publisher and the task that sends.
    pub(crate) fn start(
        namespace: &str,
        address: Address,
        agent: watch::Receiver<Agent>,
        children: Arc<Children>,
    ) -> (Self, Sending) {
        let (queue, mut envelopes) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let publisher = Self { queue, waiting: Arc::clone(&waiting), namespace: namespace.to_owned() };
        let (end, ending) = oneshot::channel();
        let mut sender = Sender { address, children, agent, ending, is_ending: false, client: None };
        let task = tokio::spawn(async move {
            while let Some(envelope) = sender.next(&mut envelopes).await {
                sender.send(envelope).await;
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
        });
        (publisher, Sending { task, end })
    }

    /// Puts an event into the queue.
    pub(crate) fn publish(&self, event: impl Into<Event>) {
        let event = event.into();
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting >= MOST || (waiting >= MOST / 2 && event.is_custom()) {
            log::warn!("drop an event of {}: {waiting} wait for containerd already", event.topic);
            return;
        }
        let envelope = Envelope {
            timestamp: Some(Timestamp::of(jiff::Timestamp::now())),
            namespace: self.namespace.clone(),
            topic: event.topic.to_owned(),
            event: Some(event.body),
        };
        if self.queue.send(envelope).is_ok() {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Sender {
    /// The next event; none when nobody can publish any more, or at the end when all is sent.
    async fn next(&mut self, envelopes: &mut mpsc::UnboundedReceiver<Envelope>) -> Option<Envelope> {
        if !self.is_ending {
            tokio::select! {
                biased;
                envelope = envelopes.recv() => return envelope,
                _ = &mut self.ending => self.is_ending = true,
            }
        }
        envelopes.close();
        envelopes.recv().await
    }

    async fn send(&mut self, envelope: Envelope) {
        let topic = &envelope.topic;
        if self.address.ttrpc.is_none() && self.address.binary.is_none() {
            // Whoever started the shim gave no way to tell them anything.
            return;
        }
        loop {
            match self.try_often(&envelope).await {
                Ok(()) => return,
                Err(SendError::Away(error)) if !self.is_ending => {
                    log::debug!("an event of {topic} waits for containerd: {error}");
                    self.heard_of().await;
                }
                Err(error) => return log::warn!("drop an event of {topic}: {error}"),
            }
        }
    }

    async fn try_often(&mut self, envelope: &Envelope) -> Result<(), SendError> {
        let mut attempt = 0;
        loop {
            let Err(error) = self.try_send(envelope).await else { return Ok(()) };
            log::debug!("publish an event of {}: {error}", envelope.topic);
            self.client = None;
            attempt += 1;
            if attempt == TRIES || self.is_ending {
                return Err(error);
            }
            self.wait(tokio::time::sleep(Duration::from_millis(125) * 2_u32.pow(attempt))).await;
        }
    }

    /// Waits until containerd has come or gone or asked something.
    async fn heard_of(&mut self) {
        tokio::select! {
            biased;
            _ = &mut self.ending => self.is_ending = true,
            changed = self.agent.changed() => self.is_ending = changed.is_err(),
        }
    }

    /// Waits for something, or for the end.
    async fn wait(&mut self, something: impl Future<Output = ()>) {
        if self.is_ending {
            return;
        }
        tokio::select! {
            () = something => {}
            _ = &mut self.ending => self.is_ending = true,
        }
    }

    async fn try_send(&mut self, envelope: &Envelope) -> Result<(), SendError> {
        let Some(address) = &self.address.ttrpc else {
            return self.run_publish(envelope).await.map_err(SendError::Refused);
        };
        let client = match &mut self.client {
            Some(client) => client,
            none => {
                let address = if address.contains("://") { address.clone() } else { format!("unix://{address}") };
                none.insert(Client::connect(&address).await.map_err(|error| SendError::Away(std::io::Error::other(error)))?)
            }
        };
        let mut request = ttrpc::Request::new();
        request.service = SERVICE.to_owned();
        request.method = "Forward".to_owned();
        request.timeout_nano = i64::try_from(TIMEOUT.as_nanos()).unwrap_or(i64::MAX);
        request.payload = ForwardRequest { envelope: Some(envelope.clone()) }.to_bytes();
        match tokio::time::timeout(TIMEOUT, client.request(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(ttrpc::Error::RpcStatus(status))) => Err(SendError::Refused(std::io::Error::other(status.message))),
            Ok(Err(error)) => Err(SendError::Away(std::io::Error::other(error))),
            Err(_late) => Err(SendError::Away(std::io::Error::from(std::io::ErrorKind::TimedOut))),
        }
    }

    /// containerd's own way for a shim without ttrpc: its binary, with the event on standard input.
    async fn run_publish(&self, envelope: &Envelope) -> std::io::Result<()> {
        let Some(binary) = &self.address.binary else {
            return Ok(());
        };
        let args = ["--address", &self.address.grpc, "publish", "--namespace", &envelope.namespace, "--topic", &envelope.topic];
        let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        // An event is smaller than a pipe.
        nix::unistd::write(&writer, &envelope.event.clone().unwrap_or_default().to_bytes())?;
        drop(writer);
        let null = spawn::null()?;
        let stdio = StdioFds([reader.as_fd(), null.as_fd(), null.as_fd()]);
        let child = spawn::spawn(&self.children, binary, &args, stdio)?;
        match tokio::time::timeout(TIMEOUT, child.ended()).await {
            Ok(ended) if ended.as_ref().is_ok_and(|ended| ended.is_success()) => Ok(()),
            Ok(ended) => Err(std::io::Error::other(format!("{} publish: {ended:?}", binary.display()))),
            Err(_late) => child.signal(libc::SIGKILL).and(Err(std::io::Error::from(std::io::ErrorKind::TimedOut))),
        }
    }
}
