//! Image archives made by hand: several layers, wrong digests, entries that no tool would write.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// A layer as a tar.
pub(crate) struct Layer(Vec<u8>);

impl Layer {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, b"")
    }

    /// Any entry; names are written as they are.
    pub(crate) fn entry(self, kind: EntryType, path: &str, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_mtime(1_000_000);
        header.set_cksum();
        self.append(&header, content)
    }

    /// An entry with a PAX attribute before it.
    pub(crate) fn with_attribute(self, key: &str, value: &str, path: &str) -> Self {
        let body = format!(" {key}={value}\n");
        let length = (1..).find(|length| length.to_string().len() + body.len() == *length).unwrap();
        let record = format!("{length}{body}");
        self.entry(EntryType::XHeader, "pax", "", record.as_bytes()).file(path, "x")
    }

    pub(crate) fn append(mut self, header: &Header, content: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Cut off in the middle.
    pub(crate) fn truncated(mut self, length: usize) -> Self {
        self.0.truncate(length);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

/// Files of an archive, to be changed before they are written.
pub(crate) struct Archive(pub(crate) Vec<(String, Vec<u8>)>);

impl Archive {
    /// As `docker save`: the lowest layer first.
    pub(crate) fn docker(reference: &str, layers: &[Vec<u8>]) -> Self {
        let config = configuration(layers);
        let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
        let name = format!("{}.json", hex(&config));
        let manifest = json!([{"Config": name, "RepoTags": [reference], "Layers": names}]);
        let mut files = vec![(name, config), ("manifest.json".to_owned(), manifest.to_string().into_bytes())];
        files.extend(names.into_iter().zip(layers.iter().cloned()));
        Self(files)
    }

    /// As an OCI layout; the blobs of layers may be compressed.
    pub(crate) fn oci(reference: &str, layers: &[Vec<u8>], blobs: &[Vec<u8>]) -> Self {
        let config = configuration(layers);
        let descriptor = |media: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{media}"), "digest": digest(bytes), "size": bytes.len()});
        let blob_descriptors: Vec<Value> = blobs.iter().map(|blob| descriptor("layer.v1.tar+gzip", blob)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", &config), "layers": blob_descriptors})
        .to_string();
        let mut entry = descriptor("manifest.v1+json", manifest.as_bytes());
        entry["annotations"] = json!({"io.containerd.image.name": reference});
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        let mut files = vec![("index.json".to_owned(), index.into_bytes())];
        for blob in blobs.iter().chain([&config, &manifest.into_bytes()]) {
            files.push((format!("blobs/sha256/{}", hex(blob)), blob.clone()));
        }
        Self(files)
    }

    /// Changes a file of the archive in the text.
    pub(crate) fn edit(mut self, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let (_, bytes) = self.0.iter_mut().find(|(file, _)| file == name).unwrap();
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        change(&mut value);
        *bytes = value.to_string().into_bytes();
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(file, _)| file != name);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let tar = self.0.iter().fold(Layer::new(), |tar, (name, bytes)| tar.entry(EntryType::Regular, name, "", bytes));
        tar.bytes()
    }

    pub(crate) fn write(&self, path: &Path) {
        fs::write(path, self.bytes()).unwrap();
    }
}

/// By the machine's gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

fn configuration(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    // Docker writes null where there is nothing.
    json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"], "Volumes": null, "Entrypoint": null},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string()
    .into_bytes()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
