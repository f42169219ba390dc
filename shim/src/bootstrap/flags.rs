//! containerd's command line: Go's flags (one dash or two, the value after `=` or as the next argument), then an action.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Action {
    /// Be the shim.
    #[default]
    Serve,
    /// Start a shim and print its address.
    Start,
    /// Clean up after one.
    Delete,
    /// Print what this runtime is.
    Info,
    /// Print name and version.
    Version,
}

/// The command line, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// What to do.
    pub(crate) action: Action,
    /// Of containerd, not of Kubernetes.
    pub(crate) namespace: String,
    /// Of the container.
    pub(crate) id: String,
    /// containerd's gRPC socket.
    pub(crate) address: String,
    /// containerd itself.
    pub(crate) publish_binary: Option<PathBuf>,
    /// Directory of the bundle.
    pub(crate) bundle: Option<PathBuf>,
    /// Log more.
    pub(crate) debug: bool,
}

impl Flags {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(args: Vec<OsString>) -> io::Result<Self> {
        let mut flags = Self::default();
        let mut args = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).peekable();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                flags.action = action(&arg)?;
                continue;
            };
            let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
            match name {
                "v" | "version" => flags.action = Action::Version,
                "info" => flags.action = Action::Info,
                "debug" => flags.debug = value.is_none_or(|value| value != "false"),
                _ => {
                    // An unknown flag of a later containerd: its value, if the next word is one, is skipped with it.
                    let is_value = |next: &String| !next.starts_with('-') && action(next).is_err();
                    let known = matches!(name, "namespace" | "id" | "address" | "publish-binary" | "bundle");
                    let next = if value.is_some() || (!known && !args.peek().is_some_and(is_value)) { None } else { args.next() };
                    let value = value.or(next);
                    flags.set(name, value.unwrap_or_default());
                }
            }
        }
        let needs_namespace = matches!(flags.action, Action::Serve | Action::Start | Action::Delete);
        if needs_namespace && flags.namespace.is_empty() {
            return Err(io::Error::other(
                "-namespace is missing (this program is started by containerd or by hshim, not by hand)",
            ));
        }
        if needs_namespace && flags.id.is_empty() {
            return Err(io::Error::other("-id is missing"));
        }
        for (name, value) in [("-namespace", &flags.namespace), ("-id", &flags.id)] {
            if value.contains('/') || value.starts_with('.') {
                return Err(io::Error::other(format!("{name} {value:?} is no identifier")));
            }
        }
        Ok(flags)
    }

    fn set(&mut self, name: &str, value: String) {
        match name {
            "namespace" => self.namespace = value,
            "id" => self.id = value,
            "address" => self.address = value,
            "publish-binary" => self.publish_binary = Some(value.into()).filter(|path: &PathBuf| !path.as_os_str().is_empty()),
            "bundle" => self.bundle = Some(value.into()),
            _ => {}
        }
    }
}

fn action(word: &str) -> io::Result<Action> {
    match word {
        "start" => Ok(Action::Start),
        "delete" => Ok(Action::Delete),
        _ => Err(io::Error::other(format!("unknown action {word:?}; known are start and delete"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> io::Result<Flags> {
        Flags::parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn the_flags_of_every_containerd_are_understood_in_any_order() {
        let expected = Flags {
            action: Action::Start,
            namespace: "k8s.io".into(),
            id: "c1".into(),
            address: "/run/c.sock".into(),
            publish_binary: Some("/usr/bin/containerd".into()),
            bundle: None,
            debug: true,
        };
        for line in [
            "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id c1 -debug start",
            "--id=c1 --debug --namespace=k8s.io -address=/run/c.sock -publish-binary /usr/bin/containerd start",
            "-future value -id c1 -debug -namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -flag start",
        ] {
            assert_eq!(parse(line).unwrap(), expected, "{line}");
        }
        assert_eq!(parse("-namespace n -id c -bundle /b delete").unwrap().bundle, Some("/b".into()));
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
        assert_eq!(parse("-namespace n -id c").unwrap().action, Action::Serve);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (line, message) in [
            ("start", "-namespace is missing"),
            ("-namespace n start", "-id is missing"),
            ("-namespace n -id ../x delete", "no identifier"),
            ("-namespace n -id c fly", "unknown action"),
        ] {
            assert!(parse(line).unwrap_err().to_string().contains(message), "{line}");
        }
    }
}
