//! Bundles of `create` and `run` with what the presets of this node add. The bundle itself is its owner's and stays as it is: what a
//! supervised container's next lives are made of is kept beside its supervision, as it was when the container was created.

use std::fs;
use std::io::ErrorKind;

use anyhow::Context;
use hshim_health::faults::Fault;
use hshim_health::layout::{self, SupervisionDir};

use crate::atomic_file;
use crate::bundle::Bundle;
use crate::cli::{BundleArgs, Globals, Supervise};
use crate::container_id::ContainerId;
use crate::operator::preset_files::{self, PresetFiles};
use crate::supervised_bundle::is_asked_by_shim;

const CONFIG: &str = "config.json";

/// Opens the bundle of a command. `--supervise=never` leaves presets out.
pub(crate) fn open(args: &BundleArgs, id: &ContainerId, globals: &Globals) -> anyhow::Result<Bundle> {
    let bundle = Bundle::open(&args.bundle)?;
    if is_asked_by_shim() {
        return kept(bundle, id, globals);
    }
    if args.supervise == Supervise::Never {
        return Ok(bundle);
    }
    let presets = PresetFiles::load(&globals.presets_dir, &[])?;
    if presets.is_empty() {
        return Ok(bundle);
    }
    let file = bundle.dir.join(CONFIG);
    let config = serde_json::from_slice(&bundle.config).with_context(|| format!("understand {}", file.display()))?;
    let additions = presets.merge_bundle(id.as_str(), &config, &file)?;
    if additions.is_empty() {
        return Ok(bundle);
    }
    preset_files::make_volumes(&additions)?;
    let merged = serde_json::to_vec(&additions.merged(&config))?;
    let bundle = bundle.with_config(merged)?;
    let origins = additions.origins.iter().map(|origin| presets.elsewhere(origin)).collect();
    Ok(Bundle { presets: Some(origins), ..bundle })
}

/// Keeps the merged config.json for all lives of a supervised container.
pub(crate) fn keep(bundle: &Bundle, dir: &SupervisionDir) -> anyhow::Result<()> {
    let Some(origins) = &bundle.presets else { return Ok(()) };
    for (file, content) in [(dir.presets(), serde_json::to_vec(origins)?), (dir.0.join(CONFIG), bundle.config.clone())] {
        atomic_file::write(&file, &content).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

/// A fault in annotations, with the preset that gave the annotation if one did.
pub(crate) fn blamed(bundle: &Bundle, fault: &Fault) -> String {
    let giver = bundle.presets.iter().flatten().find(|part| fault.path.starts_with(&part.path));
    giver.map_or_else(
        || fault.to_string(),
        |part| format!("{fault} ({} gives it: {}: {})", part.whose, part.place, part.path_there),
    )
}

fn kept(bundle: Bundle, id: &ContainerId, globals: &Globals) -> anyhow::Result<Bundle> {
    let file = layout::bundle_dir(&globals.root, id.as_str()).join(CONFIG);
    match fs::read(&file) {
        Ok(config) => bundle.with_config(config),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(bundle),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}
