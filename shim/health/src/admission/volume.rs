//! The volumes of a pod.

use std::path::PathBuf;

use super::name::{LABEL_RULE, is_label};
use crate::faults::Faults;
use crate::pod::VolumeSpec;

/// A volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Unique in the pod.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// An empty directory that lives as long as the pod.
    EmptyDir {
        /// In memory (tmpfs).
        memory: bool,
    },
    /// A file or directory of the node.
    HostPath {
        /// Absolute, without `..`.
        path: PathBuf,
        /// What must be there, or is made.
        kind: HostPathKind,
    },
}

/// `HostPathType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPathKind {
    /// Anything that is there.
    Unset,
    /// A directory, made if absent.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file, made if absent.
    FileOrCreate,
    /// A file.
    File,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

const HOST_PATH_KINDS: [(&str, HostPathKind); 8] = [
    ("", HostPathKind::Unset),
    ("BlockDevice", HostPathKind::BlockDevice),
    ("CharDevice", HostPathKind::CharDevice),
    ("Directory", HostPathKind::Directory),
    ("DirectoryOrCreate", HostPathKind::DirectoryOrCreate),
    ("File", HostPathKind::File),
    ("FileOrCreate", HostPathKind::FileOrCreate),
    ("Socket", HostPathKind::Socket),
];

pub(super) fn volumes(specs: Vec<VolumeSpec>, faults: &mut Faults) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for (n, spec) in specs.into_iter().enumerate() {
        let path = format!("spec.volumes[{n}]");
        let name = spec.name.clone().unwrap_or_default();
        if name.is_empty() {
            faults.required(&format!("{path}.name"), "");
        } else if !is_label(&name) {
            faults.invalid(&format!("{path}.name"), name.as_str(), LABEL_RULE);
        } else if volumes.iter().any(|other| other.name == name) {
            faults.duplicate(&format!("{path}.name"), &name);
        }
        // A volume with a fault stays in the list, so that its mounts are not reported too.
        let source = volume_source(spec, &path, faults).unwrap_or(VolumeSource::EmptyDir { memory: false });
        volumes.push(Volume { name, source });
    }
    volumes
}

fn volume_source(spec: VolumeSpec, path: &str, faults: &mut Faults) -> Option<VolumeSource> {
    match (spec.empty_dir, spec.host_path) {
        (Some(_), Some(_)) => {
            faults.forbidden(&format!("{path}.hostPath"), "may not specify more than 1 volume type");
            None
        }
        (None, None) => {
            faults.required(path, "must specify a volume type");
            None
        }
        (Some(empty), None) => match empty.medium.as_deref().unwrap_or("") {
            "" => Some(VolumeSource::EmptyDir { memory: false }),
            "Memory" => Some(VolumeSource::EmptyDir { memory: true }),
            other => {
                faults.unsupported(&format!("{path}.emptyDir.medium"), other, &["", "Memory"]);
                None
            }
        },
        (None, Some(host)) => {
            let at = format!("{path}.hostPath");
            let word = host.kind.unwrap_or_default();
            let kind = HOST_PATH_KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind);
            if kind.is_none() {
                faults.unsupported(&format!("{at}.type"), &word, &HOST_PATH_KINDS.map(|(name, _)| name));
            }
            let host_path = host.path.unwrap_or_default();
            if host_path.is_empty() {
                faults.required(&format!("{at}.path"), "");
            } else if !host_path.starts_with('/') {
                faults.invalid(&format!("{at}.path"), host_path.as_str(), "must be an absolute path");
            } else if host_path.split('/').any(|part| part == "..") {
                faults.invalid(&format!("{at}.path"), host_path.as_str(), "must not contain '..'");
            }
            Some(VolumeSource::HostPath { path: host_path.into(), kind: kind? })
        }
    }
}
