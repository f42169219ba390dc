//! The service: every method of containerd's Task, under the names of version 2 and 3, whose messages are the same bytes.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ttrpc::asynchronous::{MethodHandler, Service, TtrpcContext};
use ttrpc::proto::{Code, Response};

use super::error::TaskError;
use super::messages::{CreateTaskRequest, ExecProcessRequest, ProcessRequest};
use super::owner::Call;
use super::tasks::Tasks;
use crate::wire::Message;

const NAMES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// The methods.
#[derive(Clone, Copy, Debug)]
enum Method {
    State,
    Create,
    Start,
    Delete,
    Pids,
    Pause,
    Resume,
    Checkpoint,
    Kill,
    Exec,
    ResizePty,
    CloseIo,
    Update,
    Wait,
    Stats,
    Connect,
    Shutdown,
}

const METHODS: [(&str, Method); 17] = [
    ("State", Method::State),
    ("Create", Method::Create),
    ("Start", Method::Start),
    ("Delete", Method::Delete),
    ("Pids", Method::Pids),
    ("Pause", Method::Pause),
    ("Resume", Method::Resume),
    ("Checkpoint", Method::Checkpoint),
    ("Kill", Method::Kill),
    ("Exec", Method::Exec),
    ("ResizePty", Method::ResizePty),
    ("CloseIO", Method::CloseIo),
    ("Update", Method::Update),
    ("Wait", Method::Wait),
    ("Stats", Method::Stats),
    ("Connect", Method::Connect),
    ("Shutdown", Method::Shutdown),
];

/// The table for the server.
pub(crate) fn services(tasks: &Arc<Tasks>) -> HashMap<String, Service> {
    let service = || {
        let methods = METHODS.map(|(name, method)| {
            let handler: Box<dyn MethodHandler + Send + Sync> = Box::new(Handler { tasks: Arc::clone(tasks), method });
            (name.to_owned(), handler)
        });
        Service { methods: HashMap::from(methods), streams: HashMap::new() }
    };
    NAMES.into_iter().map(|name| (name.to_owned(), service())).collect()
}

struct Handler {
    tasks: Arc<Tasks>,
    method: Method,
}

impl MethodHandler for Handler {
    fn handler<'a, 'b>(
        &'a self,
        _context: TtrpcContext,
        request: ttrpc::Request,
    ) -> Pin<Box<dyn Future<Output = ttrpc::Result<Response>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            self.tasks.shared.agent.on_call();
            Ok(match self.answer(&request.payload).await {
                Ok(payload) => {
                    let mut response = Response::new();
                    response.set_status(ttrpc::get_status(Code::OK, ""));
                    response.payload = payload;
                    response
                }
                Err(error) => error.response(),
            })
        })
    }
}

impl Handler {
    async fn answer(&self, payload: &[u8]) -> Result<Vec<u8>, TaskError> {
        let tasks = &self.tasks;
        match self.method {
            Method::Create => return tasks.create(CreateTaskRequest::from_bytes(payload)?).await,
            Method::Connect => return Ok(tasks.connect(&ProcessRequest::from_bytes(payload)?.id).await),
            Method::Shutdown => {
                tasks.on_shutdown();
                return Ok(Vec::new());
            }
            Method::Checkpoint => return Err(TaskError::Unimplemented("containers cannot be checkpointed".to_owned())),
            _ => {}
        }
        let (id, call) = self.call(payload)?;
        tasks.ask(&id, call).await
    }

    /// The container that a request is about, and what is asked.
    fn call(&self, payload: &[u8]) -> Result<(String, Call), TaskError> {
        // Every request begins with the container's id and the process'; the other fields are skipped here.
        let ProcessRequest { id, exec_id } = names(payload, self.method)?;
        let call = match self.method {
            Method::State => Call::State(exec_id),
            Method::Start => Call::Start(exec_id),
            Method::Delete => Call::Delete(exec_id),
            Method::Wait => Call::Wait(exec_id),
            Method::Pids => Call::Pids,
            Method::Pause => Call::Pause,
            Method::Resume => Call::Resume,
            Method::Stats => Call::Stats,
            Method::Kill => Call::Kill(Message::from_bytes(payload)?),
            Method::Exec => Call::Exec(checked(Message::from_bytes(payload)?)?),
            Method::ResizePty => Call::Resize(Message::from_bytes(payload)?),
            Method::CloseIo => Call::CloseIo(Message::from_bytes(payload)?),
            Method::Update => Call::Update(Message::from_bytes(payload)?),
            Method::Create | Method::Connect | Method::Shutdown | Method::Checkpoint => Call::Pid,
        };
        Ok((id, call))
    }
}

fn names(payload: &[u8], method: Method) -> Result<ProcessRequest, TaskError> {
    match method {
        // Its second field is another one.
        Method::Update => {
            let super::messages::UpdateTaskRequest { id, .. } = Message::from_bytes(payload)?;
            Ok(ProcessRequest { id, exec_id: String::new() })
        }
        _ => Ok(ProcessRequest::from_bytes(payload)?),
    }
}

fn checked(request: ExecProcessRequest) -> Result<ExecProcessRequest, TaskError> {
    if request.exec_id.is_empty() {
        return Err(TaskError::InvalidArgument("an exec needs an id".to_owned()));
    }
    Ok(request)
}
