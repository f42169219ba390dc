//! What `start` is told: by flags and environment, and from containerd 2.3 on by a message on standard input.

use std::io::{self, Read};
use std::path::PathBuf;

use super::flags::Flags;
use crate::task::messages::{Any, BootstrapParams, BootstrapResult};
use crate::task::options::Options;
use crate::task::publisher::Address;
use crate::wire::Message;

/// As much as containerd itself reads.
const MOST: u64 = 10 << 20;
/// Where containerd up to 2.2 expects sockets.
const SOCKETS: &str = "/run/containerd/s";
/// Log levels are those of Go's slog: negative is debug and below.
const INFO: i32 = 0;

/// What counts, wherever it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    /// Where events go.
    pub(super) address: Address,
    /// Directory for the socket.
    pub(super) socket_dir: PathBuf,
    /// Log more.
    pub(super) debug: bool,
    /// The shim's own cgroup, if options name one.
    pub(super) shim_cgroup: String,
    reply: Reply,
}

/// What the reader of our standard output understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// An address: every version.
    Bare,
    /// BootstrapResult: who sent BootstrapParams.
    Result,
}

impl Parameters {
    /// Reads standard input.
    pub(super) fn read(flags: &Flags) -> io::Result<Self> {
        let mut input = Vec::new();
        io::stdin().take(MOST).read_to_end(&mut input)?;
        let environment = std::env::var("TTRPC_ADDRESS").ok().filter(|address| !address.is_empty());
        Self::new(flags, environment, &input)
    }

    fn new(flags: &Flags, ttrpc: Option<String>, input: &[u8]) -> io::Result<Self> {
        // The options alone, as older versions send them, can be read as the message too: only the names tell.
        let params = BootstrapParams::from_bytes(input).ok();
        let params = params.filter(|it| it.instance_id == flags.id && it.namespace == flags.namespace);
        let address = Address { ttrpc, grpc: flags.address.clone(), binary: flags.publish_binary.clone() };
        let Some(params) = params else {
            let options = Any::from_bytes(input).map_err(io::Error::other)?;
            return Ok(Self {
                address,
                socket_dir: SOCKETS.into(),
                debug: flags.debug,
                shim_cgroup: shim_cgroup(Some(&options)),
                reply: Reply::Bare,
            });
        };
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let options = params.extensions.iter().filter_map(|extension| extension.value.as_ref());
        Ok(Self {
            address: Address {
                ttrpc: given(params.ttrpc_address).or(address.ttrpc),
                grpc: given(params.grpc_address).unwrap_or(address.grpc),
                binary: given(params.containerd_binary).map(PathBuf::from).or(address.binary),
            },
            socket_dir: given(params.socket_dir).unwrap_or_else(|| SOCKETS.to_owned()).into(),
            debug: flags.debug || params.log_level < INFO,
            shim_cgroup: options.map(|any| shim_cgroup(Some(any))).find(|path| !path.is_empty()).unwrap_or_default(),
            reply: Reply::Result,
        })
    }

    /// The answer of `start`.
    pub(super) fn reply(&self, address: &str) -> Vec<u8> {
        match self.reply {
            Reply::Bare => address.as_bytes().to_vec(),
            Reply::Result => BootstrapResult { version: 2, address: address.to_owned(), protocol: "ttrpc".to_owned() }.to_bytes(),
        }
    }
}

/// Options are judged at Create; here only this one matters.
fn shim_cgroup(options: Option<&Any>) -> String {
    Options::parse(options).map(|options| options.shim_cgroup).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::messages::{Extension, RuncOptions};

    fn flags() -> Flags {
        Flags { namespace: "moby".into(), id: "c1".into(), address: "/run/c.sock".into(), ..Flags::default() }
    }

    fn options() -> Any {
        let value = RuncOptions { shim_cgroup: "/shims".into(), ..RuncOptions::default() }.to_bytes();
        Any { type_url: "containerd.runc.v1.Options".into(), value }
    }

    #[test]
    fn nothing_or_options_on_stdin_is_an_older_containerd_that_wants_an_address() {
        for (input, cgroup) in [(Vec::new(), ""), (options().to_bytes(), "/shims")] {
            let parameters = Parameters::new(&flags(), Some("/run/c.sock.ttrpc".into()), &input).unwrap();
            assert_eq!(parameters.reply("unix:///s"), b"unix:///s");
            assert_eq!(
                (parameters.shim_cgroup.as_str(), parameters.address.ttrpc.as_deref()),
                (cgroup, Some("/run/c.sock.ttrpc"))
            );
            assert_eq!(parameters.socket_dir, PathBuf::from("/run/containerd/s"));
        }
    }

    #[test]
    fn parameters_on_stdin_win_and_are_answered_by_a_result() {
        let params = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "moby".into(),
            log_level: -4,
            ttrpc_address: "/new.ttrpc".into(),
            socket_dir: "/run/s".into(),
            extensions: vec![Extension { value: Some(options()) }],
            ..BootstrapParams::default()
        };
        let parameters = Parameters::new(&flags(), Some("/old.ttrpc".into()), &params.to_bytes()).unwrap();
        assert_eq!(parameters.address.ttrpc.as_deref(), Some("/new.ttrpc"));
        assert_eq!((parameters.address.grpc.as_str(), parameters.debug), ("/run/c.sock", true));
        assert_eq!((parameters.socket_dir.to_str(), parameters.shim_cgroup.as_str()), (Some("/run/s"), "/shims"));
        let result = BootstrapResult::from_bytes(&parameters.reply("unix:///s")).unwrap();
        assert_eq!((result.version, result.protocol.as_str(), result.address.as_str()), (2, "ttrpc", "unix:///s"));
    }

    #[test]
    fn nonsense_on_stdin_is_refused() {
        assert!(Parameters::new(&flags(), None, &[0xff; 20]).is_err());
    }
}
