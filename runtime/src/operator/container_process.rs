//! What a container executes, as whom, where and with which environment: the image's defaults with the manifest over them.

use std::path::{Component, Path, PathBuf};

use hshim_health::admission::AdmittedContainer;
use hshim_health::faults::{Fault, FaultKind};
use oci_spec::image::Config;

use super::image::accounts::{self, Account};
use super::image::merged_tree::{Found, MergedTree};
use super::image::store::Image;
use crate::signal_name::SignalNumber;

/// A process, ready to be written into config.json.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerProcess {
    /// At least one.
    pub(crate) args: Vec<String>,
    /// `NAME=VALUE`, each name once.
    pub(crate) env: Vec<String>,
    /// Absolute.
    pub(crate) cwd: String,
    /// Who it is.
    pub(crate) account: Account,
    /// What asks it to end.
    pub(crate) stop_signal: i32,
}

/// Of a container that does not say, in an image that does not.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Puts it together. `path` is the container's own in the manifest.
pub(crate) fn of(container: &AdmittedContainer, image: &Image, hostname: &str, path: &str) -> Result<ContainerProcess, Fault> {
    let config = image.configuration.config().clone().unwrap_or_default();
    let tree = MergedTree(&image.layers);
    let at_image = |detail: String| Fault {
        path: format!("{path}.image"),
        kind: FaultKind::Invalid,
        value: Some(format!("{:?}", container.image)),
        detail,
    };
    let user = config.user().as_deref().unwrap_or_default();
    let account = accounts::account(user, &tree).map_err(|error| at_image(error.to_string()))?;
    let env = environment(container, &config, hostname);
    let cwd = working_dir(container, &config);
    let (args, field) = arguments(container, &config);
    let Some(command) = args.first() else {
        let detail = format!("the image {} has no command of its own", container.image);
        return Err(Fault { path: format!("{path}.command"), kind: FaultKind::Required, value: None, detail });
    };
    let search = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let is_there = candidates(command, search, &cwd).iter().any(|candidate| {
        // What a volume brings is not in the image, and is nobody's business before the container starts.
        container.mounts.iter().any(|mount| candidate.starts_with(&mount.path))
            || matches!(tree.find(candidate), Ok(Some(Found::File { executable: true, .. })))
    });
    if !is_there {
        let value = Some(format!("{command:?}"));
        let detail = format!("no such command in the image {}", container.image);
        return Err(Fault { path: format!("{path}.{field}"), kind: FaultKind::NotFound, value, detail });
    }
    let stop_signal = match config.stop_signal().as_deref().filter(|signal| !signal.is_empty()) {
        None => libc::SIGTERM,
        Some(name) => {
            let signal = name.parse::<SignalNumber>().map_err(|error| at_image(format!("its stop signal: {error}")))?;
            signal.0
        }
    };
    Ok(ContainerProcess { args, env, cwd, account, stop_signal })
}

/// Kubernetes' rule: a command replaces the image's entrypoint and its arguments, arguments replace only those. With them, the field to
/// blame when the command is not there.
fn arguments(container: &AdmittedContainer, config: &Config) -> (Vec<String>, &'static str) {
    if !container.command.is_empty() {
        return (container.command.iter().chain(&container.args).cloned().collect(), "command[0]");
    }
    let entrypoint = config.entrypoint().clone().unwrap_or_default();
    let field = if entrypoint.is_empty() && !container.args.is_empty() { "args[0]" } else { "image" };
    let args = if container.args.is_empty() { config.cmd().clone().unwrap_or_default() } else { container.args.clone() };
    (entrypoint.into_iter().chain(args).collect(), field)
}

/// A default, the pod's host name, the image's, the manifest's: the last one of a name counts, in the place of the first.
fn environment(container: &AdmittedContainer, config: &Config, hostname: &str) -> Vec<String> {
    let defaults = [("PATH".to_owned(), DEFAULT_PATH.to_owned()), ("HOSTNAME".to_owned(), hostname.to_owned())];
    let image = config.env().iter().flatten().filter_map(|entry| entry.split_once('='));
    let image = image.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, value) in defaults.into_iter().chain(image).chain(container.env.iter().cloned()) {
        match env.iter_mut().find(|(other, _)| *other == name) {
            Some(known) => known.1 = value,
            None => env.push((name, value)),
        }
    }
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn working_dir(container: &AdmittedContainer, config: &Config) -> String {
    let written = container.working_dir.as_deref().filter(|dir| !dir.is_empty());
    let dir = written.or(config.working_dir().as_deref()).filter(|dir| !dir.is_empty()).unwrap_or("/");
    if dir.starts_with('/') { dir.to_owned() } else { format!("/{dir}") }
}

/// Where execvp(3) would look.
fn candidates(command: &str, search: &str, cwd: &str) -> Vec<PathBuf> {
    if command.contains('/') {
        return vec![normal(&Path::new(cwd).join(command))];
    }
    search.split(':').map(|dir| normal(&Path::new(cwd).join(dir).join(command))).collect()
}

/// Without `.`; `..` is left to the tree, which knows what is a link.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(command: &[&str], args: &[&str]) -> AdmittedContainer {
        let manifest = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "i", "command": command, "args": args, "env": [
                {"name": "A", "value": "manifest"}, {"name": "B", "value": "1"}, {"name": "B", "value": "2"}]}]}
        });
        let pod = hshim_health::pod::decode(&manifest).and_then(hshim_health::admission::admit).unwrap();
        pod.containers.into_iter().next().unwrap()
    }

    fn config(json: serde_json::Value) -> Config {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn command_and_arguments_replace_the_images_as_in_kubernetes() {
        let image = config(serde_json::json!({"Entrypoint": ["entry"], "Cmd": ["default"]}));
        let rows: [(&[&str], &[&str], &[&str]); 4] = [
            (&[], &[], &["entry", "default"]),
            (&[], &["a"], &["entry", "a"]),
            (&["c"], &[], &["c"]),
            (&["c"], &["a"], &["c", "a"]),
        ];
        for (command, args, expected) in rows {
            assert_eq!(arguments(&container(command, args), &image).0, expected, "{command:?} {args:?}");
        }
        assert_eq!(arguments(&container(&[], &["a"]), &Config::default()), (vec!["a".to_owned()], "args[0]"));
        assert!(arguments(&container(&[], &[]), &Config::default()).0.is_empty());
    }

    #[test]
    fn the_environment_has_each_name_once() {
        let image = config(serde_json::json!({"Env": ["PATH=/x", "A=image", "C=a=b", "broken"]}));
        let env = environment(&container(&[], &[]), &image, "h");
        assert_eq!(env, ["PATH=/x", "HOSTNAME=h", "A=manifest", "C=a=b", "B=2"]);
    }

    #[test]
    fn a_command_is_looked_for_where_it_would_be_found() {
        assert_eq!(candidates("sh", "/a:/b", "/w"), [PathBuf::from("/a/sh"), PathBuf::from("/b/sh")]);
        assert_eq!(candidates("./run", "/a", "/w"), [PathBuf::from("/w/run")]);
        assert_eq!(candidates("/bin/sh", "/a", "/w"), [PathBuf::from("/bin/sh")]);
    }
}
