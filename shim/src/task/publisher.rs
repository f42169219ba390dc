//! Publishes events to containerd: one queue, one sender, in order.
//!
//! ```text
//! owner ──▶ queue ──▶ Forward over $TTRPC_ADDRESS ──fails──▶ once more, later and later ──▶ dropped
//!                └──▶ `containerd publish` where there is no ttrpc address
//! ```

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
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
/// How often an event is tried: with the waits between them about a quarter of a minute, in which containerd restarts.
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
    client: Option<Client>,
}

impl Publisher {
    /// A publisher and the task that sends. The task ends when the last publisher is dropped and all is sent.
    pub(crate) fn start(namespace: &str, address: Address, children: Arc<Children>) -> (Self, JoinHandle<()>) {
        let (queue, mut envelopes) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let publisher = Self { queue, waiting: Arc::clone(&waiting), namespace: namespace.to_owned() };
        let mut sender = Sender { address, children, client: None };
        let task = tokio::spawn(async move {
            while let Some(envelope) = envelopes.recv().await {
                sender.send(envelope).await;
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
        });
        (publisher, task)
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
    async fn send(&mut self, envelope: Envelope) {
        let topic = envelope.topic.clone();
        if self.address.ttrpc.is_none() && self.address.binary.is_none() {
            // Whoever started the shim gave no way to tell them anything.
            return;
        }
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(attempt - 1)).await;
            }
            match self.try_send(&envelope).await {
                Ok(()) => return,
                Err(error) => {
                    log::debug!("publish an event of {topic}: {error}");
                    self.client = None;
                }
            }
        }
        log::warn!("drop an event of {topic}: containerd does not take it");
    }

    async fn try_send(&mut self, envelope: &Envelope) -> std::io::Result<()> {
        let Some(address) = &self.address.ttrpc else { return self.run_publish(envelope).await };
        let client = match &mut self.client {
            Some(client) => client,
            none => {
                let address = if address.contains("://") { address.clone() } else { format!("unix://{address}") };
                none.insert(Client::connect(&address).await.map_err(std::io::Error::other)?)
            }
        };
        let mut request = ttrpc::Request::new();
        request.service = SERVICE.to_owned();
        request.method = "Forward".to_owned();
        request.timeout_nano = i64::try_from(TIMEOUT.as_nanos()).unwrap_or(i64::MAX);
        request.payload = ForwardRequest { envelope: Some(envelope.clone()) }.to_bytes();
        match tokio::time::timeout(TIMEOUT, client.request(request)).await {
            Ok(answer) => answer.map(drop).map_err(std::io::Error::other),
            Err(_late) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut)),
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
