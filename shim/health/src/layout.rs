//! Where things are.
//!
//! ```text
//! <root>            /run/hshim, 0700
//!   containers/ID/            the OCI runtime's own state of one container
//!     enter.bin               identity for hshim-enter (hshim_enter::Identity), written by create
//!   pods/NAMESPACE_NAME/      supervision directory of a pod made by apply
//!   bundles/ID/               supervision directory of a supervised bundle
//!     supervision.json        record::Supervision, written before the shim starts
//!     manifest.json           the pod as applied (pods only)
//!     presets.json            which preset gave which field (where presets gave any)
//!     config.json             the bundle's with what presets add (bundles with presets only)
//!     shim.json               record::ShimIdentity, written by the shim
//!     status.json             record::StatusFile, replaced on change
//!     state.json              record::TakeOver, what a new shim needs
//!     events.jsonl            record::EventLine a line
//!     shim.sock  shim.log
//!     ns/net ipc uts          pinned namespaces (pods only)
//!     containers/NAME/bundle/ config.json, rootfs
//!     containers/NAME/stdout stderr   FIFOs
//! <data>            /var/lib/hshim, 0700
//!   images/                   image store
//!   pods/UID/containers/NAME/upper work    writable layer
//!   pods/UID/volumes/NAME                  emptyDir
//!   logs/NAMESPACE_NAME_UID/CONTAINER/RUN.log   CRI log format
//! ```

use std::path::{Path, PathBuf};

/// Default of `--root`.
pub const ROOT: &str = "/run/hshim";
/// Default of `--data`.
pub const DATA: &str = "/var/lib/hshim";

/// Directory of the presets of this node.
pub const PRESETS: &str = "/etc/hshim/presets.d";
/// Variable of the environment that names another one.
pub const PRESETS_VARIABLE: &str = "HSHIM_PRESETS_DIR";

/// State of one container of the OCI runtime.
#[must_use]
pub fn container_dir(root: &Path, id: &str) -> PathBuf {
    root.join("containers").join(id)
}

/// The identity that `create` prepared for hshim-enter.
#[must_use]
pub fn enter_identity(root: &Path, id: &str) -> PathBuf {
    container_dir(root, id).join("enter.bin")
}

/// All supervision directories of pods.
#[must_use]
pub fn pods_dir(root: &Path) -> PathBuf {
    root.join("pods")
}

/// Supervision directory of a pod.
#[must_use]
pub fn pod_dir(root: &Path, namespace: &str, name: &str) -> PathBuf {
    pods_dir(root).join(format!("{namespace}_{name}"))
}

/// Supervision directory of a supervised bundle.
#[must_use]
pub fn bundle_dir(root: &Path, id: &str) -> PathBuf {
    root.join("bundles").join(id)
}

/// OCI container id of a pod's container.
#[must_use]
pub fn container_id(namespace: &str, pod: &str, container: &str) -> String {
    format!("{namespace}_{pod}_{container}")
}

/// What a pod keeps on disk while it exists.
#[must_use]
pub fn pod_data_dir(data: &Path, uid: &str) -> PathBuf {
    data.join("pods").join(uid)
}

/// Logs of a pod; below it `CONTAINER/RUN.log`.
#[must_use]
pub fn pod_log_dir(data: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    data.join("logs").join(format!("{namespace}_{name}_{uid}"))
}

/// The files of a supervision directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupervisionDir(pub PathBuf);

macro_rules! files {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        impl SupervisionDir {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> PathBuf { self.0.join($file) })*
        }
    };
}

files! {
    /// [`crate::record::Supervision`].
    supervision = "supervision.json";
    /// The pod as applied, with its defaults.
    manifest = "manifest.json";
    /// Which preset gave which field; there only if one gave any.
    presets = "presets.json";
    /// [`crate::record::ShimIdentity`].
    shim = "shim.json";
    /// [`crate::record::StatusFile`].
    status = "status.json";
    /// [`crate::record::TakeOver`].
    state = "state.json";
    /// [`crate::record::EventLine`], one JSON object a line.
    events = "events.jsonl";
    /// The shim's socket.
    socket = "shim.sock";
    /// What the shim says in words; empty while all is well.
    log = "shim.log";
    /// Directory of the pinned namespaces `net`, `ipc`, `uts`.
    namespaces = "ns";
}

impl SupervisionDir {
    /// Directory of one container of the pod.
    #[must_use]
    pub fn container(&self, name: &str) -> PathBuf {
        self.0.join("containers").join(name)
    }
}
