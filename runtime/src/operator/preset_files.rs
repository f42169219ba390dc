//! The presets of this node: the files of one directory in the order of their names, then those of the command line.
//!
//! What stands in the directory changes every container of the node, so it must be root's own. A file that is named on the command line
//! is the caller's business, as a manifest is.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hshim_health::admission::{Volume, VolumeSource};
use hshim_health::faults::{Fault, FaultKind};
use hshim_health::preset::bundle::{self, BundleAdditions};
use hshim_health::preset::merging::{Conflict, Given, Merge, Source, merge};
use hshim_health::preset::pod::{self, Origin};
use hshim_health::preset::{self, PodPreset};
use serde_json::Value;

use super::manifest_file::{self, Complaints, Document, Elsewhere};
use super::pod_files;
use crate::rootless;

const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// All presets, each with where it stands.
#[derive(Debug, Default)]
pub(crate) struct PresetFiles {
    documents: Vec<Document>,
    presets: Vec<PodPreset>,
    /// File of each.
    sources: Vec<String>,
}

impl PresetFiles {
    /// Reads the directory, which need not exist, and further files. What is written down about them outlives the working directory.
    pub(crate) fn load(dir: &Path, files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        for path in files_of(&absolute(dir)?)? {
            let name = path.display().to_string();
            let file = File::open(&path).with_context(|| format!("open {name}"))?;
            require_own(&path, &file.metadata().with_context(|| format!("look at {name}"))?)?;
            documents.extend(manifest_file::read_from(file, &name)?);
        }
        if !files.is_empty() {
            let files: Vec<PathBuf> = files.iter().map(|file| absolute(file)).collect::<anyhow::Result<_>>()?;
            documents.extend(manifest_file::read_all(&files)?);
        }
        Self::of(documents)
    }

    fn of(documents: Vec<Document>) -> anyhow::Result<Self> {
        let mut complaints = Complaints::default();
        let mut all = Self::default();
        let mut known: BTreeMap<(String, Option<String>), String> = BTreeMap::new();
        for document in documents {
            let preset = match preset::read(&document.value) {
                Ok(preset) => preset,
                Err(faults) => {
                    complaints.add_all(&document, &faults);
                    continue;
                }
            };
            let key = (preset.name.clone(), preset.namespace.clone());
            if let Some(place) = known.insert(key, document.place("metadata.name")) {
                complaints.add(&document, &duplicate(&preset.name, &place));
            }
            all.sources.push(document.file.clone());
            all.presets.push(preset);
            all.documents.push(document);
        }
        complaints.none()?;
        Ok(all)
    }

