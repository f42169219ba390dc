//! The conversation with a running shim, from the command line's side: ttrpc over the socket of a supervision directory.
//!
//! ttrpc's own client starts threads, and no process that may fork or clone has any (main.rs). A call is one frame each way, so
//! the frames are written and read here, with ttrpc's types, on a socket that can also be polled.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use hshim_health::control::{METHOD, Reply, Request, SERVICE};
use hshim_health::layout::SupervisionDir;
use ttrpc::proto::{Code, Codec, MESSAGE_HEADER_LENGTH, MESSAGE_LENGTH_MAX, MessageHeader, Response};

/// Stream ids of a client are odd (ttrpc PROTOCOL.md).
const STREAM: u32 = 1;

/// Why a shim did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The connection broke: most likely the shim has ended.
    #[error("ask the shim on {}", socket.display())]
    Broken {
        /// Its socket.
        socket: PathBuf,
        /// How.
        source: io::Error,
    },
    /// It answered with an error of the protocol.
    #[error("the shim on {} answered: {message}", socket.display())]
    Protocol {
        /// Its socket.
        socket: PathBuf,
        /// What it said.
        message: String,
    },
    /// It refused, in words that are meant for the user.
    #[error("{0}")]
    Refused(String),
}

/// One connection, for one request at a time.
#[derive(Debug)]
pub(crate) struct ShimClient {
    stream: UnixStream,
    socket: PathBuf,
}

impl ShimClient {
    /// Connects to the shim of a supervision directory; none when nobody serves there (any more).
    pub(crate) fn connect(dir: &SupervisionDir) -> Result<Option<Self>, AskError> {
        let socket = dir.socket();
        match connect(dir) {
            Ok(stream) => Ok(Some(Self { stream, socket })),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
            Err(source) => Err(AskError::Broken { socket, source }),
        }
    }

    /// How long an answer may take from now on; without end when none.
    pub(crate) fn set_patience(&self, patience: Option<Duration>) -> Result<(), AskError> {
        self.stream.set_read_timeout(patience).map_err(|source| self.broken(source))
    }

    /// Asks and waits for the answer. A refusal is an error.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Reply, AskError> {
        self.send(request)?;
        self.receive()
    }

    /// Asks only; the answer comes when the connection becomes readable.
    pub(crate) fn send(&mut self, request: &Request) -> Result<(), AskError> {
        let frame = frame(request).map_err(|source| self.broken(source))?;
        self.stream.write_all(&frame).map_err(|source| self.broken(source))
    }

    /// Waits for the answer to what was sent.
    pub(crate) fn receive(&mut self) -> Result<Reply, AskError> {
        let response = self.read().map_err(|source| self.broken(source))?;
        let status = response.status();
        if status.code() != Code::OK {
            return Err(AskError::Protocol { socket: self.socket.clone(), message: status.message().to_owned() });
        }
        match serde_json::from_slice(&response.payload) {
            Ok(Reply::Refused { message }) => Err(AskError::Refused(message)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(AskError::Protocol { socket: self.socket.clone(), message: error.to_string() }),
        }
    }

    /// Waits until the shim closes the connection, as it does when it ends. False when it has not after `patience`.
    pub(crate) fn closes_within(&mut self, patience: Duration) -> Result<bool, AskError> {
        self.set_patience(Some(patience))?;
        match self.stream.read(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            // Nothing more was asked, so whatever comes is the end.
            Ok(_) | Err(_) => Ok(true),
        }
    }

    fn read(&mut self) -> io::Result<Response> {
        let mut header = [0; MESSAGE_HEADER_LENGTH];
        self.stream.read_exact(&mut header).map_err(without_answer)?;
        let length = usize::try_from(MessageHeader::from(header).length).unwrap_or(usize::MAX);
        if length > MESSAGE_LENGTH_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer is longer than ttrpc allows"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Response::decode(body).map_err(io::Error::other)
    }

    fn broken(&self, source: io::Error) -> AskError {
        AskError::Broken { socket: self.socket.clone(), source }
    }
}

