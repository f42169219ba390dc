//! What an archive says that it holds: the images of `docker save`'s manifest.json, or of an OCI image layout's index.json.
//!
//! An archive that has both (Docker 25 and later write that) is read as Docker's: it has the names.

use anyhow::Context;
use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, Os};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::archive::Archive;
use super::digest;
use super::reference::{Reference, is_digest};
use crate::operator::stored_manifest::remove_nulls;

/// An image in an archive.
#[derive(Debug)]
pub(crate) struct Described {
    /// What it is called; perhaps nothing.
    pub(crate) names: Vec<Reference>,
    /// `sha256:…` of its configuration, which is its id.
    pub(crate) id: String,
    /// Its configuration as it stands in the archive.
    pub(crate) config: Vec<u8>,
    /// `sha256:…` of its manifest; Docker's format has none.
    pub(crate) manifest: Option<String>,
    /// The lowest first; as many as its configuration has.
    pub(crate) layers: Vec<Blob>,
}

/// A layer in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    /// Name of the member.
    pub(crate) member: String,
    /// `sha256:…` of its bytes as they stand there, where that is promised.
    pub(crate) digest: Option<String>,
    /// `sha256:…` of the tar.
    pub(crate) diff_id: String,
}

/// More manifests than an archive has.
const MOST_MANIFESTS: usize = 1000;
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const IMAGE_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Marks what is no image: Docker's attestations.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// Reads what is there.
pub(crate) fn read(archive: &Archive) -> anyhow::Result<Vec<Described>> {
    let images = if archive.has("manifest.json") {
        docker_archive(archive)?
    } else if archive.has("index.json") {
        oci_layout(archive)?
    } else {
        anyhow::bail!("it has neither a manifest.json (docker save) nor an index.json (OCI image layout)")
    };
    anyhow::ensure!(!images.is_empty(), "it has no image for {} {}", Os::default(), Arch::default());
    Ok(images)
}

/// An entry of Docker's manifest.json (moby/moby, image/spec).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn docker_archive(archive: &Archive) -> anyhow::Result<Vec<Described>> {
    let images: Vec<DockerImage> = parse(&archive.text("manifest.json")?, "manifest.json")?;
    images.into_iter().map(|image| docker_image(archive, image)).collect()
}

fn docker_image(archive: &Archive, image: DockerImage) -> anyhow::Result<Described> {
    let config = archive.text(&image.config)?;
    let id = digest::of(&config);
    // The file is named for its digest, in both of Docker's layouts.
    let promised = image.config.rsplit('/').next().map(|file| format!("sha256:{}", file.trim_end_matches(".json")));
    if let Some(promised) = promised.filter(|promised| is_digest(promised)) {
        anyhow::ensure!(promised == id, "{} is damaged: its digest is {id}", image.config);
    }
    let configuration = configuration(&config, &image.config)?;
    let tags = image.repo_tags.unwrap_or_default();
    let names = tags.iter().map(|tag| tag.parse()).collect::<Result<Vec<Reference>, _>>()?;
    let members = image.layers.into_iter().map(|member| {
        let promised = format!("sha256:{}", member.strip_prefix("blobs/sha256/").unwrap_or_default());
        let digest = Some(promised).filter(|promised| is_digest(promised));
        (member, digest)
    });
    let layers = layers(archive, members.collect(), &configuration)?;
    Ok(Described { names, id, config, manifest: None, layers })
}

fn oci_layout(archive: &Archive) -> anyhow::Result<Vec<Described>> {
    let index: ImageIndex = parse(&archive.text("index.json")?, "index.json")?;
    let mut images = Vec::new();
    for entry in index.manifests() {
        let mut manifests = Vec::new();
        collect_manifests(archive, entry, &mut manifests, 0)?;
        let names = names(entry)?;
        for manifest in manifests {
            images.extend(oci_image(archive, &manifest, names.clone())?);
        }
    }
    Ok(images)
}

/// The manifests for this machine that a descriptor leads to: an index of several platforms leads to several.
fn collect_manifests(archive: &Archive, entry: &Descriptor, found: &mut Vec<Descriptor>, depth: usize) -> anyhow::Result<()> {
    let is_attestation = entry.annotations().as_ref().is_some_and(|annotations| annotations.contains_key(ATTESTATION));
    let is_foreign = entry
        .platform()
        .as_ref()
        .is_some_and(|platform| *platform.os() != Os::default() || *platform.architecture() != Arch::default());
    if is_attestation || is_foreign {
        return Ok(());
    }
    let is_index = [OCI_INDEX, DOCKER_LIST].contains(&entry.media_type().as_ref());
    if !is_index {
        found.push(entry.clone());
        return Ok(());
    }
    anyhow::ensure!(depth < 4 && found.len() < MOST_MANIFESTS, "its indexes are nested too deeply");
    let index: ImageIndex = parse(&blob(archive, entry)?, entry.digest().as_ref())?;
    index.manifests().iter().try_for_each(|entry| collect_manifests(archive, entry, found, depth + 1))
}

