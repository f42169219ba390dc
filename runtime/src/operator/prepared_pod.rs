//! A pod that can be made: its images are there, its commands are in them, the node has its paths. Nothing has been made yet.

use std::path::PathBuf;

use hshim_health::admission::AdmittedPod;
use hshim_health::faults::{Fault, FaultKind, Faults};
use hshim_health::plan::PodPlan;
use serde_json::Value;

use super::container_process::{self, ContainerProcess};
use super::image::reference::Reference;
use super::image::store::{Image, Store};
use super::manifest_file::{Document, Elsewhere};
use super::pod_files;
use super::stored_manifest;

/// A pod with all that its making needs.
#[derive(Debug)]
pub(crate) struct PreparedPod {
    /// As meant.
    pub(crate) pod: AdmittedPod,
    /// To be kept, and compared with what was kept.
    pub(crate) manifest: Value,
    /// Which preset gave what.
    pub(crate) presets: Vec<Elsewhere>,
    /// In the pod's order.
    pub(crate) containers: Vec<PreparedContainer>,
    /// Of the pod, or the node's if it is in the node's network.
    pub(crate) hostname: String,
}

/// One container.
#[derive(Debug)]
pub(crate) struct PreparedContainer {
    /// The topmost first.
    pub(crate) layers: Vec<PathBuf>,
    /// What it executes.
    pub(crate) process: ContainerProcess,
}

/// All paths of an image must fit into one page of mount options, with the writable layer's (mount(2)).
const LONGEST_LAYERS: usize = 3500;

impl PreparedPod {
    /// Prepares a pod, or says everything that is missing.
    pub(crate) fn prepare(document: &Document, pod: AdmittedPod, store: &Store) -> anyhow::Result<Result<Self, Faults>> {
        let hostname =
            if pod.host_network { nix::unistd::gethostname()?.to_string_lossy().into_owned() } else { pod.hostname.clone() };
        let mut faults = Faults::default();
        for (n, volume) in pod.volumes.iter().enumerate() {
            faults.0.extend(pod_files::host_path_fault(volume, &format!("spec.volumes[{n}]")));
        }
        let mut containers = Vec::new();
        for (n, container) in pod.containers.iter().enumerate() {
            let path = format!("spec.containers[{n}]");
            let prepared = image(&container.image, &path, store)?.and_then(|image| {
                let process = container_process::of(container, &image, &hostname, &path)?;
                Ok(PreparedContainer { layers: image.layers, process })
            });
            match prepared {
                Ok(container) => containers.push(container),
                Err(fault) => faults.0.push(fault),
            }
        }
        let manifest = stored_manifest::with_defaults(&document.value, &pod);
        Ok(faults.or(Self { pod, manifest, presets: document.elsewhere().to_vec(), containers, hostname }))
    }

    /// What the supervisor is to do.
    pub(crate) fn plan(&self, uid: &str) -> PodPlan {
        let mut plan = self.pod.plan(uid);
        for (plan, container) in plan.containers.iter_mut().zip(&self.containers) {
            plan.stop_signal = container.process.stop_signal;
        }
        plan
    }
}

fn image(name: &str, path: &str, store: &Store) -> anyhow::Result<Result<Image, Fault>> {
    let fault = |kind, detail: String| Fault { path: format!("{path}.image"), kind, value: Some(format!("{name:?}")), detail };
    let reference: Reference = match name.parse() {
        Ok(reference) => reference,
        Err(error) => return Ok(Err(fault(FaultKind::Invalid, format!("{error}")))),
    };
    let Some(image) = store.find(&reference)? else {
        let detail = format!("{reference} has not been loaded: load it from an archive (hshim image load -i FILE)");
        return Ok(Err(fault(FaultKind::NotFound, detail)));
    };
    let length: usize = image.layers.iter().map(|layer| layer.as_os_str().len() + 1).sum();
    if length > LONGEST_LAYERS {
        let detail = format!("its {} layers are too many for one mount: squash it, or use a shorter --data", image.layers.len());
        return Ok(Err(fault(FaultKind::Invalid, detail)));
    }
    Ok(Ok(image))
}
