//! root, mounts, devices, masked and read-only paths.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::*;

fn mount(config: &mut Value, mount: Value) {
    push(&mut config["mounts"], mount);
}

#[test]
fn a_read_only_root_cannot_be_written() {
    let bundle = bundle!("touch /made 2>&1; echo $?; touch /dev/shm/made && echo shm", root.readonly = true);
    let said = bundle.says();
    assert!(said.contains("Read-only file system\n1\nshm"), "{said}");
    assert!(!bundle.rootfs().join("made").exists());
}

#[test]
fn a_writable_root_is_the_bundles() {
    let bundle = bundle!("echo text > /made");
    bundle.says();
    assert_eq!(fs::read_to_string(bundle.rootfs().join("made")).unwrap(), "text\n");
}

#[test]
fn the_hosts_files_are_out_of_reach() {
    let bundle = bundle!("ls /; ls /../../..; [ -e /proc/1/root/usr/lib ] && echo host || echo jail");
    assert!(bundle.says().ends_with("jail"));
}

#[test]
fn mounts_are_made_in_their_order() {
    let mut bundle = bundle!("cat /a/b/file; [ -e /a/hidden ] || echo hidden");
    fs::create_dir_all(bundle.scratch.join("src")).unwrap();
    fs::write(bundle.scratch.join("src/file"), "inner\n").unwrap();
    fs::create_dir_all(bundle.rootfs().join("a")).unwrap();
    fs::write(bundle.rootfs().join("a/hidden"), "").unwrap();
    let source = bundle.scratch.join("src");
    bundle.edit(|config| {
        mount(config, json!({"destination": "/a", "type": "tmpfs", "source": "tmpfs"}));
        mount(config, json!({"destination": "/a/b", "type": "bind", "source": source, "options": ["rbind"]}));
    });
    assert_eq!(bundle.says(), "inner\nhidden");
}

#[test]
fn a_bind_mount_is_writable_unless_it_is_read_only() {
    let mut bundle = bundle!("touch /rw/made; touch /ro/other 2>&1");
    let source = bundle.scratch.join("src");
    fs::create_dir(&source).unwrap();
    bundle.edit(|config| {
        mount(config, json!({"destination": "/rw", "type": "bind", "source": source, "options": ["bind"]}));
        mount(config, json!({"destination": "/ro", "type": "bind", "source": source, "options": ["bind", "ro"]}));
    });
    let output = bundle.run();
    assert!(stdout(&output).contains("Read-only file system"), "{}", stdout(&output));
    assert!(source.join("made").exists() && !source.join("other").exists());
}

#[test]
fn a_file_can_be_bound() {
    let mut bundle = bundle!("cat /etc/bound");
    let source = bundle.scratch.join("file");
    fs::write(&source, "bound\n").unwrap();
    bundle.edit(|config| mount(config, json!({"destination": "/etc/bound", "source": source, "options": ["bind", "ro"]})));
    assert_eq!(bundle.says(), "bound");
}

#[test]
fn a_missing_mount_source_is_refused() {
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        mount(config, json!({"destination": "/x", "type": "bind", "source": "/no/such/dir", "options": ["bind"]}))
    });
    let errors = bundle.refused(&["create", bundle.id()]);
    assert!(errors.contains("/no/such/dir") || errors.contains("no such file"), "{errors}");
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_tmpfs_has_its_size_and_mode() {
    let mut bundle = bundle!("stat -c %a /t; grep ' /t ' /proc/mounts");
    bundle.edit(|config| {
        mount(
            config,
            json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "mode=1770", "nosuid"]}),
        );
    });
    let said = bundle.says();
    assert!(said.starts_with("1770\n") && said.contains("size=1024k") && said.contains("nosuid"), "{said}");
}

