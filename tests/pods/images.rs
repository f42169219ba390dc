//! Images in all their forms, and what a container sees of their layers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use hshim_tests::image::Image;
use serde_json::Value;
use tar::EntryType;

use crate::archives::{Archive, Layer, gzip};
use crate::node::{Node, Said, entries};

fn pod(image: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: c\n    image: {image}\n    \
         command: [/bin/sh, -c]\n    args:\n    - |\n      {}\n      echo done\n",
        script.replace('\n', "\n      ")
    )
}

/// Name and id of each image.
fn images(node: &Node) -> Vec<(String, String)> {
    let list: Value = serde_json::from_str(&node.ok(&["image", "ls", "-o", "json"])).unwrap();
    let text = |image: &Value, field: &str| image[field].as_str().unwrap().to_owned();
    list["images"].as_array().unwrap().iter().map(|image| (text(image, "name"), text(image, "id"))).collect()
}

#[test]
fn one_image_is_the_same_in_every_form() {
    let Some(node) = Node::new() else { return };
    let layers = [busybox_layer(&node)];
    let (docker, oci) = (node.scratch.join("docker.tar"), node.scratch.join("oci.tar"));
    Archive::docker("busybox:1.0", &layers).write(&docker);
    Archive::oci("busybox:1.0", &layers, &[gzip(&layers[0])]).write(&oci);
    let zipped = node.scratch.join("docker.tar.gz");
    fs::write(&zipped, gzip(&fs::read(&docker).unwrap())).unwrap();
    for (archive, name) in [(&docker, "a"), (&oci, "b:2"), (&zipped, "registry.k8s.io/c:v1")] {
        node.ok(&["image", "load", "-i", archive.to_str().unwrap(), "--tag", name]);
    }
    let piped =
        node.command(&["image", "load", "-i", "-"]).stdin(Stdio::from(fs::File::open(&zipped).unwrap())).output().unwrap();
    assert_eq!(Said::of(piped).out, "Loaded image: docker.io/library/busybox:1.0\n");
    let images = images(&node);
    let names: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["docker.io/library/a:latest", "docker.io/library/b:2", "docker.io/library/busybox:1.0", "registry.k8s.io/c:v1"]
    );
    assert!(images.iter().all(|(_, id)| *id == images[0].1), "{images:?}");
    assert_eq!(entries(&node.data().join("images/layers")).len(), 1, "unpacked once");
    let table = node.ok(&["image", "ls"]);
    assert!(table.starts_with("IMAGE                       TAG         IMAGE ID       SIZE\n"), "{table}");
    assert!(table.contains("registry.k8s.io/c           v1          "), "{table}");
}

#[test]
fn removing_the_last_name_removes_the_image() {
    let Some(node) = Node::with_busybox() else { return };
    let archive = node.scratch.join("image.tar");
    Image::busybox("other:1").write_docker_archive(&archive);
    node.ok(&["image", "load", "-i", archive.to_str().unwrap()]);
    assert_eq!(node.ok(&["image", "rm", "busybox"]), "Removed image: docker.io/library/busybox:latest\n");
    assert_eq!(entries(&node.data().join("images/layers")).len(), 1);
    let id = images(&node)[0].1.clone();
    let short = id.trim_start_matches("sha256:").get(..12).unwrap();
    assert_eq!(node.ok(&["image", "rm", short]), "Removed image: docker.io/library/other:1\n");
    for dir in ["layers", "configs", "staging"] {
        assert_eq!(entries(&node.data().join("images").join(dir)).len(), 0, "{dir}");
    }
    assert_eq!(
        node.refused(&["image", "rm", "busybox"]),
        "hshim: there is no image busybox: \"hshim image ls\" shows what there is\n"
    );
    assert_eq!(node.ok(&["image", "ls", "-o", "name"]), "");
}

#[test]
fn an_image_in_use_stays() {
    let Some(node) = Node::with_busybox() else { return };
    node.apply(&pod("busybox", "sleep 1000"));
    let error = node.refused(&["image", "rm", "busybox"]);
    assert!(error.contains("is used by pod/p in namespace default: delete that first"), "{error}");
    // The name moves on to another image: the layers that the pod stands on stay.
    let layers = [Layer::new().dir("bin").file("bin/sh", "#!/nothing\n").bytes()];
    let archive = node.scratch.join("new.tar");
    Archive::docker("busybox:latest", &layers).write(&archive);
    node.ok(&["image", "load", "-i", archive.to_str().unwrap()]);
    assert_eq!(entries(&node.data().join("images/layers")).len(), 2);
    node.delete("p");
    node.ok(&["image", "rm", "busybox"]);
    assert_eq!(entries(&node.data().join("images/layers")).len(), 0);
}

