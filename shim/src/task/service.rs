//! The service: every method of containerd's Task, under the names of version 2 and 3, whose messages are the same bytes.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ttrpc::asynchronous::{MethodHandler, Service, TtrpcContext};
use ttrpc::proto::{Code, Response};

use super::error::TaskError;
use super::messages::{
    CloseIoRequest, CreateTaskRequest, ExecProcessRequest, KillRequest, ProcessRequest, ResizePtyRequest, UpdateTaskRequest,
};
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
        match Request::read(self.method, payload)? {
            Request::About(id, call) => tasks.ask(&id, call).await,
            Request::Create(request) => tasks.create(request).await,
            Request::Connect(id) => Ok(tasks.connect(&id).await),
            Request::Shutdown => {
                tasks.on_shutdown();
                Ok(Vec::new())
            }
            Request::Checkpoint => Err(TaskError::Unimplemented("containers cannot be checkpointed".to_owned())),
        }
    }
}

/// A request that was understood.
enum Request {
    /// About one container.
    About(String, Call),
    Create(CreateTaskRequest),
    Connect(String),
    Shutdown,
    Checkpoint,
}

impl Request {
    fn read(method: Method, payload: &[u8]) -> Result<Self, TaskError> {
        let process = |call: fn(String) -> Call| {
            let ProcessRequest { id, exec_id } = Message::from_bytes(payload)?;
            Ok(Self::About(id, call(exec_id)))
        };
        // Of those that name no process.
        let container = || Ok::<String, TaskError>(ProcessRequest::from_bytes(payload)?.id);
        Ok(match method {
            Method::State => return process(Call::State),
            Method::Start => return process(Call::Start),
            Method::Delete => return process(Call::Delete),
            Method::Wait => return process(Call::Wait),
            Method::Pids => Self::About(container()?, Call::Pids),
            Method::Pause => Self::About(container()?, Call::Pause),
            Method::Resume => Self::About(container()?, Call::Resume),
            Method::Stats => Self::About(container()?, Call::Stats),
            Method::Connect => Self::Connect(container()?),
            Method::Create => Self::Create(Message::from_bytes(payload)?),
            Method::Kill => {
                let request = KillRequest::from_bytes(payload)?;
                Self::About(request.id.clone(), Call::Kill(request))
            }
            Method::Exec => {
                let request = checked(Message::from_bytes(payload)?)?;
                Self::About(request.id.clone(), Call::Exec(request))
            }
            Method::ResizePty => {
                let request = ResizePtyRequest::from_bytes(payload)?;
                Self::About(request.id.clone(), Call::Resize(request))
            }
            Method::CloseIo => {
                let request = CloseIoRequest::from_bytes(payload)?;
                Self::About(request.id.clone(), Call::CloseIo(request))
            }
            Method::Update => {
                let request = UpdateTaskRequest::from_bytes(payload)?;
                Self::About(request.id.clone(), Call::Update(request))
            }
            Method::Shutdown => Self::Shutdown,
            Method::Checkpoint => Self::Checkpoint,
        })
    }
}

fn checked(request: ExecProcessRequest) -> Result<ExecProcessRequest, TaskError> {
    if request.exec_id.is_empty() {
        return Err(TaskError::InvalidArgument("an exec needs an id".to_owned()));
    }
    Ok(request)
}