impl AsFd for ShimClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Through /proc/self/fd: the path of a supervision directory may be longer than a socket address can be.
fn connect(dir: &SupervisionDir) -> io::Result<UnixStream> {
    let directory = File::open(&dir.0)?;
    let socket = dir.socket();
    let name = socket.file_name().unwrap_or_default();
    UnixStream::connect(PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name))
}

/// What the end of the connection means here.
fn without_answer(error: io::Error) -> io::Error {
    let kind = error.kind();
    if kind == ErrorKind::UnexpectedEof {
        io::Error::new(kind, "it ended before it answered")
    } else if kind == ErrorKind::WouldBlock {
        io::Error::new(kind, "it does not answer")
    } else {
        error
    }
}

fn frame(request: &Request) -> io::Result<Vec<u8>> {
    let mut call = ttrpc::Request::new();
    call.service = SERVICE.to_owned();
    call.method = METHOD.to_owned();
    call.payload = serde_json::to_vec(request)?;
    let body = call.encode().map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut frame = Vec::<u8>::from(MessageHeader::new_request(STREAM, length));
    frame.extend(body);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A shim that answers one request with these bytes as its payload, or hangs up.
    fn scripted(name: &str, payload: Option<&'static [u8]>) -> (SupervisionDir, std::thread::JoinHandle<Vec<u8>>) {
        let path = std::env::temp_dir().join(format!("hshim-client-{}-{name}", std::process::id())).join("d".repeat(100));
        std::fs::create_dir_all(&path).unwrap();
        let dir = SupervisionDir(path);
        let directory = File::open(&dir.0).unwrap();
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/shim.sock", directory.as_raw_fd())).unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut header = [0; MESSAGE_HEADER_LENGTH];
            stream.read_exact(&mut header).unwrap();
            let mut body = vec![0; usize::try_from(MessageHeader::from(header).length).unwrap()];
            stream.read_exact(&mut body).unwrap();
            if let Some(payload) = payload {
                let mut response = Response::new();
                response.payload = payload.to_vec();
                let body = response.encode().unwrap();
                let header = MessageHeader::new_response(STREAM, u32::try_from(body.len()).unwrap());
                stream.write_all(&Vec::<u8>::from(header)).unwrap();
                stream.write_all(&body).unwrap();
            }
            ttrpc::Request::decode(body).unwrap().payload
        });
        (dir, served)
    }

    fn end(dir: &SupervisionDir) {
        std::fs::remove_dir_all(dir.0.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_question_and_its_answer_are_one_frame_each() {
        let (dir, served) = scripted("answer", Some(br#"{"exited":{"code":7}}"#));
        let mut client = ShimClient::connect(&dir).unwrap().unwrap();
        assert_eq!(client.ask(&Request::Wait).unwrap(), Reply::Exited { code: 7 });
        assert!(client.closes_within(Duration::from_secs(30)).unwrap());
        assert_eq!(served.join().unwrap(), br#""wait""#);
        end(&dir);
    }

    #[test]
    fn a_refusal_is_an_error_in_the_shims_own_words_and_a_broken_connection_names_the_socket() {
        let (dir, served) = scripted("refusal", Some(br#"{"refused":{"message":"no"}}"#));
        let error = ShimClient::connect(&dir).unwrap().unwrap().ask(&Request::Start).unwrap_err();
        assert_eq!(error.to_string(), "no");
        served.join().unwrap();
        end(&dir);
        let (dir, served) = scripted("broken", None);
        let error = ShimClient::connect(&dir).unwrap().unwrap().ask(&Request::Start).unwrap_err().to_string();
        assert!(error.contains("shim.sock"), "{error}");
        served.join().unwrap();
        assert!(ShimClient::connect(&dir).unwrap().is_none(), "nobody serves there any more");
        end(&dir);
        assert!(ShimClient::connect(&dir).unwrap().is_none(), "there is no such directory");
    }
}
