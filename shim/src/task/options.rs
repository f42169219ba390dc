//! Options of a task: which runtime runs it, and how. Four types are understood, an unknown one is refused.

use std::fs;
use std::path::{Path, PathBuf};

use hshim_health::record::RuntimeCommand;

use super::error::TaskError;
use super::messages::{Any, RuncCreateOptions, RuncOptions, RuntimeOptions};
use crate::wire::Message;

/// Where the runtime keeps its state unless options say otherwise; below it a directory for each namespace.
pub(crate) const ROOT: &str = "/run/hshim/containerd";

/// As meant, whatever type they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The runtime: a path, or a name on the search path; hshim when empty.
    pub(crate) binary_name: String,
    /// Its `--root`.
    pub(crate) root: String,
    /// Whether cgroups are units of systemd.
    pub(crate) systemd_cgroup: bool,
    /// `--no-pivot`.
    pub(crate) no_pivot_root: bool,
    /// `--no-new-keyring`.
    pub(crate) no_new_keyring: bool,
    /// A cgroup for the shim itself.
    pub(crate) shim_cgroup: String,
    /// Who owns the streams.
    pub(crate) io_uid: u32,
    /// Their group.
    pub(crate) io_gid: u32,
}

impl Options {
    /// Reads them.
    pub(crate) fn parse(options: Option<&Any>) -> Result<Self, TaskError> {
        let Some(any) = options.filter(|any| !any.type_url.is_empty() || !any.value.is_empty()) else {
            return Ok(Self::default());
        };
        let bad = |error| TaskError::InvalidArgument(format!("options of type {}: {error}", any.type_url));
        match any.type_name() {
            "containerd.runc.v1.Options" => RuncOptions::from_bytes(&any.value).map(Self::from).map_err(bad),
            "containerd.linux.runc.CreateOptions" => RuncCreateOptions::from_bytes(&any.value).map(Self::from).map_err(bad),
            "runtimeoptions.v1.Options" => Self::from_table(&RuntimeOptions::from_bytes(&any.value).map_err(bad)?),
            _ => Err(TaskError::InvalidArgument(format!(
                "options of the unknown type {:?}; use containerd.runc.v1.Options or runtimeoptions.v1.Options",
                any.type_url
            ))),
        }
    }

    fn from_table(options: &RuntimeOptions) -> Result<Self, TaskError> {
        if options.config_path.is_empty() {
            return Self::from_toml("options", &String::from_utf8_lossy(&options.config_body));
        }
        let path = &options.config_path;
        let text = fs::read_to_string(path).map_err(|error| TaskError::InvalidArgument(format!("read {path}: {error}")))?;
        Self::from_toml(path, &text)
    }

    /// The one flat table that runc's options are written as: `Key = value` lines.
    fn from_toml(source: &str, text: &str) -> Result<Self, TaskError> {
        let mut options = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '[']) {
                continue;
            }
            let set = line.split_once('=').and_then(|(key, value)| options.set(key.trim(), value.split('#').next()?.trim()));
            if set.is_none() {
                let known = "BinaryName, Root, SystemdCgroup, NoPivotRoot, NoNewKeyring, ShimCgroup, IoUid, IoGid";
                let message = format!("{source}:{}: {line:?} is not understood; known are {known}", number + 1);
                return Err(TaskError::InvalidArgument(message));
            }
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let text = || Some(value.strip_prefix(['"', '\''])?.strip_suffix(['"', '\''])?.to_owned());
        match key {
            "BinaryName" => self.binary_name = text()?,
            "Root" => self.root = text()?,
            "ShimCgroup" => self.shim_cgroup = text()?,
            "SystemdCgroup" => self.systemd_cgroup = value.parse().ok()?,
            "NoPivotRoot" => self.no_pivot_root = value.parse().ok()?,
            "NoNewKeyring" => self.no_new_keyring = value.parse().ok()?,
            "IoUid" => self.io_uid = value.parse().ok()?,
            "IoGid" => self.io_gid = value.parse().ok()?,
            // Written by clients of runc; nothing here depends on them.
            "TypeUrl" | "ConfigPath" | "CriuPath" | "CriuImagePath" | "CriuWorkPath" => {}
            _ => return None,
        }
        Some(())
    }

    /// The runtime as a command line; `systemd` is what the container's cgroup path says.
    pub(crate) fn runtime(&self, namespace: &str, systemd: bool) -> Result<RuntimeCommand, TaskError> {
        let path = find(&self.binary_name)?;
        let is_hshim = path.file_name().is_some_and(|name| name == "hshim");
        let root = if self.root.is_empty() { Path::new(ROOT) } else { Path::new(&self.root) };
        let flags = [(self.no_pivot_root, "--no-pivot"), (self.no_new_keyring, "--no-new-keyring")];
        let create_flags = flags.iter().filter(|(on, _)| *on).map(|(_, flag)| (*flag).to_owned()).collect();
        Ok(RuntimeCommand {
            path,
            is_hshim,
            systemd_cgroup: self.systemd_cgroup || systemd,
            root: root.join(namespace),
            create_flags,
        })
    }
}

