//! `spec`: an example config.json.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use anyhow::Context;

use crate::cli::SpecArgs;

/// The example: a shell in a read-only root file system, with few capabilities and every namespace but `user` and `cgroup`.
const EXAMPLE: &str = include_str!("example_config.json");

/// Performs `spec`.
pub(crate) fn spec(args: &SpecArgs) -> anyhow::Result<()> {
    anyhow::ensure!(!args.rootless, "--rootless: rootless use is not supported yet");
    let file = args.bundle.join("config.json");
    match OpenOptions::new().write(true).create_new(true).open(&file) {
        Ok(mut opened) => opened.write_all(EXAMPLE.as_bytes()).with_context(|| format!("write {}", file.display())),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            anyhow::bail!("file {} exists: remove it first", file.display())
        }
        Err(error) => Err(error).with_context(|| format!("create {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use libcontainer::oci_spec::runtime::Spec;

    #[test]
    fn the_example_is_a_specification() {
        let spec: Spec = serde_json::from_str(super::EXAMPLE).unwrap();
        assert_eq!(spec.process().as_ref().unwrap().args().as_ref().unwrap(), &["sh"]);
        assert!(spec.version().starts_with("1."));
    }
}
