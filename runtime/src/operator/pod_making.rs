//! The making of a pod.
//!
//! ```text
//! directory (taken) ─▶ supervision.json ─▶ data, bundles ─▶ namespaces pinned ─▶ volumes ─▶ shim
//!                      └─ from here on `delete` knows all that may be there
//! ```
//! What fails is undone; what is killed is left for `delete`.

use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use hshim_health::layout::{self, SupervisionDir};
use hshim_health::record::{Launch, OverlayRootfs, RuntimeCommand, Stdio, Supervision, VERSION};
use jiff::Timestamp;
use serde_json::Value;

use super::check::name;
use super::container_spec::{self, PodContext};
use super::pod_clearing;
use super::pod_files::PodFiles;
use super::pod_lock::{PodLock, Responsible};
use super::pod_name::PodName;
use super::pod_namespaces::{self, Shared};
use super::pod_records;
use super::prepared_pod::{PreparedContainer, PreparedPod};
use super::stored_manifest;
use crate::atomic_file;
use crate::cli::Globals;
use crate::shim_process::{self, Launching};

/// How long a directory without anything in it is taken for one that is just being made.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(5);

/// What making pods takes.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    /// For the containers.
    pub(crate) runtime: RuntimeCommand,
    /// With absolute directories.
    pub(crate) globals: &'a Globals,
}

/// What became of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was none; now there is one.
    Created,
    /// It is there, and exactly so.
    Unchanged,
}

impl Maker<'_> {
    /// Makes a pod, unless it is there.
    pub(crate) fn make(&self, pod: &PreparedPod) -> anyhow::Result<Outcome> {
        let name = name(&pod.pod);
        let dir = name.dir(&self.globals.root);
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        for parent in [layout::pods_dir(&self.globals.root), self.globals.data.clone()] {
            private.create(&parent).with_context(|| format!("create {}", parent.display()))?;
        }
        private.recursive(false);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_ours = match private.create(&dir.0) {
                Ok(()) => true,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                Err(error) => return Err(error).with_context(|| format!("create {}", dir.0.display())),
            };
            match PodLock::responsible(&dir)? {
                Responsible::Shim(_) => return compare(&name, &dir, pod),
                Responsible::Caller(lock) if is_ours => return self.make_in(pod, &dir, &lock),
                // Made a moment ago by a command that is about to lock it; or by one that was killed right there.
                Responsible::Caller(_) if !dir.supervision().exists() && Instant::now() < deadline => {}
                Responsible::Caller(_) => anyhow::bail!(
                    "it is there, but nobody supervises it any more: delete it first (hshim delete {name} --namespace {})",
                    name.namespace
                ),
                // Deleted in this moment.
                Responsible::Nobody => {}
            }
            std::thread::sleep(RETRY);
        }
    }

    fn make_in(&self, pod: &PreparedPod, dir: &SupervisionDir, lock: &PodLock) -> anyhow::Result<Outcome> {
        let made = self.fill(pod, dir, lock);
        if made.is_err() {
            pod_clearing::clear(dir, lock, None).context("clear what was made before it failed")?;
        }
        made.map(|()| Outcome::Created)
    }

    fn fill(&self, pod: &PreparedPod, dir: &SupervisionDir, lock: &PodLock) -> anyhow::Result<()> {
        let uid = uid()?;
        let supervision = self.supervision(pod, dir, &uid);
        write(&dir.supervision(), &serde_json::to_vec(&supervision)?)?;
        let manifest = stored_manifest::with_identity(pod.manifest.clone(), &uid, Timestamp::now());
        write(&dir.manifest(), &serde_json::to_vec(&manifest)?)?;
        if !pod.presets.is_empty() {
            write(&dir.presets(), &serde_json::to_vec(&pod.presets)?)?;
        }
        let data = layout::pod_data_dir(&self.globals.data, &uid);
        let namespaces = dir.namespaces();
        for path in [&data, &namespaces] {
            make_dir(path, 0o700)?;
        }
        let files = PodFiles::plan(&pod.pod, dir, &data);
        let context = PodContext { pod: &pod.pod, uid: &uid, dir, files: &files };
        for ((container, prepared), launch) in pod.pod.containers.iter().zip(&pod.containers).zip(&supervision.launches) {
            let spec = container_spec::of(&context, container, &prepared.process);
            make_bundle(launch, &spec)?;
        }
        pod_namespaces::pin(&namespaces, Shared::of_pod(pod.pod.host_network), &pod.hostname)?;
        files.make(&pod.pod, &pod.hostname)?;
        shim_process::launch(dir, &Launching { lock: Some(lock.as_fd()), ..Launching::default() }).map(drop)
    }

    fn supervision(&self, pod: &PreparedPod, dir: &SupervisionDir, uid: &str) -> Supervision {
        let launches = pod.pod.containers.iter().zip(&pod.containers).map(|(container, prepared)| {
            let bundle = dir.container(&container.name).join("bundle");
            let data = layout::pod_data_dir(&self.globals.data, uid).join("containers").join(&container.name);
            let logs = layout::pod_log_dir(&self.globals.data, &pod.pod.namespace, &pod.pod.name, uid);
            Launch {
                id: container_spec::id(&pod.pod, container),
                rootfs: Some(overlay(prepared, &data, &bundle)),
                bundle,
                stdio: Stdio::CriLog { directory: logs.join(&container.name) },
            }
        });
        Supervision {
            version: VERSION,
            plan: pod.plan(uid),
            launches: launches.collect(),
            runtime: self.runtime.clone(),
            root: self.globals.root.clone(),
            data: self.globals.data.clone(),
        }
    }
}

fn overlay(prepared: &PreparedContainer, data: &Path, bundle: &Path) -> OverlayRootfs {
    OverlayRootfs {
        lower: prepared.layers.clone(),
        upper: data.join("upper"),
        work: data.join("work"),
        target: bundle.join("rootfs"),
    }
}

/// The name is in use: by the same pod, or by another.
fn compare(name: &PodName, dir: &SupervisionDir, pod: &PreparedPod) -> anyhow::Result<Outcome> {
    let stored: Option<Value> = pod_records::json(&dir.manifest())?;
    anyhow::ensure!(
        stored.map(stored_manifest::without_identity).as_ref() == Some(&pod.manifest),
        "the name is in use by a pod with another manifest, and pods cannot be changed: delete it first (hshim delete {name} --namespace {})",
        name.namespace
    );
    Ok(Outcome::Unchanged)
}

fn make_bundle(launch: &Launch, spec: &Value) -> anyhow::Result<()> {
    make_dir(&launch.bundle, 0o700)?;
    if let Some(overlay) = &launch.rootfs {
        make_dir(&overlay.target, 0o755)?;
    }
    write(&launch.bundle.join("config.json"), &serde_json::to_vec(spec)?)
}

fn make_dir(path: &Path, mode: u32) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("create {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).with_context(|| format!("set the mode of {}", path.display()))
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    atomic_file::write(path, content).with_context(|| format!("write {}", path.display()))
}

fn uid() -> anyhow::Result<String> {
    const RANDOM: &str = "/proc/sys/kernel/random/uuid";
    Ok(fs::read_to_string(RANDOM).with_context(|| format!("read {RANDOM}"))?.trim_end().to_owned())
}
