//! tmpcopyup: a tmpfs that begins with what the image has there (runc's own; podman's `--read-only` asks for it).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use hshim_tests::bundle::Bundle;

use crate::support::*;

/// A container whose image has files in /data, over which a tmpfs is mounted with these options.
fn bundle_with_data(script: &str, options: &[&str]) -> Bundle {
    let mut bundle = Bundle::new(script);
    let data = bundle.rootfs().join("data");
    fs::create_dir_all(data.join("sub/deep")).unwrap();
    fs::write(data.join("file"), "of the image").unwrap();
    fs::write(data.join("sub/deep/file"), "deep").unwrap();
    symlink("file", data.join("link")).unwrap();
    let mut all = vec!["tmpcopyup", "nosuid"];
    all.extend(options);
    bundle.edit(|config| {
        push(&mut config["mounts"], json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": all}));
    });
    bundle
}

fn set(path: &Path, owner: u32, mode: u32) {
    chown(path, Some(owner), Some(owner + 1)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_tmpfs_begins_with_what_the_image_has() {
    needs_containers!();
    let bundle = bundle_with_data("cat /data/file /data/sub/deep/file /data/link; grep -c ' /data tmpfs' /proc/mounts", &[]);
    assert_eq!(bundle.says(), "of the imagedeepof the image1");
}

#[test]
fn what_is_written_does_not_reach_the_image() {
    needs_containers!();
    let bundle = bundle_with_data("echo new > /data/file; rm -r /data/sub; cat /data/file", &[]);
    assert_eq!(bundle.says(), "new");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("data/file")).unwrap(), "of the image");
    assert!(bundle.rootfs().join("data/sub/deep/file").exists());
}

#[test]
fn owners_and_modes_are_the_images() {
    needs_containers!();
    let bundle = bundle_with_data("cd /data; stat -c '%n %u:%g %a' file sub link; stat -c %a .", &[]);
    let data = bundle.rootfs().join("data");
    set(&data.join("file"), 5, 0o4640);
    set(&data.join("sub"), 7, 0o1710);
    lchown(data.join("link"), Some(9), Some(10)).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o1750)).unwrap();
    assert_eq!(bundle.says(), "file 5:6 4640\nsub 7:8 1710\nlink 9:10 777\n1750");
}

#[test]
fn times_and_the_owner_of_the_directory_itself_are_the_images() {
    only_hshim!("runc sets neither");
    needs_containers!();
    let bundle = bundle_with_data("stat -c %Y /data/file /data/sub; stat -c %u:%g /data", &[]);
    let data = bundle.rootfs().join("data");
    chown(&data, Some(33), Some(34)).unwrap();
    let time = |name: &str| fs::metadata(data.join(name)).unwrap().mtime();
    let wanted = format!("{}\n{}\n33:34", time("file"), time("sub"));
    assert_eq!(bundle.says(), wanted);
}

#[test]
fn a_mode_that_is_asked_for_is_kept() {
    only_hshim!("runc takes the image's all the same");
    needs_containers!();
    let bundle = bundle_with_data("stat -c '%a %u' /data; cat /data/file", &["mode=711", "uid=3"]);
    assert_eq!(bundle.says(), "711 3\nof the image");
}

#[test]
fn a_link_that_leads_out_of_the_image_is_copied_as_a_link() {
    needs_containers!();
    let bundle = bundle_with_data("readlink /data/out; readlink /data/up; ls /data/out 2>&1 | grep -c secret", &[]);
    let outside = bundle.scratch.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, bundle.rootfs().join("data/out")).unwrap();
    symlink("../../../../../../etc/shadow", bundle.rootfs().join("data/up")).unwrap();
    let output = bundle.run();
    assert_eq!(stdout(&output), format!("{}\n../../../../../../etc/shadow\n0\n", outside.display()));
}

