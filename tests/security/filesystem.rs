//! Nothing is written outside the root file system, whatever it contains (L6), and what is masked is masked (CVE-2025-31133,
//! -52565, -52881).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hshim_tests::bundle::Bundle;
use hshim_tests::programs;
use serde_json::json;

use crate::stage::{bundle, needs_containers, only_for_hshim, refused, run, try_run};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn without_dev(config: &mut serde_json::Value) {
    config["mounts"].as_array_mut().unwrap().retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
}

#[test]
fn a_dev_that_is_a_link_writes_nothing_where_it_points() {
    needs_containers!();
    only_for_hshim!();
    for mounted in [true, false] {
        let bundle = bundle("true", |config| {
            if !mounted {
                without_dev(config)
            }
        });
        let outside = bundle.scratch.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("ptmx"), "host").unwrap();
        fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
        symlink(&outside, bundle.rootfs().join("dev")).unwrap();
        let errors = refused(&bundle);
        assert!(errors.contains("symbolic link"), "{errors}");
        assert_eq!(names(&outside), ["ptmx"]);
        assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "host");
    }
}

#[test]
fn a_directory_bound_to_dev_is_not_written_to() {
    needs_containers!();
    let bundle = bundle("ls /dev; cat /dev/ptmx; ls /dev/pts/ptmx", |_config| {});
    let outside = bundle.scratch.join("outside");
    for dir in ["pts", "shm", "mqueue"] {
        fs::create_dir_all(outside.join(dir)).unwrap();
    }
    fs::write(outside.join("ptmx"), "host\n").unwrap();
    let null = fs::File::create(outside.join("null"));
    drop(null);
    nix::mount::mount(Some("/dev/null"), &outside.join("null"), None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)
        .unwrap();
    let mut bundle = bundle;
    bundle.edit(|config| {
        config["mounts"][1] = json!({"destination": "/dev", "type": "bind", "source": outside, "options": ["rbind"]});
    });
    let output = try_run(&bundle);
    nix::mount::umount2(&outside.join("null"), nix::mount::MntFlags::MNT_DETACH).unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(&outside), ["mqueue", "null", "ptmx", "pts", "shm"]);
    assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "host\n");
    assert!(seen.contains("host\n") && seen.contains("/dev/pts/ptmx"), "{seen}");
}

#[test]
fn a_mount_target_behind_a_link_stays_in_the_root() {
    needs_containers!();
    let bundle = bundle("grep -c ' /escape[0-9] ' /proc/self/mountinfo", |config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": "/absolute", "type": "tmpfs", "source": "tmpfs"}));
        mounts.push(json!({"destination": "/relative", "type": "tmpfs", "source": "tmpfs"}));
        mounts.push(json!({"destination": "/../../../../escape3", "type": "tmpfs", "source": "tmpfs"}));
    });
    symlink("/escape1", bundle.rootfs().join("absolute")).unwrap();
    symlink("../../../../../../../../escape2", bundle.rootfs().join("relative")).unwrap();
    assert_eq!(run(&bundle), "3\n");
    for name in ["/escape1", "/escape2", "/escape3"] {
        assert!(!Path::new(name).exists(), "{name} was made on the host");
    }
}

#[test]
fn links_that_go_in_circles_are_refused() {
    needs_containers!();
    let bundle = bundle("true", |config| {
        config["mounts"].as_array_mut().unwrap().push(json!({"destination": "/a/x", "type": "tmpfs", "source": "tmpfs"}));
    });
    symlink("/b", bundle.rootfs().join("a")).unwrap();
    symlink("/a", bundle.rootfs().join("b")).unwrap();
    assert!(refused(&bundle).contains("too many levels of symbolic links"));
}

#[test]
fn proc_and_sys_behind_a_link_are_refused() {
    needs_containers!();
    for name in ["proc", "sys"] {
        let bundle = Bundle::new("true");
        fs::remove_dir(bundle.rootfs().join(name)).unwrap();
        symlink("/tmp", bundle.rootfs().join(name)).unwrap();
        let errors = refused(&bundle);
        assert!(errors.contains("must be mounted on"), "{errors}");
    }
}

