//! gRPC over a unix socket: one call, one connection. containerd's own API and CRI's are on the same socket.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use h2::client;
use http::{HeaderMap, Request};
use tokio::net::UnixStream;

use super::protobuf::{Fields, Message};

/// Where to call, and in whose name.
#[derive(Clone, Debug)]
pub struct Grpc {
    /// containerd's gRPC socket.
    pub socket: PathBuf,
    /// containerd's namespace; CRI ignores it.
    pub namespace: String,
}

/// Why a call was refused: gRPC's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// gRPC's status code; 14 also for a connection that broke.
    pub code: u32,
    /// What the server says.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (code {})", self.message, self.code)
    }
}

impl Refusal {
    fn broken(error: impl fmt::Display) -> Self {
        Self { code: 14, message: error.to_string() }
    }
}

impl Grpc {
    /// Call `method`, such as `/runtime.v1.RuntimeService/Version`, and wait for the answer.
    ///
    /// # Errors
    /// The server's refusal, or 14 if the connection broke.
    pub fn call(&self, method: &str, request: &Message) -> Result<Fields, Refusal> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Refusal::broken)?;
        let answer = runtime.block_on(self.exchange(method, request))?;
        Fields::read(answer.get(5..).unwrap_or_default()).ok_or_else(|| Refusal::broken("the answer is no protobuf"))
    }

    async fn exchange(&self, method: &str, message: &Message) -> Result<Vec<u8>, Refusal> {
        let stream = UnixStream::connect(&self.socket).await.map_err(Refusal::broken)?;
        let (mut sender, connection) = client::handshake(stream).await.map_err(Refusal::broken)?;
        tokio::spawn(connection);
        let request = Request::post(format!("http://localhost{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("containerd-namespace", &self.namespace)
            .body(())
            .map_err(Refusal::broken)?;
        let (response, mut body) = sender.send_request(request, false).map_err(Refusal::broken)?;
        body.send_data(frame(message), true).map_err(Refusal::broken)?;
        let response = response.await.map_err(Refusal::broken)?;
        accepted(response.headers())?;
        let mut body = response.into_body();
        let mut answer = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(Refusal::broken)?;
            body.flow_control().release_capacity(chunk.len()).map_err(Refusal::broken)?;
            answer.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await.map_err(Refusal::broken)?;
        accepted(&trailers.unwrap_or_default())?;
        Ok(answer)
    }
}

/// One uncompressed message.
fn frame(message: &Message) -> Bytes {
    let encoded = message.encoded();
    let length = u32::try_from(encoded.len()).unwrap();
    [&[0], length.to_be_bytes().as_slice(), encoded].concat().into()
}

fn accepted(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "" | "0" => Ok(()),
        code => Err(Refusal { code: code.parse().unwrap_or(2), message: unescaped(text("grpc-message")) }),
    }
}

/// gRPC percent-encodes messages.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = tail.get(..2).filter(|_| first == b'%');
        let byte = escape.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
