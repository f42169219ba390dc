//! What a pod's containers find in their file systems besides their images: volumes, shared memory, and the files in /etc.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use hshim_health::admission::{AdmittedPod, HostPathKind, Volume, VolumeSource};
use hshim_health::faults::{Fault, FaultKind};
use hshim_health::layout::SupervisionDir;
use nix::mount::{MsFlags, mount};

/// As containerd gives a pod.
const SHARED_MEMORY: &str = "mode=1777,size=65536k";
const MEMORY_VOLUME: &str = "mode=1777";

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodFiles {
    etc: PathBuf,
    shared_memory: PathBuf,
    volumes: BTreeMap<String, PathBuf>,
}

impl PodFiles {
    /// The places, before anything is made.
    pub(crate) fn plan(pod: &AdmittedPod, dir: &SupervisionDir, data: &Path) -> Self {
        let place = |volume: &Volume| match &volume.source {
            VolumeSource::EmptyDir { .. } => data.join("volumes").join(&volume.name),
            VolumeSource::HostPath { path, .. } => path.clone(),
        };
        let volumes = pod.volumes.iter().map(|volume| (volume.name.clone(), place(volume))).collect();
        Self { etc: dir.0.join("etc"), shared_memory: dir.0.join("shm"), volumes }
    }

    /// Destination and source of what every container gets.
    pub(crate) fn for_every_container(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("/dev/shm", self.shared_memory.clone()),
            ("/etc/hosts", self.etc.join("hosts")),
            ("/etc/hostname", self.etc.join("hostname")),
            ("/etc/resolv.conf", self.etc.join("resolv.conf")),
        ]
    }

    /// Source of a volume.
    pub(crate) fn volume(&self, name: &str) -> Option<&Path> {
        self.volumes.get(name).map(PathBuf::as_path)
    }

    /// Makes everything.
    pub(crate) fn make(&self, pod: &AdmittedPod, hostname: &str) -> anyhow::Result<()> {
        make_dir(&self.etc, 0o755)?;
        let hosts = if pod.host_network { node_file("/etc/hosts")? } else { hosts(hostname) };
        let resolv = if pod.host_network { node_file("/etc/resolv.conf")? } else { NO_RESOLVER.to_owned() };
        for (name, content) in [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolv)] {
            let path = self.etc.join(name);
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
            fs::set_permissions(&path, Permissions::from_mode(0o644))
                .with_context(|| format!("open {} for all", path.display()))?;
        }
        make_tmpfs(&self.shared_memory, SHARED_MEMORY)?;
        for volume in &pod.volumes {
            let Some(path) = self.volume(&volume.name) else { continue };
            match &volume.source {
                VolumeSource::EmptyDir { memory: true } => make_tmpfs(path, MEMORY_VOLUME)?,
                VolumeSource::EmptyDir { memory: false } => make_dir(path, 0o777)?,
                VolumeSource::HostPath { path, kind } => make_host_path(path, *kind)?,
            }
        }
        Ok(())
    }
}

const NO_RESOLVER: &str = "# This pod has a network of its own with nothing but loopback: no name server can be reached.\n";

fn hosts(hostname: &str) -> String {
    format!(
        "# Made by hshim for this pod.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n127.0.0.1\t{hostname}\n"
    )
}

fn node_file(path: &str) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        done => done.with_context(|| format!("read {path}")),
    }
}

/// What is wrong with a path of the node, if its kind demands something. Said before anything is made.
pub(crate) fn host_path_fault(volume: &Volume, path: &str) -> Option<Fault> {
    let VolumeSource::HostPath { path: host, kind } = &volume.source else { return None };
    let is = |test: fn(&fs::FileType) -> bool| fs::metadata(host).is_ok_and(|found| test(&found.file_type()));
    let (wanted, holds) = match kind {
        HostPathKind::Unset => return None,
        HostPathKind::DirectoryOrCreate => ("a directory", !host.exists() || is(fs::FileType::is_dir)),
        HostPathKind::FileOrCreate => ("a file", !host.exists() || is(fs::FileType::is_file)),
        HostPathKind::Directory => ("a directory", is(fs::FileType::is_dir)),
        HostPathKind::File => ("a file", is(fs::FileType::is_file)),
        HostPathKind::Socket => ("a socket file", is(FileTypeExt::is_socket)),
        HostPathKind::CharDevice => ("a character device", is(FileTypeExt::is_char_device)),
        HostPathKind::BlockDevice => ("a block device", is(FileTypeExt::is_block_device)),
    };
    let detail = format!("hostPath type check failed: {} is not {wanted}", host.display());
    (!holds).then(|| Fault {
        path: format!("{path}.hostPath.type"),
        kind: FaultKind::Invalid,
        value: Some(format!("{kind:?}")).map(|kind| format!("{kind:?}")),
        detail,
    })
}

/// Makes what a kind of path promises to make.
pub(crate) fn make_host_path(path: &Path, kind: HostPathKind) -> anyhow::Result<()> {
    match kind {
        // The container runtimes of Kubernetes make a directory of what is not there.
        HostPathKind::Unset if path.exists() => Ok(()),
        HostPathKind::Unset | HostPathKind::DirectoryOrCreate => DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .with_context(|| format!("create the directory {} of the node", path.display())),
        HostPathKind::FileOrCreate => OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .open(path)
            .map(drop)
            .with_context(|| format!("create the file {} of the node", path.display())),
        HostPathKind::Directory
        | HostPathKind::File
        | HostPathKind::Socket
        | HostPathKind::CharDevice
        | HostPathKind::BlockDevice => Ok(()),
    }
}

fn make_dir(path: &Path, mode: u32) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("create {}", path.display()))?;
    // Not by the umask of whoever called.
    fs::set_permissions(path, Permissions::from_mode(mode)).with_context(|| format!("open {} for all", path.display()))
}

fn make_tmpfs(path: &Path, options: &str) -> anyhow::Result<()> {
    make_dir(path, 0o700)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let flags = if options == MEMORY_VOLUME { MsFlags::MS_NOSUID | MsFlags::MS_NODEV } else { flags };
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options))
        .with_context(|| format!("mount a tmpfs at {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_node_must_be_what_its_kind_says() {
        let volume = |path: &str, kind| Volume { name: "v".into(), source: VolumeSource::HostPath { path: path.into(), kind } };
        let fault = |path, kind| host_path_fault(&volume(path, kind), "spec.volumes[0]").map(|fault| fault.to_string());
        for (path, kind) in [
            ("/dev/null", HostPathKind::CharDevice),
            ("/proc", HostPathKind::Directory),
            ("/proc/uptime", HostPathKind::File),
            ("/nowhere", HostPathKind::Unset),
            ("/nowhere", HostPathKind::FileOrCreate),
            ("/proc", HostPathKind::DirectoryOrCreate),
        ] {
            assert_eq!(fault(path, kind), None, "{path} {kind:?}");
        }
        let text = "spec.volumes[0].hostPath.type: Invalid value: \"Directory\": hostPath type check failed: /nowhere is not a directory";
        assert_eq!(fault("/nowhere", HostPathKind::Directory).as_deref(), Some(text));
        for kind in [HostPathKind::File, HostPathKind::Socket, HostPathKind::BlockDevice, HostPathKind::FileOrCreate] {
            assert!(fault("/dev/null", kind).is_some(), "{kind:?}");
        }
    }
}