#[test]
fn mount_flags_are_set() {
    let mut bundle = bundle!("grep ' /t ' /proc/mounts");
    bundle.edit(|config| {
        mount(config, json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec", "noatime", "ro"]}));
    });
    let said = bundle.says();
    for flag in ["nosuid", "nodev", "noexec", "noatime", "ro"] {
        assert!(said.contains(flag), "{flag}: {said}");
    }
}

#[test]
fn flags_of_a_bind_mount_are_set() {
    let mut bundle = bundle!("grep ' /b ' /proc/mounts; /b/prog 2>&1");
    let source = bundle.scratch.join("src");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("prog"), "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(source.join("prog"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bundle.edit(|config| {
        mount(config, json!({"destination": "/b", "type": "bind", "source": source, "options": ["rbind", "noexec", "nosuid"]}))
    });
    let output = bundle.run();
    assert!(
        stdout(&output).contains("noexec") && stdout(&output).to_lowercase().contains("permission denied"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_recursive_bind_mount_brings_what_is_mounted_below() {
    let mut bundle = bundle!("cat /b/sub/file");
    let source = bundle.scratch.join("src");
    fs::create_dir_all(source.join("sub")).unwrap();
    nix::mount::mount(Some("tmpfs"), &source.join("sub"), Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    fs::write(source.join("sub/file"), "below\n").unwrap();
    bundle.edit(|config| mount(config, json!({"destination": "/b", "type": "bind", "source": source, "options": ["rbind"]})));
    assert_eq!(bundle.says(), "below");
}

#[test]
fn missing_mount_points_are_made() {
    let mut bundle = bundle!("grep -c ' /made/on/the/way ' /proc/mounts");
    bundle.edit(|config| mount(config, json!({"destination": "/made/on/the/way", "type": "tmpfs", "source": "tmpfs"})));
    assert_eq!(bundle.says(), "1");
}

#[test]
fn a_mount_point_behind_a_link_stays_inside() {
    let mut bundle = bundle!("grep -c '/inside' /proc/mounts");
    let outside = bundle.scratch.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bundle.rootfs().join("link")).unwrap();
    bundle.edit(|config| mount(config, json!({"destination": "/link/inside", "type": "tmpfs", "source": "tmpfs"})));
    bundle.run();
    assert!(!outside.join("inside").exists(), "written through a link to the host");
}

#[test]
fn mounts_of_the_container_are_not_seen_outside() {
    let mut bundle = bundle!("sleep 1000");
    bundle.edit(|config| mount(config, json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs"})));
    bundle.run_detached();
    assert!(bundle.scratch.mounts().is_empty());
}

/// The propagation of a mount point: the optional fields of its line in mountinfo.
const PROPAGATION: &str =
    "while read -r a b c d point rest; do [ \"$point\" = MOUNT ] && echo \"${rest%% - *}\"; done < /proc/self/mountinfo; true";

fn propagation_of(point: &str) -> String {
    PROPAGATION.replace("MOUNT", point)
}

#[test]
fn the_root_is_private_or_a_slave_by_default() {
    let bundle = bundle!(&propagation_of("/"));
    assert!(!bundle.says().contains("shared:"));
}

#[test]
fn the_root_is_shared_when_asked() {
    only_hshim!("runc 1.1 leaves it private where the host's root is");
    let bundle = bundle!(&propagation_of("/"), linux.rootfsPropagation = "shared");
    assert!(bundle.says().contains("shared:"));
}

#[test]
fn an_unknown_propagation_is_refused() {
    let bundle = bundle!("true", linux.rootfsPropagation = "nosuch");
    bundle.fails();
}

#[test]
fn a_mount_has_the_propagation_that_its_options_ask_for() {
    for (option, sign) in [("shared", "shared:"), ("rshared", "shared:"), ("private", ""), ("rprivate", "")] {
        let mut bundle = bundle!(&propagation_of("/b"));
        let source = bundle.scratch.join("src");
        fs::create_dir(&source).unwrap();
        bundle.edit(|config| {
            mount(config, json!({"destination": "/b", "type": "bind", "source": source, "options": ["rbind", option]}))
        });
        let said = bundle.says();
        assert_eq!(said.contains("shared:"), sign == "shared:", "{option}: {said}");
    }
}

#[test]
fn the_default_devices_are_there() {
    let bundle = bundle!("for d in null zero full random urandom tty; do stat -c '%n %F %a %t:%T' /dev/$d; done");
    let expected = "/dev/null character special file 666 1:3\n/dev/zero character special file 666 1:5\n\
        /dev/full character special file 666 1:7\n/dev/random character special file 666 1:8\n\
        /dev/urandom character special file 666 1:9\n/dev/tty character special file 666 5:0";
    assert_eq!(bundle.says(), expected);
}

#[test]
fn the_default_devices_work() {
    let bundle =
        bundle!("echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c; echo x 2>&1 > /dev/full");
    let output = bundle.run();
    assert!(stdout(&output).starts_with("3\n4\n"), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn the_links_in_dev_are_there() {
    let bundle = bundle!("for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done");
    assert_eq!(
        bundle.says().replace("/dev/pts/ptmx", "pts/ptmx"),
        "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx"
    );
}

#[test]
fn further_devices_are_made_as_written() {
    let mut bundle = bundle!("stat -c '%F %a %t:%T %u:%g' /dev/mine /dev/pipe /deep/down/disk");
    bundle.edit(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 12, "gid": 34},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o600, "uid": 0, "gid": 0},
            {"path": "/deep/down/disk", "type": "b", "major": 7, "minor": 200, "fileMode": 0o660, "uid": 0, "gid": 6}
        ]);
    });
    assert_eq!(bundle.says(), "character special file 640 1:3 12:34\nfifo 600 0:0 0:0\nblock special file 660 7:c8 0:6");
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened() {
    let mut bundle = bundle!("head -c 1 /dev/kmsg > /dev/null 2>&1; echo $?");
    bundle.edit(|config| {
        config["linux"]["devices"] =
            json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666, "uid": 0, "gid": 0}]);
    });
    assert_ne!(bundle.says(), "0");
}

