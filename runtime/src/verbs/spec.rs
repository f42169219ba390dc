//! `spec`: an example config.json.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::SpecArgs;

/// The example: a shell in a read-only root file system, with few capabilities and every namespace but `user` and `cgroup`.
const EXAMPLE: &str = include_str!("example_config.json");

/// Performs `spec`.
pub(crate) fn spec(args: &SpecArgs) -> anyhow::Result<()> {
    let file = args.bundle.join("config.json");
    let text = if args.rootless { rootless()? } else { EXAMPLE.to_owned() };
    match OpenOptions::new().write(true).create_new(true).open(&file) {
        Ok(mut opened) => opened.write_all(text.as_bytes()).with_context(|| format!("write {}", file.display())),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            anyhow::bail!("file {} exists: remove it first", file.display())
        }
        Err(error) => Err(error).with_context(|| format!("create {}", file.display())),
    }
}

/// The example for a user namespace in which the caller is root: nothing in it needs a privilege outside.
fn rootless() -> anyhow::Result<String> {
    let mut spec: Value = serde_json::from_str(EXAMPLE).context("understand the example")?;
    let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    if let Some(linux) = spec.get_mut("linux").and_then(Value::as_object_mut) {
        linux.insert("uidMappings".to_owned(), map(nix::unistd::geteuid().as_raw()));
        linux.insert("gidMappings".to_owned(), map(nix::unistd::getegid().as_raw()));
        linux.remove("resources");
        let namespaces = ["pid", "ipc", "uts", "mount", "user"].map(|typ| json!({"type": typ}));
        linux.insert("namespaces".to_owned(), json!(namespaces));
    }
    for mount in spec.get_mut("mounts").and_then(Value::as_array_mut).into_iter().flatten() {
        if mount["destination"] == "/sys" {
            // A new sysfs belongs to a network namespace of one's own.
            *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
        }
        if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
            // Ids that are not mapped.
            options
                .retain(|option| option.as_str().is_none_or(|option| !option.starts_with("gid=") && !option.starts_with("uid=")));
        }
    }
    serde_json::to_string_pretty(&spec).context("write the example as JSON")
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
