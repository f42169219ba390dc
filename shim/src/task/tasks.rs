//! All containers of the shim, by id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot};

use super::creation;
use super::error::TaskError;
use super::messages::{ConnectResponse, CreateTaskRequest, CreateTaskResponse};
use super::owner::{Asked, Call};
use super::shared::Shared;
use crate::wire::Message;

/// The containers.
#[derive(Debug)]
pub(crate) struct Tasks {
    pub(super) shared: Arc<Shared>,
    all: Mutex<BTreeMap<String, Slot>>,
    ended: Notify,
}

#[derive(Debug)]
enum Slot {
    Creating,
    Created(mpsc::UnboundedSender<Asked>),
}

impl Tasks {
    /// None yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, all: Mutex::default(), ended: Notify::new() })
    }

    /// There is none, and none is being created.
    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Resolves once Shutdown was asked for and there is none.
    pub(crate) async fn shut_down(&self) {
        self.ended.notified().await;
    }

    /// The shim may end, if nobody needs it.
    pub(super) fn on_shutdown(&self) {
        if self.is_empty() {
            self.ended.notify_one();
        }
    }

    /// Hands a call to the owner of a container.
    pub(super) async fn ask(&self, id: &str, call: Call) -> Result<Vec<u8>, TaskError> {
        let owner = match self.all().get(id) {
            Some(Slot::Created(owner)) => owner.clone(),
            Some(Slot::Creating) | None => return Err(TaskError::no_such(id, "")),
        };
        let (to, reply) = oneshot::channel();
        let gone = || TaskError::no_such(id, "");
        owner.send((call, to)).map_err(|_closed| gone())?;
        reply.await.map_err(|_dropped| gone())?
    }

    /// The shim itself; a container that is not known has process 0.
    pub(super) async fn connect(&self, id: &str) -> Vec<u8> {
        let nobody = ConnectResponse { shim_pid: std::process::id(), task_pid: 0, version: env!("CARGO_PKG_VERSION").to_owned() };
        self.ask(id, Call::Pid).await.unwrap_or_else(|_unknown| nobody.to_bytes())
    }

    /// Creates a container. What has begun is seen through, or undone when nobody waits for it any more.
    pub(super) async fn create(self: &Arc<Self>, request: CreateTaskRequest) -> Result<Vec<u8>, TaskError> {
        let id = request.id.clone();
        check_id(&id)?;
        self.reserve(&id)?;
        let (to, reply) = oneshot::channel();
        let tasks = Arc::clone(self);
        tokio::spawn(async move { tasks.see_through(request, to).await });
        reply.await.map_err(|_dropped| TaskError::Failed(format!("container {id} was not created")))?
    }

    async fn see_through(self: Arc<Self>, request: CreateTaskRequest, to: oneshot::Sender<Result<Vec<u8>, TaskError>>) {
        let id = request.id.clone();
        let (owner, calls) = mpsc::unbounded_channel();
        match creation::create(request, &self.shared, calls).await {
            Err(error) => {
                self.all().remove(&id);
                self.shared.agent.note();
                drop(to.send(Err(error)));
            }
            Ok((pid, task)) => {
                self.all().insert(id.clone(), Slot::Created(owner));
                let tasks = Arc::clone(&self);
                let name = id.clone();
                tokio::spawn(async move {
                    task.run().await;
                    tasks.all().remove(&name);
                    tasks.shared.agent.note();
                });
                if to.send(Ok(CreateTaskResponse { pid }.to_bytes())).is_err() {
                    log::warn!("nobody waits for container {id} any more: delete it");
                    drop(self.ask(&id, Call::Delete(String::new())).await);
                }
            }
        }
    }

    fn reserve(&self, id: &str) -> Result<(), TaskError> {
        let mut all = self.all();
        if all.contains_key(id) {
            return Err(TaskError::AlreadyExists(format!("container {id} already exists")));
        }
        all.insert(id.to_owned(), Slot::Creating);
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As containerd's own identifiers: it becomes part of paths.
fn check_id(id: &str) -> Result<(), TaskError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let starts_well = id.starts_with(|first: char| first.is_ascii_alphanumeric());
    if starts_well && id.len() <= 128 && id.bytes().all(fits) {
        return Ok(());
    }
    Err(TaskError::InvalidArgument(format!(
        "the container id {id:?} must be letters, digits, '.', '_' and '-', and begin with a letter or digit"
    )))
}
