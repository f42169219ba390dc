//! The harness itself on the runtime under test: one container lives, is seen, ends and is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use hshim_tests::bundle::Bundle;
use hshim_tests::image::Image;
use hshim_tests::scratch::Scratch;
use hshim_tests::{skip, wait};

#[test]
fn a_container_lives_is_seen_ends_and_is_gone() {
    if let Some(why) = skip::why_no_containers() {
        hshim_tests::skip!("{why}");
    }
    let bundle = Bundle::new("echo hello; sleep 1000");
    assert_eq!(bundle.status(), "absent");
    bundle.create();
    assert_eq!(bundle.status(), "created");
    assert!(!bundle.cgroups().is_empty(), "it has a cgroup");
    bundle.ok(&["start", bundle.id()]);
    wait::until("its output arrives", || bundle.stdout() == "hello\n");
    assert_eq!(bundle.status(), "running");
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    wait::until("it ends", || bundle.status() == "stopped");
    bundle.ok(&["delete", bundle.id()]);
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}

#[test]
fn images_of_both_forms_are_tar_archives() {
    if let Some(why) = skip::why_no_containers() {
        hshim_tests::skip!("{why}");
    }
    let scratch = Scratch::new();
    let image = Image::busybox("registry.k8s.io/busybox:latest");
    image.write_docker_archive(&scratch.join("docker.tar"));
    image.write_oci_archive(&scratch.join("oci.tar"));
    for (archive, entry) in [("docker.tar", "manifest.json"), ("oci.tar", "index.json")] {
        let mut tar = tar::Archive::new(std::fs::File::open(scratch.join(archive)).unwrap());
        let names: Vec<_> = tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert!(names.iter().any(|name| name == entry), "{archive}: {names:?}");
    }
}
