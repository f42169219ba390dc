//! A WebSocket client (RFC 6455) for CRI's streams: each message begins with the number of its channel, as in `v4.channel.k8s.io`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::wait::PATIENCE;

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// What a message of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// To the process.
    Stdin,
    /// From the process, and from a forwarded port.
    Stdout,
    /// From the process.
    Stderr,
    /// How it ended, as JSON.
    Error,
    /// `{"Width":…,"Height":…}` of the terminal.
    Resize,
}

impl Channel {
    fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Error => 3,
            Self::Resize => 4,
        }
    }
}

/// An open stream.
#[derive(Debug)]
pub struct WebSocket {
    stream: TcpStream,
}

impl WebSocket {
    /// Open the stream that CRI answered with, such as `http://127.0.0.1:1234/exec/TOKEN`.
    #[must_use]
    pub fn open(url: &str, protocol: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("not an http address: {url}"));
        let (authority, path) = rest.split_once('/').unwrap();
        let mut stream = TcpStream::connect(authority).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: aHNoaW0gaXMgaGVhbHRoeQ==\r\nSec-WebSocket-Protocol: {protocol}\r\nOrigin: http://{authority}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with("HTTP/1.1 101"), "the stream was refused: {head}");
        Self { stream }
    }

    /// Send a message on a channel.
    pub fn send(&mut self, channel: Channel, data: &[u8]) {
        self.send_bytes(channel.number(), data);
    }

    /// Send a message on a channel that has only a number, as those of forwarded ports.
    pub fn send_bytes(&mut self, channel: u8, data: &[u8]) {
        let payload = [&[channel], data].concat();
        let length = u16::try_from(payload.len()).unwrap();
        // A mask of zeros is a mask, and leaves the bytes as they are.
        let head = [&[0x80 | BINARY, 0x80 | 126], length.to_be_bytes().as_slice(), &[0; 4]].concat();
        self.stream.write_all(&[head, payload].concat()).unwrap();
    }

    /// The next message that is not empty, with its channel's number; none at the end.
    pub fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let (kind, payload) = self.frame()?;
            match (kind, payload.split_first()) {
                (CLOSE, _) => return None,
                (PING, _) | (_, None | Some((_, []))) => {}
                (_, Some((channel, data))) => return Some((*channel, data.to_vec())),
            }
        }
    }

    /// Everything on one channel, until the other side closes.
    pub fn read_to_end(&mut self, channel: Channel) -> String {
        let mut all = Vec::new();
        while let Some((number, data)) = self.receive() {
            if number == channel.number() {
                all.extend(data);
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Read channel `channel` until `text` has come.
    pub fn read_until(&mut self, channel: Channel, text: &str) -> String {
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains(text) {
            let message = self.receive();
            let (number, data) =
                message.unwrap_or_else(|| panic!("the stream ended before {text:?}: {:?}", String::from_utf8_lossy(&all)));
            if number == channel.number() {
                all.extend(data);
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// How long to wait for a message.
    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).ok()?;
        let length = match head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.exact()?)),
            127 => u64::from_be_bytes(self.exact()?),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).ok()?];
        self.stream.read_exact(&mut payload).ok()?;
        Some((head[0] & 0x0f, payload))
    }

    fn exact<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}