fn oci_image(archive: &Archive, entry: &Descriptor, names: Vec<Reference>) -> anyhow::Result<Option<Described>> {
    let text = blob(archive, entry)?;
    let manifest: ImageManifest = parse(&text, entry.digest().as_ref())?;
    let config = blob(archive, manifest.config())?;
    let name = manifest.config().digest().to_string();
    let configuration = configuration(&config, &name)?;
    if *configuration.os() != Os::default() || *configuration.architecture() != Arch::default() {
        return Ok(None);
    }
    let mut members = Vec::new();
    for layer in manifest.layers() {
        let member = member(layer)?;
        let size = archive.size(&member);
        anyhow::ensure!(
            size.is_none_or(|size| size == layer.size()),
            "{member} is damaged: it has {} bytes instead of {}",
            size.unwrap_or_default(),
            layer.size()
        );
        members.push((member, Some(layer.digest().to_string())));
    }
    let layers = layers(archive, members, &configuration)?;
    let manifest = Some(entry.digest().to_string());
    Ok(Some(Described { names, id: name, config, manifest, layers }))
}

/// By containerd's annotation, else by the one of the specification where that is more than a tag.
fn names(entry: &Descriptor) -> anyhow::Result<Vec<Reference>> {
    let annotations = entry.annotations().as_ref();
    let annotation = |key: &str| annotations.and_then(|annotations| annotations.get(key));
    let name = annotation(IMAGE_NAME).or_else(|| annotation(REF_NAME).filter(|name| name.contains(['/', ':'])));
    Ok(name.map(|name| name.parse()).transpose()?.into_iter().collect())
}

fn layers(
    archive: &Archive,
    members: Vec<(String, Option<String>)>,
    configuration: &ImageConfiguration,
) -> anyhow::Result<Vec<Blob>> {
    let diff_ids = configuration.rootfs().diff_ids();
    anyhow::ensure!(!members.is_empty(), "an image in it has no layer");
    anyhow::ensure!(
        members.len() == diff_ids.len(),
        "an image in it has {} layers, but its configuration has {}",
        members.len(),
        diff_ids.len()
    );
    let mut layers = Vec::new();
    for ((member, digest), diff_id) in members.into_iter().zip(diff_ids) {
        anyhow::ensure!(archive.has(&member), "the layer {member} is missing in it");
        anyhow::ensure!(is_digest(diff_id), "rootfs.diff_ids of an image in it: {diff_id:?} is not a sha256 digest");
        layers.push(Blob { member, digest, diff_id: diff_id.clone() });
    }
    Ok(layers)
}

fn member(descriptor: &Descriptor) -> anyhow::Result<String> {
    let digest = descriptor.digest().to_string();
    anyhow::ensure!(is_digest(&digest), "the digest {digest} in it is not a sha256 digest");
    Ok(format!("blobs/{}", digest.replace(':', "/")))
}

/// A short blob, which is what its descriptor promises.
fn blob(archive: &Archive, descriptor: &Descriptor) -> anyhow::Result<Vec<u8>> {
    let member = member(descriptor)?;
    let bytes = archive.text(&member)?;
    let found = digest::of(&bytes);
    anyhow::ensure!(descriptor.digest().to_string() == found, "{member} is damaged: its digest is {found}");
    Ok(bytes)
}

fn configuration(bytes: &[u8], name: &str) -> anyhow::Result<ImageConfiguration> {
    parse(bytes, name)
}

/// Go writes an absent list or object as null, which the types do not take.
fn parse<T: DeserializeOwned>(bytes: &[u8], name: &str) -> anyhow::Result<T> {
    let mut value: Value = serde_json::from_slice(bytes).with_context(|| format!("understand {name} in it"))?;
    remove_nulls(&mut value);
    serde_json::from_value(value).with_context(|| format!("understand {name} in it"))
}

/// The configuration of an image that has been loaded.
pub(crate) fn stored_configuration(bytes: &[u8]) -> anyhow::Result<ImageConfiguration> {
    configuration(bytes, "the configuration of the image")
}
