//! Images of the busybox root file system, as `docker save` and as an OCI layout.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

use crate::rootfs;
use crate::scratch::Scratch;

/// What an image says about itself.
#[derive(Clone, Debug)]
pub struct Image {
    /// `name:tag`, as in `docker save`.
    pub reference: String,
    /// The object `config` of its configuration: `Cmd`, `Entrypoint`, `Env`, `User`, `WorkingDir` …
    pub config: Value,
}

impl Image {
    /// Busybox under this name, with a shell as its command.
    #[must_use]
    pub fn busybox(reference: &str) -> Self {
        let config = json!({"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]});
        Self { reference: reference.to_owned(), config }
    }

    /// Writes it as `docker save` would.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn write_docker_archive(&self, path: &Path) {
        let layer = layer();
        let config = self.configuration(&layer);
        let config_name = format!("{}.json", hex(&config));
        let manifest = json!([{"Config": config_name, "RepoTags": [self.reference], "Layers": ["layer/layer.tar"]}]).to_string();
        let mut tar = Builder::new(File::create(path).expect("create the archive"));
        add(&mut tar, &config_name, &config);
        add(&mut tar, "layer/layer.tar", &layer);
        add(&mut tar, "manifest.json", manifest.as_bytes());
        tar.into_inner().and_then(|mut file| file.flush()).expect("finish the archive");
    }

    /// Writes it as a tar of an OCI image layout (image-spec, image-layout.md).
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn write_oci_archive(&self, path: &Path) {
        let layer = layer();
        let config = self.configuration(&layer);
        let descriptor = |media: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{media}"), "digest": digest(bytes), "size": bytes.len()});
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", &config), "layers": [descriptor("layer.v1.tar", &layer)]})
        .to_string();
        let mut entry = descriptor("manifest.v1+json", manifest.as_bytes());
        entry["annotations"] =
            json!({"org.opencontainers.image.ref.name": self.reference, "io.containerd.image.name": self.reference});
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        let mut tar = Builder::new(File::create(path).expect("create the archive"));
        add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        add(&mut tar, "index.json", index.as_bytes());
        for blob in [manifest.as_bytes(), &config, &layer] {
            add(&mut tar, &format!("blobs/sha256/{}", hex(blob)), blob);
        }
        tar.into_inner().and_then(|mut file| file.flush()).expect("finish the archive");
    }

    fn configuration(&self, layer: &[u8]) -> Vec<u8> {
        json!({"architecture": "amd64", "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]}})
        .to_string()
        .into_bytes()
    }
}

/// A tar of the busybox root file system.
fn layer() -> Vec<u8> {
    let scratch = Scratch::new();
    let root = scratch.join("root");
    fs::create_dir(&root).expect("make the layer's directory");
    rootfs::make(&root);
    let mut tar = Builder::new(Vec::new());
    tar.follow_symlinks(false);
    tar.append_dir_all(".", &root).expect("archive the layer");
    tar.into_inner().expect("finish the layer")
}

fn add(tar: &mut Builder<File>, name: &str, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes).expect("add to the archive");
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
