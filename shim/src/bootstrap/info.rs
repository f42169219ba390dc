//! `-info`: what this runtime is, for containerd 2.0 and later. Works from any directory and with nothing on standard input.

use std::io::{self, Read};
use std::process::Command;

use super::flags::Flags;
use crate::task::messages::{Any, RuntimeInfo, RuntimeVersion};
use crate::task::options::Options;
use crate::wire::Message;

const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Prints a RuntimeInfo.
pub(super) fn print(_flags: &Flags) -> io::Result<()> {
    let mut input = Vec::new();
    io::stdin().take(10 << 20).read_to_end(&mut input)?;
    let options = Some(Any::from_bytes(&input).map_err(io::Error::other)?).filter(|any| !any.type_url.is_empty());
    let features = features(options.as_ref());
    let info = RuntimeInfo {
        name: "io.containerd.hshim.v2".to_owned(),
        version: Some(RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), revision: String::new() }),
        options,
        features: features.map(|value| Any { type_url: FEATURES.to_owned(), value }),
    };
    super::say(&info.to_bytes())
}

/// In the runtime's own words. A runtime without the verb has none to tell.
fn features(options: Option<&Any>) -> Option<Vec<u8>> {
    let runtime = Options::parse(options).ok()?.runtime("default", false).ok()?;
    let output = Command::new(runtime.path).arg("features").output().ok()?;
    output.status.success().then_some(output.stdout)
}
