//! Archives that lie, break off, or want out: refused in one line, with nothing left of them and nothing touched outside.

use std::fs;
use std::path::Path;

use serde_json::json;
use tar::EntryType;

use crate::archives::{Archive, Layer, digest, gzip};
use crate::node::{Node, entries};

/// Every file below a directory.
fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in entries(dir) {
        found.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            found.extend(tree(&path));
        }
    }
    found
}

fn good() -> Layer {
    Layer::new().dir("bin").file("bin/sh", "x")
}

/// Loads bytes, which must be refused with a line that says this, and leave everything as it was.
fn refuse(node: &Node, what: &str, bytes: &[u8], words: &str) {
    let archive = node.scratch.join("hostile.tar");
    fs::write(&archive, bytes).unwrap();
    let before = tree(node.scratch.path());
    let error = node.refused(&["image", "load", "-i", archive.to_str().unwrap()]);
    assert!(error.contains(words), "{what}: {error}");
    assert!(error.starts_with("hshim: image load ") && error.lines().count() == 1, "{what}: {error}");
    assert_eq!(tree(node.scratch.path()), before, "{what}");
}

#[test]
fn a_layer_that_wants_out_is_refused() {
    let Some(node) = Node::with_busybox() else { return };
    let victim = node.scratch.join("victim");
    fs::write(&victim, "untouched").unwrap();
    let climb = "../".repeat(12);
    let outside = victim.display().to_string();
    let rows: [(&str, Layer, &str); 14] = [
        ("a path with ..", good().file("a/../../victim", "evil"), "the path leads out of the layer"),
        ("a directory ..", good().dir(".."), "the path leads out of the layer"),
        ("a whiteout of ..", good().file(".wh...", ""), "a whiteout of nothing"),
        ("a link that climbs", good().symlink("a", &format!("{climb}tmp")), "the symbolic link leads out of the layer"),
        ("a link that climbs by one", good().symlink("bin/a", "../../x"), "the symbolic link leads out of the layer"),
        ("a hard link with ..", good().hard_link("a", "../../victim"), "the path leads out of the layer"),
        ("a hard link to a file of the node", good().hard_link("a", &outside), "which is not in the layer"),
        ("a hard link to nothing", good().hard_link("a", "nothing"), "which is not in the layer"),
        ("a hard link to a directory", good().hard_link("a", "bin"), "a hard link to the directory bin"),
        ("a path through a file", good().file("bin/sh/x", "evil"), "bin/sh is not a directory"),
        ("a path through a dangling link", good().symlink("a", "/nowhere").file("a/x", "evil"), "a is not a directory"),
        ("an entry of no kind", good().entry(EntryType::new(b'Z'), "z", "", b""), "an entry of the unknown type"),
        ("a layer that breaks off", good().file("big", &"x".repeat(5000)).truncated(3000), "unexpected EOF"),
        ("no tar at all", Layer::new().append(&tar::Header::new_old(), &[7; 600]), "read the layer"),
    ];
    for (what, layer, words) in rows {
        refuse(&node, what, &Archive::docker("evil", &[layer.bytes()]).bytes(), words);
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
}

#[test]
fn a_link_to_the_nodes_files_leads_nowhere_but_into_the_layer() {
    let Some(node) = Node::new() else { return };
    let victim = node.scratch.join("victim");
    fs::create_dir(&victim).unwrap();
    let target = victim.display().to_string();
    let inner = target.trim_start_matches('/');
    // Absolute links are honest: they mean the image's own root.
    let layer = Layer::new().dir(inner).symlink("way", &target).file("way/file", "inside").hard_link("again", "way/file");
    let layer = layer.with_attribute("SCHILY.xattr.trusted.overlay.redirect", "/etc", "marked");
    let archive = node.scratch.join("image.tar");
    Archive::docker("honest", &[layer.bytes()]).write(&archive);
    node.ok(&["image", "load", "-i", archive.to_str().unwrap()]);
    assert_eq!(entries(&victim), [""; 0].map(std::path::PathBuf::from));
    let fs_dir = entries(&node.data().join("images/layers")).remove(0).join("fs");
    assert_eq!(fs::read_to_string(fs_dir.join(inner).join("file")).unwrap(), "inside");
    assert_eq!(fs::read_to_string(fs_dir.join("again")).unwrap(), "inside");
    let attributes = std::process::Command::new("getfattr").args(["-d", "-m", "-"]).arg(fs_dir.join("marked")).output();
    if let Ok(output) = attributes {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "what overlayfs reads is not taken over");
    }
}

/// An archive with another content of one of its files.
fn swapped(archive: Archive, name: &str, bytes: &[u8]) -> Vec<u8> {
    let files = archive.0.into_iter().map(|(file, old)| if file == name { (file, bytes.to_vec()) } else { (file, old) });
    Archive(files.collect()).bytes()
}