#[test]
fn a_device_that_is_made_inside_cannot_be_opened_either() {
    let bundle = bundle!("mknod /k c 1 11 && head -c 1 /k 2>&1; echo; mknod /n c 1 3 && echo x > /n && echo null");
    let output = bundle.run();
    assert!(stdout(&output).contains("Operation not permitted") && stdout(&output).ends_with("null\n"), "{}", stdout(&output));
}

#[test]
fn an_allowed_device_can_be_opened() {
    let mut bundle = bundle!("echo x > /dev/mine && echo written");
    bundle.edit(|config| {
        config["linux"]["devices"] =
            json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}]);
        push(
            &mut config["linux"]["resources"]["devices"],
            json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}),
        );
    });
    assert_eq!(bundle.says(), "written");
}

#[test]
fn masked_files_read_as_empty() {
    let mut bundle = bundle!("wc -c < /secret; cat /proc/kcore | wc -c");
    fs::write(bundle.rootfs().join("secret"), "secret").unwrap();
    bundle.edit(|config| push(&mut config["linux"]["maskedPaths"], json!("/secret")));
    assert_eq!(bundle.says(), "0\n0");
}

#[test]
fn masked_directories_are_empty_and_read_only() {
    let mut bundle = bundle!("ls /secrets | wc -l; touch /secrets/x 2>&1");
    fs::create_dir(bundle.rootfs().join("secrets")).unwrap();
    fs::write(bundle.rootfs().join("secrets/a"), "").unwrap();
    bundle.edit(|config| push(&mut config["linux"]["maskedPaths"], json!("/secrets")));
    let output = bundle.run();
    assert!(stdout(&output).starts_with("0\n") && stdout(&output).contains("Read-only"), "{}", stdout(&output));
}

#[test]
fn masked_and_read_only_paths_that_are_missing_are_no_error() {
    let mut bundle = bundle!("echo fine");
    bundle.edit(|config| {
        push(&mut config["linux"]["maskedPaths"], json!("/no/such"));
        push(&mut config["linux"]["readonlyPaths"], json!("/no/such"));
    });
    assert_eq!(bundle.says(), "fine");
}

#[test]
fn read_only_paths_cannot_be_written() {
    let mut bundle = bundle!("touch /fixed/x 2>&1; echo 1 > /proc/sys/kernel/core_uses_pid; echo $?");
    fs::create_dir(bundle.rootfs().join("fixed")).unwrap();
    bundle.edit(|config| push(&mut config["linux"]["readonlyPaths"], json!("/fixed")));
    let output = bundle.run();
    assert!(stdout(&output).contains("Read-only") && stdout(&output).ends_with("1\n"), "{}", stdout(&output));
}

#[test]
fn special_file_systems_are_mounted() {
    let bundle = bundle!(
        "for t in 'proc /proc' 'devpts /dev/pts' 'mqueue /dev/mqueue' 'sysfs /sys'; do set -- $t; grep -c \" $2 $1 \" /proc/mounts; done"
    );
    assert_eq!(bundle.says(), "1\n1\n1\n1");
}

#[test]
fn without_pivot_root_the_host_is_out_of_reach_too() {
    let bundle = bundle!("ls /; [ -e /usr/lib ] && echo host || echo jail");
    let output = bundle.runtime(&["run", "--no-pivot", bundle.id()]);
    assert!(stdout(&output).ends_with("jail\n"), "{}{}", stdout(&output), stderr(&output));
    assert!(bundle.scratch.mounts().is_empty());
}

#[test]
fn a_dev_that_is_a_link_leads_nowhere() {
    let mut bundle = bundle!("true");
    let outside = bundle.scratch.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
    symlink(&outside, bundle.rootfs().join("dev")).unwrap();
    only_hshim!("runc 1.1 writes through it (CVE-2026-41579)");
    bundle.edit(|config| {
        config["mounts"].as_array_mut().unwrap().retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"))
    });
    bundle.fails();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn idmapped_mounts_are_refused_and_not_ignored() {
    only_hshim!("runc 1.1 does not look at it");
    let mut bundle = bundle!("true");
    bundle.edit(|config| {
        mount(config, json!({"destination": "/t", "type": "bind", "source": "/tmp", "options": ["bind", "idmap"]}))
    });
    assert!(bundle.fails().contains("mounts["));
}

#[test]
fn options_of_a_new_file_system_reach_it_and_those_without_effect_do_no_harm() {
    for (options, shown) in [
        (&["sync"][..], "sync"),
        (&["dirsync"], "dirsync"),
        (&["lazytime"], "lazytime"),
        (&["silent", "loud", "iversion", "noiversion", "async", "nolazytime"], "rw"),
    ] {
        let mut bundle = bundle!("grep ' /m ' /proc/self/mountinfo");
        bundle.edit(|config| {
            push(&mut config["mounts"], json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": options}));
        });
        let said = bundle.says();
        let of_file_system = said.split(' ').next_back().unwrap();
        assert!(of_file_system.split(',').any(|option| option == shown), "{options:?}: {said}");
    }
}
