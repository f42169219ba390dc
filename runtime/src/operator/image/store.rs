//! The image store below `<data>/images`, content-addressed.
//!
//! ```text
//! lock                  held by whoever changes the store, or must not see it change
//! names.json            name ─▶ id
//! configs/HEX.json      configurations as they came, by id
//! layers/HEX32/         by the first 32 digits of the diff id
//!   layer.json          the whole diff id, and the size
//!   fs/                 unpacked once for all images that have it
//! staging/              empty unless somebody is at it, or was killed at it
//! ```
//! Nothing is there for a name until all of it is: layers and configurations are renamed into place, names.json comes last. What no
//! name leads to goes at the next change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::archive::Archive;
use super::description::{self, Blob, Described};
use super::layer;
use super::reference::Reference;
use crate::atomic_file;

/// Of the files here; another one is refused.
const VERSION: u32 = 1;
/// Digits of a layer's directory: overlayfs takes all paths of an image in one page.
const LAYER_DIGITS: usize = 32;

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

/// Keeps the store as it is; with [`Access::Change`] from everybody else, too.
#[derive(Debug)]
pub(crate) struct StoreLock(#[allow(dead_code, reason = "held, not read")] Flock<File>);

/// Why the store is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Many at once.
    Use,
    /// One alone.
    Change,
}

/// `names.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    version: u32,
    images: BTreeMap<String, Entry>,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// `sha256:…` of its configuration.
    pub(crate) id: String,
    /// `sha256:…` of its manifest, where it came with one.
    pub(crate) manifest: Option<String>,
}

/// `layer.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LayerRecord {
    diff_id: String,
    size: u64,
}

/// A loaded image.
#[derive(Debug)]
pub(crate) struct Image {
    /// `sha256:…`.
    pub(crate) id: String,
    /// What it says about itself.
    pub(crate) configuration: ImageConfiguration,
    /// Unpacked; the topmost first, as overlayfs wants them.
    pub(crate) layers: Vec<PathBuf>,
    /// Bytes of all files in all layers.
    pub(crate) size: u64,
}

impl Store {
    /// Of a data directory.
    pub(crate) fn below(data: &Path) -> Self {
        Self { dir: data.join("images") }
    }

