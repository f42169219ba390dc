//! Containers that are made while somebody exchanges a directory and a symbolic link in what they share with him (CVE-2021-30465,
//! CVE-2025-31133, -52565, -52881): nothing outside is written, and no container runs without its masks.
//!
//! The attacker is a thread of the host, which is faster than any container's process. In each test he first has to win against a naive
//! program, which looks whether a name is a directory and then writes below it: an attacker who cannot win would prove nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use hshim_tests::bundle::Bundle;
use hshim_tests::scratch::Scratch;
use hshim_tests::wait;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::stage::{bundle, needs_containers, only_for_hshim};

/// Exchanges two names for as long as it lives.
struct Attacker {
    stop: Arc<AtomicBool>,
    exchanges: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Attacker {
    fn exchanging(directory: &Path, link: &Path) -> Self {
        let (stop, exchanges) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (one, other) = (directory.to_owned(), link.to_owned());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&exchanges));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, exchanges, thread: Some(thread) }
    }

    fn exchanges(&self) -> u64 {
        self.exchanges.load(Ordering::Relaxed)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Where nothing may be written, with a file that must stay what it is.
struct Outside(PathBuf);

impl Outside {
    fn new(scratch: &Scratch) -> Self {
        let dir = scratch.join("outside");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("ptmx"), "host").unwrap();
        Self(dir)
    }

    fn assert_untouched(&self, when: &str) {
        let names: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["ptmx"], "{when}");
        assert_eq!(fs::read_to_string(self.0.join("ptmx")).unwrap(), "host", "{when}");
    }
}

/// What the attacker exchanges: a directory `name` below `parent`, and a link beside it to what is outside.
fn set_up(parent: &Path, name: &str, target: &Path) -> (PathBuf, PathBuf) {
    let (directory, link) = (parent.join(name), parent.join(format!("{name}-link")));
    fs::create_dir_all(&directory).unwrap();
    symlink(target, &link).unwrap();
    (directory, link)
}

/// The control: a program that looks first and writes then has written outside after a while.
fn beats_a_naive_program(directory: &Path, outside: &Outside) {
    let mark = outside.0.join("mark");
    wait::until("the attacker wins against a naive program", || {
        for _try in 0..1000 {
            if fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir()) {
                drop(fs::write(directory.join("mark"), "written"));
            }
        }
        mark.exists()
    });
    fs::remove_file(mark).unwrap();
}

/// How many containers are made under attack.
const CONTAINERS: usize = 25;

/// Makes containers, which may be refused; how many were made.
fn make_under_attack(bundle: &Bundle, attacker: &Attacker, outside: &Outside, what: &str) -> usize {
    let before = attacker.exchanges();
    let mut made = 0;
    for number in 0..CONTAINERS {
        let output = bundle.runtime(&["run", "--bundle", ".", bundle.id()]);
        outside.assert_untouched(&format!("{what}: container {number}: {}", String::from_utf8_lossy(&output.stderr)));
        if output.status.success() {
            made += 1;
        } else {
            assert_eq!((bundle.status().as_str(), bundle.cgroups().len()), ("absent", 0), "{what}: container {number}");
        }
    }
    outside.assert_untouched(what);
    assert!(attacker.exchanges() > before + 1000, "{what}: the attack went on all the time");
    made
}