type Row = (&'static str, Vec<u8>, &'static str);

fn refuse_all(rows: Vec<Row>) {
    let Some(node) = Node::with_busybox() else { return };
    for (what, bytes, words) in rows {
        refuse(&node, what, &bytes, words);
    }
}

#[test]
fn a_docker_archive_that_lies_is_refused() {
    let layer = good().bytes();
    let other = good().file("more", "x").bytes();
    let docker = || Archive::docker("evil", std::slice::from_ref(&layer));
    let manifest = |field: &str, value: serde_json::Value| docker().edit("manifest.json", |m| m[0][field] = value).bytes();
    let config = docker().0[0].0.clone();
    let twice = json!(["0/layer.tar", "0/layer.tar"]);
    refuse_all(vec![
        ("another layer", swapped(docker(), "0/layer.tar", &other), "is damaged: the digest of its content is"),
        ("another config", swapped(docker(), &config, b"{}"), "is damaged: its digest is"),
        ("no layer", manifest("Layers", json!([])), "an image in it has no layer"),
        ("too many layers", manifest("Layers", twice), "has 2 layers, but its configuration has 1"),
        ("a missing layer", docker().without("0/layer.tar").bytes(), "the layer 0/layer.tar is missing in it"),
        ("a missing config", docker().without(&config).bytes(), "the archive has no"),
        ("a wrong name", manifest("RepoTags", json!(["../../evil"])), "is not the name of an image"),
        ("no name", manifest("RepoTags", json!(null)), "has no name: give it one with --tag"),
        ("no JSON", swapped(docker(), "manifest.json", b"{"), "understand manifest.json in it"),
        ("broken gzip", [gzip(&docker().bytes()).get(..200).unwrap(), &[0; 9]].concat(), "read "),
    ]);
}

#[test]
fn an_oci_layout_that_lies_is_refused() {
    let layer = good().bytes();
    let blob = gzip(&layer);
    let oci = || Archive::oci("evil", std::slice::from_ref(&layer), std::slice::from_ref(&blob));
    let blob_name = format!("blobs/{}", digest(&blob).replace(':', "/"));
    let with_digest = |digest: String| oci().edit("index.json", |index| index["manifests"][0]["digest"] = json!(digest)).bytes();
    let mut flipped = blob.clone();
    *flipped.last_mut().unwrap() ^= 1;
    refuse_all(vec![
        ("another blob", swapped(oci(), &blob_name, &gzip(b"x")), "is damaged"),
        ("a flipped bit", swapped(oci(), &blob_name, &flipped), "the layer "),
        ("another manifest", with_digest(digest(b"x")), "the archive has no blobs/sha256/"),
        ("a digest that is a path", with_digest("sha256:../../../etc/passwd".into()), "index.json"),
        ("a digest of another kind", with_digest(format!("sha512:{}", "a".repeat(128))), "is not a sha256 digest"),
        ("a missing layer", oci().without(&blob_name).bytes(), "is missing in it"),
    ]);
}

#[test]
fn what_is_no_archive_of_an_image_is_refused() {
    let member = |name: &str| (name.to_owned(), vec![1]);
    let device = Layer::new().entry(EntryType::Char, "manifest.json", "", b"");
    refuse_all(vec![
        ("nothing known", Archive(vec![member("x")]).bytes(), "neither a manifest.json (docker save) nor an index.json"),
        ("a member outside", Archive(vec![member("../x")]).bytes(), "would lie outside"),
        ("a member twice", Archive(vec![member("x"), member("x")]).bytes(), "it has x twice"),
        ("a link outside", Layer::new().symlink("manifest.json", "/etc/passwd").bytes(), "leads outside"),
        ("a link to itself", Layer::new().symlink("manifest.json", "manifest.json").bytes(), "neither a manifest.json"),
        ("a device", device.bytes(), "neither a file nor a directory nor a link"),
        ("nothing", Vec::new(), "it is empty"),
        ("no tar", b"hello".to_vec(), "is not an image archive"),
        ("zstd", b"\x28\xb5\x2f\xfd\0\0\0\0".to_vec(), "it is compressed with zstd, which is not supported"),
    ]);
}

#[test]
fn a_load_that_was_killed_leaves_nothing_that_the_next_one_keeps() {
    let Some(node) = Node::with_busybox() else { return };
    let staged = node.data().join("images/staging/layer/fs/half");
    fs::create_dir_all(&staged).unwrap();
    let archive = node.scratch.join("image.tar");
    Archive::docker("good", &[good().bytes()]).write(&archive);
    node.ok(&["image", "load", "-i", archive.to_str().unwrap()]);
    assert_eq!(entries(&node.data().join("images/staging")).len(), 0);
}