    /// There is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.presets.is_empty()
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.presets.iter().map(|preset| preset.name.as_str())
    }

    /// The manifests with what the presets add; what goes wrong is a complaint, and leaves a manifest as it is.
    pub(crate) fn merge_into(
        &self,
        documents: Vec<Document>,
        namespace: Option<&str>,
        complaints: &mut Complaints,
    ) -> Vec<Document> {
        let merged = |document| self.merge_one(document, namespace.unwrap_or("default"), complaints);
        documents.into_iter().map(merged).collect()
    }

    fn merge_one(&self, document: Document, namespace: &str, complaints: &mut Complaints) -> Document {
        if self.is_empty() || document.value.get("kind").and_then(Value::as_str) != Some("Pod") {
            return document;
        }
        let merge = match merge(&pod::target(&document.value, namespace), &self.presets) {
            Ok(merge) => merge,
            Err(conflicts) => {
                let own = |path: &str| format!("the pod itself ({}: {path})", document.place(path));
                let worded = conflicts.iter().map(|conflict| self.conflict(conflict, &document.file, &own));
                worded.for_each(|text| complaints.add_text(text));
                return document;
            }
        };
        let unsupported = self.unsupported(&merge);
        if !unsupported.is_empty() {
            unsupported.iter().for_each(|(fault, index)| complaints.add_text(self.refusal(fault, *index, &document.file)));
            return document;
        }
        let (value, origins) = pod::merged(&document.value, &merge, &self.presets, &self.sources);
        let elsewhere = origins.iter().map(|origin| self.elsewhere(origin)).collect();
        document.merged(value, elsewhere)
    }

    /// What they add to a bundle; `file` is its config.json, of which `config` is the content.
    pub(crate) fn merge_bundle(&self, id: &str, config: &Value, file: &Path) -> anyhow::Result<BundleAdditions> {
        if self.is_empty() || bundle::is_sandbox(config) {
            return Ok(BundleAdditions::default());
        }
        let file = file.display().to_string();
        let target = bundle::target(id, config).with_context(|| file.clone())?;
        let mut complaints = Complaints::default();
        let merge = merge(&target, &self.presets).unwrap_or_else(|conflicts| {
            let own = |path: &str| format!("the bundle itself ({file}: {path})");
            let worded = conflicts.iter().map(|conflict| self.conflict(conflict, &file, &own));
            worded.for_each(|text| complaints.add_text(text));
            Merge::default()
        });
        let mut unfit = self.unsupported(&merge);
        let possible = if unfit.is_empty() { merge } else { Merge::default() };
        let additions = bundle::additions(&possible, &self.presets, &self.sources).unwrap_or_else(|faults| {
            unfit.extend(faults);
            BundleAdditions::default()
        });
        for (volume, from) in &additions.volumes {
            unfit.extend(pod_files::host_path_fault(volume, &from.path).map(|fault| (fault, from.preset)));
        }
        unfit.iter().for_each(|(fault, index)| complaints.add_text(self.refusal(fault, *index, &file)));
        complaints.none()?;
        Ok(additions)
    }

    /// `preset NAME (FILE:LINE: path)`.
    fn told(&self, given: &Given) -> String {
        let name = self.presets.get(given.preset).map(|preset| preset.name.as_str()).unwrap_or_default();
        let place = self.documents.get(given.preset).map(|document| document.place(&given.path)).unwrap_or_default();
        format!("preset {name} ({place}: {})", given.path)
    }

    /// What the presets that apply ask for and hshim has not.
    fn unsupported(&self, merge: &Merge) -> Vec<(Fault, usize)> {
        let of_preset = |index: &usize| {
            let faults = self.presets.get(*index).into_iter().flat_map(|preset| &preset.unsupported.0);
            faults.map(|fault| (fault.clone(), *index)).collect::<Vec<_>>()
        };
        merge.applied.iter().flat_map(of_preset).collect()
    }

    fn refusal(&self, fault: &Fault, index: usize, file: &str) -> String {
        let name = self.presets.get(index).map(|preset| preset.name.as_str()).unwrap_or_default();
        let place = self.documents.get(index).map(|document| document.place(&fault.path)).unwrap_or_default();
        format!("{place}: {fault} (preset {name}, for {file})")
    }

    fn conflict(&self, conflict: &Conflict, file: &str, own: &dyn Fn(&str) -> String) -> String {
        let container = conflict.container.as_ref().map(|name| format!(" of container {name}")).unwrap_or_default();
        let other = match &conflict.other {
            Source::Pod(path) => own(path),
            Source::Preset(given) => self.told(given),
        };
        let preset = self.told(&conflict.preset);
        format!("{file}: conflict over {}{container}: {preset} and {other} say different things", conflict.thing)
    }

    /// An origin in words.
    pub(crate) fn elsewhere(&self, origin: &Origin) -> Elsewhere {
        let Origin { path, from } = origin;
        let name = self.presets.get(from.preset).map(|preset| preset.name.as_str()).unwrap_or_default();
        let place = self.documents.get(from.preset).map(|document| document.place(&from.path)).unwrap_or_default();
        Elsewhere { path: path.clone(), place, path_there: from.path.clone(), whose: format!("preset {name}") }
    }
}

/// Makes what hostPath volumes ask to be made.
pub(crate) fn make_volumes(additions: &BundleAdditions) -> anyhow::Result<()> {
    for (volume, _) in &additions.volumes {
        let Volume { source: VolumeSource::HostPath { path, kind }, .. } = volume else { continue };
        pod_files::make_host_path(path, *kind)?;
    }
    Ok(())
}

fn duplicate(name: &str, place: &str) -> Fault {
    Fault {
        path: "metadata.name".to_owned(),
        kind: FaultKind::Duplicate,
        value: Some(format!("{name:?}")),
        detail: format!("{place} has it already"),
    }
}

/// `-` is standard input.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    if path == Path::new("-") {
        return Ok(path.to_owned());
    }
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

/// Sorted by their names. Hidden files and those with other endings are none.
fn files_of(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        done => done.with_context(|| format!("read the presets of {}", dir.display()))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("read the presets of {}", dir.display()))?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)) {
            files.push(path);
        }
    }
    if !files.is_empty() {
        require_own(dir, &fs::metadata(dir).with_context(|| format!("look at {}", dir.display()))?)?;
    }
    files.sort();
    Ok(files)
}

/// What the kernel shows as the owner of a file whose owner a user namespace does not map (user_namespaces(7)).
fn overflow_uid() -> u32 {
    const USUAL: u32 = 65_534;
    fs::read_to_string("/proc/sys/kernel/overflowuid").ok().and_then(|uid| uid.trim().parse().ok()).unwrap_or(USUAL)
}

/// Of root, or of whoever calls; nobody else can write.
fn require_own(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    let path = path.display();
    let owner = metadata.uid();
    let is_known = owner == 0 || owner == nix::unistd::geteuid().as_raw();
    // Root of the machine has no id in a user namespace that maps others: the kernel shows those as one.
    let may_be_root = || rootless::in_user_namespace() && owner == overflow_uid();
    anyhow::ensure!(
        is_known || may_be_root(),
        "{path} belongs to user {owner}, who could change what every container of this node gets: chown root {path}"
    );
    anyhow::ensure!(
        metadata.mode() & WRITABLE_BY_OTHERS == 0,
        "{path} can be written by others (mode {:04o}), who could change what every container of this node gets: chmod go-w {path}",
        metadata.mode() & 0o7777
    );
    anyhow::ensure!(metadata.is_file() || metadata.is_dir(), "{path} is no file: presets are read from files only");
    Ok(())
}
