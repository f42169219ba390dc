//! The socket: ttrpc, with JSON payloads of [`hshim_health::control`].
//!
//! A handler only hands the question to the loop and waits for its answer: it may be dropped at any moment, and nothing
//! changes in it. containerd's task service joins the same server as further entries of its table.

use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;

use hshim_health::control::{METHOD, Reply, Request, SERVICE};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::{MethodHandler, Server, Service, TtrpcContext};
use ttrpc::proto::{Code, Response};

/// A request and where its reply goes.
#[derive(Debug)]
pub(crate) struct Question {
    /// What is asked.
    pub(crate) request: Request,
    /// Whoever asked may be gone by the time of the answer.
    pub(crate) answer: oneshot::Sender<Reply>,
}

/// The other end of the questions.
pub(crate) type Questions = mpsc::Receiver<Question>;

/// Serves on `socket` (0600) from now on.
pub(crate) async fn serve(socket: &Path) -> io::Result<(Server, Questions)> {
    let listener = bind(socket)?;
    let (ask, questions) = mpsc::channel(16);
    let methods: HashMap<String, Box<dyn MethodHandler + Send + Sync>> =
        HashMap::from([(METHOD.to_owned(), Box::new(Call { ask }) as Box<dyn MethodHandler + Send + Sync>)]);
    let service = Service { methods, streams: HashMap::new() };
    let mut server =
        Server::new().add_listener(Listener::from(listener)).register_service(HashMap::from([(SERVICE.to_owned(), service)]));
    server.start().await.map_err(io::Error::other)?;
    Ok((server, questions))
}

/// Through /proc/self/fd: the path of a pod's directory may be longer than a socket address can be.
fn bind(socket: &Path) -> io::Result<UnixListener> {
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let directory = fs::File::open(directory)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    match fs::remove_file(&short) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&short)?;
    fs::set_permissions(&short, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

struct Call {
    ask: mpsc::Sender<Question>,
}

impl MethodHandler for Call {
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
            let request = serde_json::from_slice(&request.payload)
                .map_err(|error| status(Code::INVALID_ARGUMENT, format!("request is not understood: {error}")))?;
            let (answer, reply) = oneshot::channel();
            let asked = self.ask.send(Question { request, answer }).await;
            asked.map_err(|_closed| status(Code::UNAVAILABLE, "the shim is ending".to_owned()))?;
            let reply = reply.await.map_err(|_dropped| status(Code::UNAVAILABLE, "the shim is ending".to_owned()))?;
            let payload = serde_json::to_vec(&reply).map_err(|error| status(Code::INTERNAL, error.to_string()))?;
            let mut response = Response::new();
            response.set_status(ttrpc::get_status(Code::OK, ""));
            response.payload = payload;
            Ok(response)
        })
    }
}

fn status(code: Code, message: String) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, message))
}

#[cfg(test)]
mod tests {
    use ttrpc::asynchronous::Client;

    use super::*;
    use crate::test_support::Scratch;

    async fn call(socket: &Path, payload: &str) -> ttrpc::Result<Reply> {
        let client = Client::connect(&format!("unix://{}", socket.display())).await.unwrap();
        let mut request = ttrpc::Request::new();
        request.service = SERVICE.to_owned();
        request.method = METHOD.to_owned();
        request.payload = payload.as_bytes().to_vec();
        client.request(request).await.map(|response| serde_json::from_slice(&response.payload).unwrap())
    }

    #[tokio::test]
    async fn a_question_reaches_the_loop_and_its_answer_the_asker() {
        let scratch = Scratch::new();
        let socket = scratch.path().join("shim.sock");
        let (_server, mut questions) = serve(&socket).await.unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let loop_side = async {
            let question = questions.recv().await.unwrap();
            assert_eq!(question.request, Request::Restart { container: "web".into() });
            question.answer.send(Reply::Done).unwrap();
        };
        let (reply, ()) = tokio::join!(call(&socket, r#"{"restart":{"container":"web"}}"#), loop_side);
        assert_eq!(reply.unwrap(), Reply::Done);
    }

    #[tokio::test]
    async fn nonsense_is_refused_and_a_long_path_is_no_hindrance() {
        let scratch = Scratch::new();
        let deep = scratch.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let (_server, questions) = serve(&deep.join("shim.sock")).await.unwrap();
        let link = scratch.path().join("short");
        std::os::unix::fs::symlink(&deep, &link).unwrap();
        let socket = link.join("shim.sock");
        let error = call(&socket, r#"{"fly":{}}"#).await.unwrap_err().to_string();
        assert!(error.contains("not understood"), "{error}");
        drop(questions);
        let error = call(&socket, r#""wait""#).await.unwrap_err().to_string();
        assert!(error.contains("the shim is ending"), "{error}");
    }
}
