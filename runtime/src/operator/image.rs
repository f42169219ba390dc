//! `image load`, `image ls`, `image rm`.

pub(crate) mod accounts;
mod archive;
mod description;
mod digest;
mod layer;
mod layer_root;
pub(crate) mod merged_tree;
pub(crate) mod reference;
pub(crate) mod store;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::cli::{ImageCommand, ImageFormat, ImageListArgs, ImageLoadArgs, ImageRemoveArgs};
use super::pod_records;

use crate::cli::Globals;
use crate::verbs::print;
use archive::Archive;
use reference::Reference;
use store::{Access, Store};

/// Digits of an id that are shown.
const SHORT_ID: usize = 12;

/// Performs `image …`.
pub(crate) fn run(command: &ImageCommand, globals: &Globals) -> anyhow::Result<()> {
    match command {
        ImageCommand::Load(args) => load(args, globals),
        ImageCommand::Ls(args) => list(args, globals),
        ImageCommand::Rm(args) => remove(args, globals),
    }
}

fn load(args: &ImageLoadArgs, globals: &Globals) -> anyhow::Result<()> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "image load needs root: it unpacks files with the owners that the image gives them"
    );
    let tag: Option<Reference> = args.tag.as_deref().map(str::parse).transpose().context("--tag")?;
    let store = Store::below(&globals.data);
    let _lock = store.lock(Access::Change)?;
    let in_use = layers_in_use(globals)?;
    store.sweep(&in_use)?;
    let loaded = load_from(&store, args, tag.as_ref());
    // Of an image that was refused nothing stays, and nothing of one whose names have all moved on.
    let swept = store.sweep(&in_use);
    let lines = loaded.with_context(|| format!("image load {}", args.input.display()))?;
    swept?;
    print(&lines)
}

fn load_from(store: &Store, args: &ImageLoadArgs, tag: Option<&Reference>) -> anyhow::Result<String> {
    let archive = Archive::open(&args.input, &store.staging())?;
    let images = description::read(&archive)?;
    anyhow::ensure!(
        tag.is_none() || images.len() == 1,
        "--tag names one image, but there are {} in the archive: leave it out",
        images.len()
    );
    let mut lines = String::new();
    for image in &images {
        let names: Vec<Reference> = tag.map_or_else(|| image.names.clone(), |tag| vec![tag.clone()]);
        anyhow::ensure!(!names.is_empty(), "the image in it has no name: give it one with --tag");
        store.add(&archive, image, &names)?;
        for name in &names {
            lines.push_str(&format!("Loaded image: {name}\n"));
        }
    }
    Ok(lines)
}

fn list(args: &ImageListArgs, globals: &Globals) -> anyhow::Result<()> {
    let store = Store::below(&globals.data);
    let mut rows = Vec::new();
    for (name, entry) in store.names()? {
        let reference: Reference = name.parse()?;
        rows.push((reference, store.image(&entry.id)?));
    }
    match args.output {
        ImageFormat::Json => {
            let images: Vec<_> =
                rows.iter().map(|(name, image)| json!({"name": name.to_string(), "id": image.id, "size": image.size})).collect();
            print(&format!("{:#}\n", json!({"images": images})))
        }
        ImageFormat::Name => print(&rows.iter().map(|(name, _)| format!("{name}\n")).collect::<String>()),
        ImageFormat::Table => {
            let mut table = crate::table::Table::new(&["IMAGE", "TAG", "IMAGE ID", "SIZE"]);
            for (name, image) in &rows {
                let id: String = image.id.trim_start_matches("sha256:").chars().take(SHORT_ID).collect();
                let version = name.tag().or(name.digest()).unwrap_or_default().to_owned();
                table.row([name.repository().to_owned(), version, id, size(image.size)]);
            }
            print(&table.to_string())
        }
    }
}

fn remove(args: &ImageRemoveArgs, globals: &Globals) -> anyhow::Result<()> {
    let store = Store::below(&globals.data);
    let _lock = store.lock(Access::Change)?;
    let mut forgotten = String::new();
    for word in &args.names {
        for name in named(&store, word)? {
            refuse_if_used(&name, globals)?;
            store.forget(&name)?;
            forgotten.push_str(&format!("Removed image: {name}\n"));
        }
    }
    store.sweep(&layers_in_use(globals)?)?;
    print(&forgotten)
}

/// The names that a word of the user means: one by name, all of an image by its id.
fn named(store: &Store, word: &str) -> anyhow::Result<Vec<String>> {
    let names = store.names()?;
    if let Ok(reference) = word.parse::<Reference>() {
        let name = reference.to_string();
        if names.contains_key(&name) {
            return Ok(vec![name]);
        }
    }
    let digits = word.trim_start_matches("sha256:");
    let is_id = |id: &str| digits.len() >= SHORT_ID && id.trim_start_matches("sha256:").starts_with(digits);
    let found: Vec<String> = names.iter().filter(|(_, entry)| is_id(&entry.id)).map(|(name, _)| name.clone()).collect();
    anyhow::ensure!(!found.is_empty(), "there is no image {word}: \"hshim image ls\" shows what there is");
    Ok(found)
}

fn refuse_if_used(name: &str, globals: &Globals) -> anyhow::Result<()> {
    for supervision in pod_records::all_pods(&globals.root)? {
        let plan = &supervision.plan;
        let is_meant = |image: &str| image.parse().is_ok_and(|image: Reference| image.to_string() == name);
        anyhow::ensure!(
            !plan.containers.iter().any(|container| is_meant(&container.image)),
            "the image {name} is used by pod/{} in namespace {}: delete that first",
            plan.name,
            plan.namespace
        );
    }
    Ok(())
}

fn layers_in_use(globals: &Globals) -> anyhow::Result<BTreeSet<PathBuf>> {
    let pods = pod_records::all_pods(&globals.root)?;
    let overlays = pods.iter().flat_map(|pod| &pod.launches).filter_map(|launch| launch.rootfs.as_ref());
    Ok(overlays.flat_map(|overlay| overlay.lower.iter().cloned()).collect())
}

/// Decimal units, as other tools show images.
fn size(bytes: u64) -> String {
    let mut value = bytes;
    for unit in ["B", "kB", "MB"] {
        if value < 10_000 {
            return format!("{value}{unit}");
        }
        value = (value + 500) / 1000;
    }
    format!("{value}GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        for (bytes, text) in [(0, "0B"), (9999, "9999B"), (1_234_567, "1235kB"), (12_345_678, "12MB"), (44_000_000_000, "44GB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