/// hshim beside the shim or where packages put it; another runtime by its path, or by its name on the search path.
pub(super) fn find(name: &str) -> Result<PathBuf, TaskError> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name))
            .filter(|path| path.is_file())
            .ok_or_else(|| TaskError::InvalidArgument(format!("the runtime {name} (option BinaryName) does not exist")));
    }
    let wanted = if name.is_empty() { "hshim" } else { name };
    let exe = std::env::current_exe().ok();
    let beside = exe.as_deref().and_then(Path::parent).filter(|_| wanted == "hshim").map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"].map(PathBuf::from);
    let places = beside.into_iter().chain(std::env::split_paths(&path).filter(|place| place.is_absolute())).chain(usual);
    places.map(|place| place.join(wanted)).find(|path| path.is_file()).ok_or_else(|| {
        TaskError::InvalidArgument(format!(
            "no runtime {wanted} was found; install it, or name another one by the option BinaryName"
        ))
    })
}

impl From<RuncOptions> for Options {
    fn from(options: RuncOptions) -> Self {
        let RuncOptions { no_pivot_root, no_new_keyring, shim_cgroup, io_uid, io_gid, binary_name, root, systemd_cgroup } =
            options;
        Self { binary_name, root, systemd_cgroup, no_pivot_root, no_new_keyring, shim_cgroup, io_uid, io_gid }
    }
}

impl From<RuncCreateOptions> for Options {
    fn from(options: RuncCreateOptions) -> Self {
        let RuncCreateOptions { no_pivot_root, no_new_keyring, shim_cgroup, io_uid, io_gid } = options;
        Self { no_pivot_root, no_new_keyring, shim_cgroup, io_uid, io_gid, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, message: &impl Message) -> Any {
        Any { type_url: type_url.into(), value: message.to_bytes() }
    }

    fn table(text: &str) -> Result<Options, TaskError> {
        let options = RuntimeOptions { config_body: text.into(), ..RuntimeOptions::default() };
        Options::parse(Some(&any("runtimeoptions.v1.Options", &options)))
    }

    #[test]
    fn each_type_says_the_same() {
        let expected = Options { systemd_cgroup: true, binary_name: "crun".into(), io_uid: 7, ..Options::default() };
        let runc = RuncOptions { systemd_cgroup: true, binary_name: "crun".into(), io_uid: 7, ..RuncOptions::default() };
        assert_eq!(Options::parse(Some(&any("containerd.runc.v1.Options", &runc))), Ok(expected.clone()));
        assert_eq!(Options::parse(Some(&any("type.googleapis.com/containerd.runc.v1.Options", &runc))), Ok(expected.clone()));
        assert_eq!(table("# comment\n\nSystemdCgroup = true\nBinaryName = \"crun\" # mine\nIoUid = 7\n"), Ok(expected));
        let create = RuncCreateOptions { no_pivot_root: true, io_gid: 9, ..RuncCreateOptions::default() };
        let expected = Options { no_pivot_root: true, io_gid: 9, ..Options::default() };
        assert_eq!(Options::parse(Some(&any("containerd.linux.runc.CreateOptions", &create))), Ok(expected));
        assert_eq!(Options::parse(None), Ok(Options::default()));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let error = Options::parse(Some(&Any { type_url: "a.b/C".into(), value: vec![] })).unwrap_err().to_string();
        assert!(error.contains("unknown type \"a.b/C\""), "{error}");
        let broken = Any { type_url: "containerd.runc.v1.Options".into(), value: vec![0x0a] };
        assert!(Options::parse(Some(&broken)).unwrap_err().to_string().contains("ends within a field"));
        let error = table("SystemdCgroup = true\nSystemCgroup = true").unwrap_err().to_string();
        assert!(error.starts_with("options:2: \"SystemCgroup = true\" is not understood"), "{error}");
        assert!(table("SystemdCgroup = maybe").is_err());
        let error = Options { binary_name: "/nowhere/runc".into(), ..Options::default() }.runtime("ns", false).unwrap_err();
        assert!(error.to_string().contains("BinaryName"), "{error}");
    }
}