/// The busybox layer of the harness, taken out of its archive.
fn busybox_layer(node: &Node) -> Vec<u8> {
    let path = node.scratch.join("busybox.tar");
    Image::busybox("x").write_docker_archive(&path);
    let mut tar = tar::Archive::new(fs::File::open(&path).unwrap());
    let layer = tar.entries().unwrap().map(Result::unwrap).find(|entry| entry.path().unwrap().ends_with("layer.tar"));
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut layer.unwrap(), &mut bytes).unwrap();
    bytes
}

#[test]
fn upper_layers_hide_change_and_take_back_what_lower_ones_have() {
    let Some(node) = Node::new() else { return };
    let below = Layer::new()
        .dir("d")
        .file("d/gone", "1")
        .file("d/kept", "1")
        .file("d/changed", "old")
        .dir("opaque")
        .file("opaque/hidden", "1")
        .dir("replaced")
        .file("replaced/old", "1")
        .file("to-dir", "1");
    let above = Layer::new()
        .file("d/.wh.gone", "")
        .file("d/changed", "new")
        .dir("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/shown", "1")
        .file(".wh.replaced", "")
        .dir("replaced")
        .file("replaced/new", "1")
        .file(".wh.to-dir", "")
        .file("to-dir/inner", "1")
        .hard_link("linked", "d/changed")
        .symlink("absolute", "/d/kept")
        // No entry for its directory: it is made.
        .file("implied/parent/file", "1")
        .entry(EntryType::Fifo, "fifo", "", b"");
    let layers = [busybox_layer(&node), below.bytes(), above.bytes()];
    let blobs: Vec<Vec<u8>> = layers.iter().map(|layer| gzip(layer)).collect();
    let archive = node.scratch.join("image.tar");
    Archive::oci("layered:1", &layers, &blobs).write(&archive);
    node.ok(&["image", "load", "-i", archive.to_str().unwrap()]);
    node.apply(&pod(
        "layered:1",
        "echo d: $(ls d)\necho changed: $(cat d/changed)\necho opaque: $(ls opaque)\necho replaced: $(ls replaced)\n\
         echo to-dir: $(ls to-dir)\necho linked: $(cat linked)\necho absolute: $(cat absolute)\necho implied: $(ls implied/parent)\n\
         test -p fifo && echo a fifo",
    ));
    assert_eq!(
        node.log_until("p", "c", "done"),
        [
            "d: changed kept",
            "changed: new",
            "opaque: shown",
            "replaced: new",
            "to-dir: inner",
            "linked: new",
            "absolute: 1",
            "implied: file",
            "a fifo",
            "done"
        ]
    );
    node.delete_without_trace("p");
}

#[test]
fn owners_modes_times_and_file_capabilities_are_those_of_the_layer() {
    let Some(node) = Node::new() else { return };
    let mut header = tar::Header::new_ustar();
    header.as_ustar_mut().unwrap().name[..4].copy_from_slice(b"tool");
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o4755);
    header.set_uid(1000);
    header.set_gid(1001);
    header.set_size(1);
    header.set_mtime(1_000_000_000);
    header.set_cksum();
    let layer = Layer::new().append(&header, b"x").with_attribute("SCHILY.xattr.user.note", "kept", "noted");
    let archive = node.scratch.join("image.tar");
    Archive::docker("owned", &[layer.bytes()]).write(&archive);
    node.ok(&["image", "load", "-i", archive.to_str().unwrap()]);
    let layer = entries(&node.data().join("images/layers")).remove(0).join("fs");
    let found = fs::metadata(layer.join("tool")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid(), found.mtime()), (0o4755, 1000, 1001, 1_000_000_000));
    let note =
        std::process::Command::new("getfattr").args(["--only-values", "-n", "user.note"]).arg(layer.join("noted")).output();
    match note {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "kept"),
        Err(_) => println!("getfattr is not installed: the attribute was not looked at"),
    }
}