#[test]
fn masked_paths_show_nothing_and_read_only_paths_refuse_writes() {
    needs_containers!();
    let bundle = bundle(
        "cat /proc/keys; ls /sys/firmware; ls -A /secret; cat /file; mkdir /secret/x; echo 1 > /proc/sys/kernel/printk; touch /ro/x; true",
        |config| {
            for path in ["/secret", "/file", "/not/there"] {
                config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!(path));
            }
            config["linux"]["readonlyPaths"].as_array_mut().unwrap().push(json!("/ro"));
        },
    );
    for dir in ["secret", "ro"] {
        fs::create_dir(bundle.rootfs().join(dir)).unwrap();
    }
    fs::write(bundle.rootfs().join("secret/key"), "key").unwrap();
    fs::write(bundle.rootfs().join("file"), "content").unwrap();
    let output = try_run(&bundle);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing is shown");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors.matches("Read-only file system").count(), 3, "{errors}");
}

#[test]
fn a_null_device_that_is_none_is_no_mask() {
    needs_containers!();
    only_for_hshim!();
    // The image's own /dev/null is a file with content, and nothing is mounted on /dev.
    let bundle = bundle("cat /proc/keys", |config| {
        without_dev(config);
        config["linux"]["maskedPaths"] = json!(["/proc/keys"]);
    });
    fs::write(bundle.rootfs().join("dev/null"), "forged").unwrap();
    assert_eq!(run(&bundle), "");
    // Bound over by the caller, it cannot be replaced: refused.
    let forged = bundle.scratch.join("forged");
    fs::write(&forged, "forged").unwrap();
    let bundle = crate::stage::bundle("cat /proc/keys", |config| {
        config["linux"]["devices"] = json!([]);
        config["linux"]["maskedPaths"] = json!(["/proc/keys"]);
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/dev/null", "type": "bind", "source": forged, "options": ["bind"]}));
    });
    refused(&bundle);
}

#[test]
fn the_second_container_of_a_bundle_without_a_dev_mount_starts_like_the_first() {
    needs_containers!();
    let bundle = bundle("echo again > /dev/null && readlink /dev/stdin", without_dev);
    for _life in 0..2 {
        assert_eq!(run(&bundle), "/proc/self/fd/0\n");
    }
}

#[test]
fn cgroup_mounts_are_read_only() {
    needs_containers!();
    let bundle = bundle(
        "cd /sys/fs/cgroup && for f in $(find . -name cgroup.procs -o -name tasks -o -name memory.limit_in_bytes); do \
         echo 0 > $f && echo wrote $f; done; find . -type d -maxdepth 1 | while read d; do [ $d = . ] || mkdir $d/x && echo made $d; done; true",
        |config| {
            let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]});
            config["mounts"].as_array_mut().unwrap().push(mount);
        },
    );
    let output = try_run(&bundle);
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!seen.contains("wrote"), "{seen}");
    if programs::judges_hshim() {
        assert!(!seen.contains("made ./"), "{seen}");
    }
}

#[test]
fn a_cgroup_mount_on_v1_shows_the_containers_own_cgroup_only() {
    needs_containers!();
    let bundle = bundle("ls -d /sys/fs/cgroup/pids/*/ | wc -l; cat /sys/fs/cgroup/pids/cgroup.procs | wc -l", |config| {
        let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]});
        config["mounts"].as_array_mut().unwrap().push(mount);
    });
    if !Path::new("/sys/fs/cgroup/pids").exists() {
        hshim_tests::skip!("no cgroup v1 here");
    }
    let seen = run(&bundle);
    let numbers: Vec<u32> = seen.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers[0], 0, "no cgroup of others");
    assert!((1..=4).contains(&numbers[1]), "its own processes: {seen}");
}

#[test]
fn a_working_directory_behind_a_descriptor_is_refused() {
    needs_containers!();
    for fd in 3..20 {
        let cwd = format!("/proc/self/fd/{fd}");
        let bundle = bundle("pwd; ls ..", |config| config["process"]["cwd"] = json!(cwd));
        let output = try_run(&bundle);
        assert!(!output.status.success(), "{cwd} led to {:?}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_console_that_the_image_has_as_a_link_is_not_followed_outside() {
    needs_containers!();
    let bundle = bundle("tty", |config| {
        without_dev(config);
        config["process"]["terminal"] = json!(true);
        config["mounts"].as_array_mut().unwrap().push(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["newinstance", "ptmxmode=0666", "mode=0620"]}));
    });
    let outside = bundle.scratch.join("outside");
    fs::write(&outside, "host").unwrap();
    symlink(&outside, bundle.rootfs().join("dev/console")).unwrap();
    let sockets = bundle.scratch.join("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&sockets).unwrap();
    listener.set_nonblocking(true).unwrap();
    // Refused, or in the container: the host's file stays what it is either way.
    let _refused_or_not =
        bundle.detached(&["create", "--bundle", ".", "--console-socket", sockets.to_str().unwrap(), bundle.id()]);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "host");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(outside.to_str().unwrap()), "nothing was mounted on it");
}