#[test]
fn a_link_instead_of_the_directory_is_followed_inside_the_root() {
    needs_containers!();
    let mut bundle = bundle!("cat /var/run/file; grep -c ' /run tmpfs' /proc/mounts");
    fs::create_dir_all(bundle.rootfs().join("run")).unwrap();
    fs::create_dir_all(bundle.rootfs().join("var")).unwrap();
    fs::write(bundle.rootfs().join("run/file"), "in /run").unwrap();
    symlink("/run", bundle.rootfs().join("var/run")).unwrap();
    bundle.edit(|config| {
        push(
            &mut config["mounts"],
            json!({"destination": "/var/run", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
        );
    });
    assert_eq!(bundle.says(), "in /run1");
}

#[test]
fn what_an_earlier_mount_has_there_is_copied() {
    needs_containers!();
    let mut bundle = bundle!("cat /v/sub/file; echo new > /v/sub/file");
    let volume = bundle.scratch.join("volume");
    fs::create_dir_all(volume.join("sub")).unwrap();
    fs::write(volume.join("sub/file"), "of the volume").unwrap();
    bundle.edit(|config| {
        let source = volume.display().to_string();
        push(&mut config["mounts"], json!({"destination": "/v", "type": "bind", "source": source, "options": ["bind"]}));
        push(
            &mut config["mounts"],
            json!({"destination": "/v/sub", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
        );
    });
    assert_eq!(bundle.says(), "of the volume");
    assert_eq!(fs::read_to_string(volume.join("sub/file")).unwrap(), "of the volume");
}

#[test]
fn later_mounts_stand_in_the_copy() {
    needs_containers!();
    let mut bundle = bundle_with_data("cat /data/sub/deep/file /data/bound; stat -c %u /data/sub", &[]);
    let outside = bundle.scratch.join("outside");
    fs::write(&outside, "+bound").unwrap();
    set(&bundle.rootfs().join("data/sub"), 7, 0o755);
    bundle.edit(|config| {
        let bind = |destination: &str| {
            json!({"destination": destination, "type": "bind", "source": outside.display().to_string(), "options": ["bind"]})
        };
        push(&mut config["mounts"], bind("/data/sub/deep/file"));
        push(&mut config["mounts"], bind("/data/bound"));
    });
    assert_eq!(bundle.says(), "+bound+bound7");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "+bound");
}

#[test]
fn a_mount_below_follows_the_links_of_the_image() {
    needs_containers!();
    let mut bundle = bundle_with_data("cat /data/elsewhere/sub/file; grep -c ' /elsewhere/sub ' /proc/mounts", &[]);
    fs::create_dir(bundle.rootfs().join("elsewhere")).unwrap();
    symlink("/elsewhere", bundle.rootfs().join("data/elsewhere")).unwrap();
    let volume = bundle.scratch.join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "bound").unwrap();
    bundle.edit(|config| {
        push(
            &mut config["mounts"],
            json!({"destination": "/data/elsewhere/sub", "type": "bind", "source": volume.display().to_string(), "options": ["bind"]}),
        );
    });
    assert_eq!(bundle.says(), "bound1");
}

#[test]
fn a_read_only_one_is_filled_and_read_only() {
    needs_containers!();
    let bundle = bundle_with_data("cat /data/file; touch /data/new 2>/dev/null; echo $?", &["ro"]);
    assert_eq!(bundle.says(), "of the image1");
}

#[test]
fn a_root_that_is_read_only_is_no_hindrance() {
    needs_containers!();
    let mut bundle = bundle_with_data("cat /data/file; echo; echo more > /data/more && cat /data/more", &[]);
    bundle.edit(|config| config["root"]["readonly"] = json!(true));
    assert_eq!(bundle.says(), "of the image\nmore");
}

#[test]
fn a_tmpfs_that_is_too_small_is_an_error_that_says_so() {
    needs_containers!();
    let bundle = bundle_with_data("true", &["size=16k"]);
    fs::write(bundle.rootfs().join("data/large"), vec![1; 100_000]).unwrap();
    let errors = bundle.fails();
    assert!(errors.contains("no space left on device") && errors.contains("/data"), "{errors}");
    if judges_hshim() {
        assert!(errors.contains("large") && errors.contains("size"), "{errors}");
    }
    assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0));
}

#[test]
fn a_directory_that_the_image_lacks_is_an_empty_one() {
    needs_containers!();
    let mut bundle = bundle!("ls -a /none | wc -l");
    bundle.edit(|config| {
        push(
            &mut config["mounts"],
            json!({"destination": "/none", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
        );
    });
    assert_eq!(bundle.says(), "2");
}

#[test]
fn one_below_another_is_filled_too() {
    needs_containers!();
    let mut bundle = bundle_with_data("cat /data/file /data/sub/deep/file; grep -c ' /data' /proc/mounts", &[]);
    bundle.edit(|config| {
        push(
            &mut config["mounts"],
            json!({"destination": "/data/sub", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
        );
    });
    assert_eq!(bundle.says(), "of the imagedeep2");
}

#[test]
fn it_works_in_a_user_namespace() {
    needs_containers!();
    let mut bundle = bundle_with_data("cat /data/file; stat -c ' %u:%g %a' /data/file; id -u", &[]);
    bundle.edit(|config| {
        namespaces(config).push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        (config["linux"]["uidMappings"], config["linux"]["gidMappings"]) = (map.clone(), map);
    });
    let data = bundle.rootfs().join("data");
    for entry in ["", "sub", "sub/deep", "sub/deep/file", "link"] {
        lchown(data.join(entry), Some(100_000), Some(100_000)).unwrap();
    }
    lchown(bundle.rootfs(), Some(100_000), Some(100_000)).unwrap();
    set(&data.join("file"), 100_005, 0o644);
    assert_eq!(bundle.says(), "of the image 5:6 644\n0");
}

#[test]
fn the_working_directory_and_the_command_may_be_in_it() {
    needs_containers!();
    let mut bundle = bundle_with_data("true", &[]);
    fs::write(bundle.rootfs().join("data/sub/tool"), "#!/bin/sh\npwd; echo $0\n").unwrap();
    set(&bundle.rootfs().join("data/sub/tool"), 0, 0o755);
    bundle.edit(|config| {
        config["process"]["cwd"] = json!("/data/sub");
        config["process"]["args"] = json!(["./tool"]);
    });
    assert_eq!(bundle.says(), "/data/sub\n./tool");
    bundle.edit(|config| {
        config["process"]["args"] = json!(["tool"]);
        config["process"]["env"] = json!(["PATH=/data/sub:/bin"]);
    });
    assert_eq!(bundle.says(), "/data/sub\n/data/sub/tool");
}

#[test]
fn it_is_for_a_tmpfs_only() {
    only_hshim!("runc passes it over elsewhere");
    needs_containers!();
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        push(
            &mut config["mounts"],
            json!({"destination": "/v", "type": "bind", "source": "/usr", "options": ["bind", "tmpcopyup"]}),
        );
    });
    assert!(bundle.fails().contains("tmpcopyup is for a tmpfs only"));
}
