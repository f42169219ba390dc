//! `preset`: what presets would do to a manifest, and what they do to a bundle.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use anyhow::Context;

use super::check::admit_all;
use super::cli::{PresetCommand, PresetMergeArgs, PresetTestArgs};
use super::explain;
use super::manifest_file::{self, Complaints, Document};
use super::pod_object;
use super::preset_files::{self, PresetFiles};
use crate::atomic_file;
use crate::cli::Globals;
use crate::verbs::print;

/// Performs `preset …`.
pub(crate) fn run(command: &PresetCommand, globals: &Globals) -> anyhow::Result<()> {
    match command {
        PresetCommand::Test(args) => test(args, globals),
        PresetCommand::Merge(args) => merge(args, globals),
    }
}

/// Prints merged manifests. What apply would refuse is refused here, too.
fn test(args: &PresetTestArgs, globals: &Globals) -> anyhow::Result<()> {
    let presets = PresetFiles::load(&globals.presets_dir, &args.presets.preset)?;
    let documents = manifest_file::read_all(&args.filename)?;
    let mut complaints = Complaints::default();
    let documents = presets.merge_into(documents, args.namespace.as_deref(), &mut complaints);
    let admitted = admit_all(documents, args.namespace.as_deref(), &mut complaints);
    complaints.none()?;
    let mut shown = Vec::new();
    for (document, _) in &admitted {
        shown.push(format!("{}{}", pod_object::yaml(&document.value)?, origins(document)));
    }
    print(&shown.join("---\n"))
}

/// As comments, so that all of it is still YAML.
fn origins(document: &Document) -> String {
    if document.elsewhere().is_empty() {
        return "# No preset adds anything.\n".to_owned();
    }
    explain::table(["# FIELD", "SOURCE", "PLACE"], "# ", document.elsewhere())
}

/// Prints what is added; with `--write` the bundle has it then.
fn merge(args: &PresetMergeArgs, globals: &Globals) -> anyhow::Result<()> {
    let dir = fs::canonicalize(&args.bundle).with_context(|| format!("open the bundle {}", args.bundle.display()))?;
    let file = dir.join("config.json");
    let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let config = serde_json::from_slice(&text).with_context(|| format!("understand {}", file.display()))?;
    let id = args.id.clone().unwrap_or_else(|| dir.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let presets = PresetFiles::load(&globals.presets_dir, &args.presets.preset)?;
    let additions = presets.merge_bundle(&id, &config, &file)?;
    if args.write && !additions.is_empty() {
        preset_files::make_volumes(&additions)?;
        replace(&file, &serde_json::to_vec(&additions.merged(&config))?)?;
    }
    print(&format!("{}\n", additions.to_json()))
}

/// With the owner and the mode that it has.
fn replace(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let before = fs::metadata(file).with_context(|| format!("look at {}", file.display()))?;
    atomic_file::write(file, content)
        .and_then(|()| chown(file, Some(before.uid()), Some(before.gid())))
        .and_then(|()| fs::set_permissions(file, Permissions::from_mode(before.mode() & 0o7777)))
        .with_context(|| format!("replace {}", file.display()))
}