/// What it is, and how it is asked for.
type Row = (&'static str, fn(&mut Value));

/// What is mounted or made below a directory of a volume that another process changes.
fn below_a_shared_volume() -> Vec<Row> {
    fn mount(config: &mut Value, mount: Value) {
        config["mounts"].as_array_mut().unwrap().push(mount);
    }
    vec![
        ("a tmpfs", |config| {
            mount(config, json!({"destination": "/v/shared/tmpfs", "type": "tmpfs", "source": "tmpfs"}));
        }),
        ("a bound directory", |config| {
            mount(config, json!({"destination": "/v/shared/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}));
        }),
        ("a bound file", |config| {
            let bind = json!({"destination": "/v/shared/file", "type": "bind", "source": "/etc/hostname", "options": ["bind"]});
            mount(config, bind);
        }),
        ("a propagation", |config| {
            let options = ["rbind", "rslave"];
            mount(config, json!({"destination": "/v/shared/usr", "type": "bind", "source": "/usr", "options": options}));
        }),
        ("a device", |config| {
            config["linux"]["devices"] = json!([{"path": "/v/shared/null", "type": "c", "major": 1, "minor": 3}]);
        }),
        ("a working directory", |config| config["process"]["cwd"] = json!("/v/shared/work/here")),
        ("a mask", |config| config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/v/shared"))),
        ("a read-only path", |config| config["linux"]["readonlyPaths"].as_array_mut().unwrap().push(json!("/v/shared"))),
    ]
}

#[test]
fn nothing_is_written_outside_through_a_volume_that_changes() {
    needs_containers!();
    only_for_hshim!();
    for (what, change) in below_a_shared_volume() {
        let scratch = Scratch::new();
        let (volume, outside) = (scratch.join("volume"), Outside::new(&scratch));
        let (directory, link) = set_up(&volume, "shared", &outside.0);
        let bundle = bundle("true", |config| {
            let bind = json!({"destination": "/v", "type": "bind", "source": volume, "options": ["rbind", "rw"]});
            config["mounts"].as_array_mut().unwrap().push(bind);
            change(config);
        });
        let attacker = Attacker::exchanging(&directory, &link);
        beats_a_naive_program(&directory, &outside);
        make_under_attack(&bundle, &attacker, &outside, what);
    }
}

#[test]
fn a_copy_of_a_directory_that_changes_holds_nothing_from_outside() {
    needs_containers!();
    only_for_hshim!();
    let scratch = Scratch::new();
    let (volume, outside) = (scratch.join("volume"), Outside::new(&scratch));
    let (directory, link) = set_up(&volume.join("copied"), "shared", &outside.0);
    for number in 0..50 {
        fs::write(directory.join(format!("file{number}")), "inside").unwrap();
    }
    let bundle = bundle("ls -R /v/copied; cat /v/copied/shared/ptmx /v/copied/shared-link/ptmx", |config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": "/v", "type": "bind", "source": volume, "options": ["rbind", "rw"]}));
        mounts.push(json!({"destination": "/v/copied", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    });
    let attacker = Attacker::exchanging(&directory, &link);
    beats_a_naive_program(&directory, &outside);
    let mut copied = 0;
    for _container in 0..CONTAINERS {
        let output = bundle.runtime(&["run", "--bundle", ".", bundle.id()]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.contains("host"), "{said}");
        assert!(!said.lines().any(|line| line == "ptmx"), "{said}");
        copied += usize::from(said.contains("file49"));
        outside.assert_untouched("a copy");
    }
    assert!(copied > 0, "copies are made at all");
    assert!(attacker.exchanges() > 1000);
}

/// /proc and /sys are exchanged for links to another directory of the root file system, where what is mounted would have no masks.
#[test]
fn no_container_runs_without_its_masks_whatever_is_exchanged() {
    needs_containers!();
    only_for_hshim!();
    for name in ["proc", "sys"] {
        let bundle = bundle(
            "for dir in /proc /proc-link /elsewhere; do head -c 1 $dir/timer_list; echo 77 > $dir/sys/net/ipv4/ip_default_ttl; done; \
             for dir in /sys /sys-link /elsewhere; do ls $dir/firmware; done; \
             for dir in /proc /proc-link /elsewhere; do grep 77 $dir/sys/net/ipv4/ip_default_ttl; done; echo seen",
            |config| {
                config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/proc/timer_list"));
            },
        );
        let outside = Outside::new(&bundle.scratch);
        fs::create_dir(bundle.rootfs().join("elsewhere")).unwrap();
        let (directory, link) = set_up(&bundle.rootfs(), name, Path::new("/elsewhere"));
        {
            // The control needs a target that the host can see.
            let control = bundle.scratch.join("control");
            let (directory, link) = set_up(&control, name, &outside.0);
            let _attacker = Attacker::exchanging(&directory, &link);
            beats_a_naive_program(&directory, &outside);
        }
        let attacker = Attacker::exchanging(&directory, &link);
        let mut refused = 0;
        for number in 0..CONTAINERS * 4 {
            let output = bundle.runtime(&["run", "--bundle", ".", bundle.id()]);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            refused += usize::from(!output.status.success());
            assert!(said.is_empty() || said == "seen\n", "{name}: container {number} shows what is masked: {said:?}");
        }
        assert!(attacker.exchanges() > 1000);
        println!("{name}: {refused} of {} refused", CONTAINERS * 4);
    }
}
