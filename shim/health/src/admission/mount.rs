//! Where a container has the volumes of its pod.

use super::container::Desk;
use super::volume::Volume;
use crate::pod::VolumeMount;

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name of the volume.
    pub volume: String,
    /// Absolute, in the container.
    pub path: String,
    /// Read-only.
    pub read_only: bool,
}

impl Desk<'_> {
    pub(super) fn mounts(&mut self, specs: Vec<VolumeMount>, volumes: &[Volume]) -> Vec<Mount> {
        let mut mounts: Vec<Mount> = Vec::new();
        for (n, spec) in specs.into_iter().enumerate() {
            let at = self.at(&format!("volumeMounts[{n}]"));
            let volume = spec.name.unwrap_or_default();
            if volume.is_empty() {
                self.faults.required(&format!("{at}.name"), "");
            } else if !volumes.iter().any(|other| other.name == volume) {
                self.faults.not_found(&format!("{at}.name"), &volume);
            }
            let path = spec.mount_path.unwrap_or_default();
            if path.is_empty() {
                self.faults.required(&format!("{at}.mountPath"), "");
            } else if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                self.faults.invalid(&format!("{at}.mountPath"), path.as_str(), "must be an absolute path without '..'");
            } else if mounts.iter().any(|other| other.path == path) {
                self.faults.invalid(&format!("{at}.mountPath"), path.as_str(), "must be unique");
            }
            mounts.push(Mount { volume, path, read_only: spec.read_only.unwrap_or(false) });
        }
        mounts
    }
}