    /// Makes the store if it is not there, and locks it.
    pub(crate) fn lock(&self, access: Access) -> anyhow::Result<StoreLock> {
        for dir in [self.dir.clone(), self.dir.join("configs"), self.dir.join("layers"), self.staging()] {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir).with_context(|| {
                format!("create {}: the image store needs root, or --data with a directory of yours", dir.display())
            })?;
        }
        let path = self.dir.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        let how = if access == Access::Change { FlockArg::LockExclusive } else { FlockArg::LockShared };
        let lock = Flock::lock(file, how).map_err(|(_file, errno)| errno).with_context(|| format!("lock {}", path.display()))?;
        Ok(StoreLock(lock))
    }

    /// All names, with what they mean.
    pub(crate) fn names(&self) -> anyhow::Result<BTreeMap<String, Entry>> {
        let path = self.dir.join("names.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let names: Names = serde_json::from_slice(&text).with_context(|| format!("understand {}", path.display()))?;
        anyhow::ensure!(
            names.version == VERSION,
            "{}: version {} is of another hshim than this one",
            path.display(),
            names.version
        );
        Ok(names.images)
    }

    /// The image of a name; none when it has not been loaded.
    pub(crate) fn find(&self, reference: &Reference) -> anyhow::Result<Option<Image>> {
        let names = self.names()?;
        let by_digest = || {
            let digest = reference.digest()?;
            let mut entries = names
                .iter()
                .filter(|(name, _)| name.parse().is_ok_and(|it: Reference| it.repository() == reference.repository()));
            entries.find(|(_, entry)| entry.manifest.as_deref() == Some(digest)).map(|(_, entry)| entry)
        };
        names.get(&reference.to_string()).or_else(by_digest).map(|entry| self.image(&entry.id)).transpose()
    }

    /// An image by its id.
    pub(crate) fn image(&self, id: &str) -> anyhow::Result<Image> {
        let path = self.config(id);
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let configuration = description::stored_configuration(&text)?;
        let mut layers = Vec::new();
        let mut size = 0;
        for diff_id in configuration.rootfs().diff_ids() {
            let record = self
                .layer_record(diff_id)?
                .with_context(|| format!("the image {id} has lost its layer {diff_id}: load it again (hshim image load)"))?;
            size += record.size;
            layers.insert(0, self.layer(diff_id).join("fs"));
        }
        Ok(Image { id: id.to_owned(), configuration, layers, size })
    }

    /// Adds an image of an archive under its names. The caller holds the lock for a change.
    pub(crate) fn add(&self, archive: &Archive, image: &Described, names: &[Reference]) -> anyhow::Result<()> {
        for blob in &image.layers {
            self.add_layer(archive, blob).with_context(|| format!("the layer {}", blob.member))?;
        }
        let config = self.config(&image.id);
        atomic_file::write(&config, &image.config).with_context(|| format!("write {}", config.display()))?;
        let mut all = self.names()?;
        for name in names {
            all.insert(name.to_string(), Entry { id: image.id.clone(), manifest: image.manifest.clone() });
        }
        self.write_names(all)
    }

    /// Takes a name away. The caller holds the lock for a change.
    pub(crate) fn forget(&self, name: &str) -> anyhow::Result<()> {
        let mut all = self.names()?;
        all.remove(name);
        self.write_names(all)
    }

    /// Removes what no name leads to, but for the layers in use. The caller holds the lock for a change.
    pub(crate) fn sweep(&self, in_use: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
        let mut configs = BTreeSet::new();
        let mut layers: BTreeSet<PathBuf> = in_use.iter().filter_map(|fs| fs.parent()).map(Path::to_owned).collect();
        for entry in self.names()?.values() {
            configs.insert(self.config(&entry.id));
            layers.extend(self.image(&entry.id)?.layers.iter().filter_map(|fs| fs.parent()).map(Path::to_owned));
        }
        let remove = |dir: &Path, keep: &BTreeSet<PathBuf>| -> anyhow::Result<()> {
            for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?.flatten() {
                let path = entry.path();
                if keep.contains(&path) {
                    continue;
                }
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.with_context(|| format!("remove {}", path.display()))?;
            }
            Ok(())
        };
        remove(&self.staging(), &BTreeSet::new())?;
        remove(&self.dir.join("configs"), &configs)?;
        remove(&self.dir.join("layers"), &layers)
    }

    /// Where what is not finished stands.
    pub(crate) fn staging(&self) -> PathBuf {
        self.dir.join("staging")
    }

    fn add_layer(&self, archive: &Archive, blob: &Blob) -> anyhow::Result<()> {
        if self.layer_record(&blob.diff_id)?.is_some() {
            return Ok(());
        }
        let staged = self.staging().join("layer");
        let fs = staged.join("fs");
        DirBuilder::new().recursive(true).mode(0o700).create(&fs).with_context(|| format!("create {}", fs.display()))?;
        // Of the container's root directory, should it ever show.
        fs::set_permissions(&fs, fs::Permissions::from_mode(0o755)).with_context(|| format!("open {}", fs.display()))?;
        let unpacked = layer::unpack(archive.member(&blob.member)?, &fs)?;
        let damaged = blob.digest.as_ref().filter(|promised| **promised != unpacked.blob.digest);
        anyhow::ensure!(damaged.is_none(), "it is damaged: its digest is {}", unpacked.blob.digest);
        anyhow::ensure!(
            unpacked.diff_id == blob.diff_id,
            "it is damaged: the digest of its content is {} instead of {}",
            unpacked.diff_id,
            blob.diff_id
        );
        let record = LayerRecord { diff_id: blob.diff_id.clone(), size: unpacked.size };
        let text = serde_json::to_vec(&record).context("write layer.json")?;
        atomic_file::write(&staged.join("layer.json"), &text).context("write layer.json")?;
        let layer = self.layer(&blob.diff_id);
        fs::rename(&staged, &layer).with_context(|| format!("move the layer to {}", layer.display()))
    }

    fn layer_record(&self, diff_id: &str) -> anyhow::Result<Option<LayerRecord>> {
        let path = self.layer(diff_id).join("layer.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let record: LayerRecord = serde_json::from_slice(&text).with_context(|| format!("understand {}", path.display()))?;
        anyhow::ensure!(record.diff_id == diff_id, "{} is the layer {}, not {diff_id}", path.display(), record.diff_id);
        Ok(Some(record))
    }

    fn layer(&self, diff_id: &str) -> PathBuf {
        let digits: String = diff_id.trim_start_matches("sha256:").chars().take(LAYER_DIGITS).collect();
        self.dir.join("layers").join(digits)
    }

    fn config(&self, id: &str) -> PathBuf {
        self.dir.join("configs").join(format!("{}.json", id.trim_start_matches("sha256:")))
    }

    fn write_names(&self, images: BTreeMap<String, Entry>) -> anyhow::Result<()> {
        let path = self.dir.join("names.json");
        let text = serde_json::to_vec(&Names { version: VERSION, images }).context("write names.json")?;
        atomic_file::write(&path, &text).with_context(|| format!("write {}", path.display()))
    }
}
