//! What a user's container can do, and what it cannot.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hshim_tests::wait;
use serde_json::json;

use crate::stage::UsersBundle;
use crate::{needs_user, only_for_hshim};

#[test]
fn a_container_lives_from_create_to_delete() {
    needs_user!();
    let bundle = UsersBundle::new("trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done");
    bundle.create();
    assert_eq!(bundle.status(), "created");
    bundle.ok(&["start", bundle.id()]);
    wait::until("it is ready", || bundle.read("out") == "ready\n");
    assert_eq!(bundle.status(), "running");
    assert!(bundle.ok(&["list", "--quiet"]).contains(bundle.id()));
    bundle.ok(&["kill", bundle.id(), "TERM"]);
    bundle.wait_stopped();
    bundle.ok(&["delete", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn run_waits_for_the_end_and_ends_as_the_container_did() {
    needs_user!();
    let bundle = UsersBundle::new("echo out; exit 7");
    assert_eq!(bundle.run(), ("out\n".to_owned(), Some(7)));
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn the_state_is_below_the_users_runtime_directory() {
    needs_user!();
    let bundle = UsersBundle::new("sleep 1000");
    bundle.create();
    let name = if hshim_tests::programs::judges_hshim() { "xdg/hshim" } else { "xdg/runc" };
    let metadata = fs::metadata(bundle.scratch.join(name)).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o1700, 5), "private, and kept by who clears old files away");
    let owner = bundle.ok(&["list"]);
    assert!(owner.contains("games"), "{owner}");
}

#[test]
fn root_of_the_container_is_the_user_outside() {
    needs_user!();
    let bundle = UsersBundle::new(
        "id -u; cat /proc/self/uid_map; echo made >/made; cat /etc/mine; chown 7 /made 2>/dev/null || echo refused",
    );
    fs::write(bundle.dir().join("rootfs/etc/mine"), "root's\n").unwrap();
    fs::set_permissions(bundle.dir().join("rootfs/etc/mine"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (out, code) = bundle.run();
    let words: Vec<&str> = out.split_whitespace().collect();
    // What root of the machine keeps to itself stays unread: cat says nothing.
    assert_eq!((words, code), (vec!["0", "0", "5", "1", "refused"], Some(0)));
    assert_eq!(fs::metadata(bundle.dir().join("rootfs/made")).unwrap().uid(), 5);
}

#[test]
fn devices_are_the_machines_own_and_no_other_can_be_made() {
    needs_user!();
    let mut bundle = UsersBundle::new(
        "head -c 3 /dev/zero | wc -c; echo x >/dev/null && echo null; mknod /dev/mem c 1 1 2>/dev/null || echo refused",
    );
    bundle.edit(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
        }
    });
    assert_eq!(bundle.run(), ("3\nnull\nrefused\n".to_owned(), Some(0)));
}

#[test]
fn paths_are_masked_and_read_only() {
    needs_user!();
    let bundle = UsersBundle::new(
        "wc -c </proc/keys; echo 1 >/proc/sys/kernel/printk 2>/dev/null || echo refused; ls /sys/firmware | wc -l",
    );
    assert_eq!(bundle.run(), ("0\nrefused\n0\n".to_owned(), Some(0)));
}

#[test]
fn an_exec_is_in_the_user_namespace_with_the_containers_powers() {
    needs_user!();
    let bundle = UsersBundle::new("sleep 1000");
    bundle.start();
    let inside =
        bundle.ok(&["exec", bundle.id(), "sh", "-c", "id -u; readlink /proc/self/ns/user; grep CapEff /proc/self/status; pwd"]);
    let lines: Vec<&str> = inside.lines().collect();
    let theirs = fs::read_link(format!("/proc/{}/ns/user", bundle.pid())).unwrap();
    assert_eq!(lines, ["0", theirs.to_str().unwrap(), "CapEff:\t0000000020000420", "/"]);
    assert_ne!(theirs, fs::read_link("/proc/self/ns/user").unwrap());
    assert_eq!(bundle.runtime(&["exec", bundle.id(), "sh", "-c", "exit 5"]).status.code(), Some(5));
    let missing = bundle.refused(&["exec", bundle.id(), "no-such-command"]);
    assert!(missing.contains("executable file not found in $PATH"), "{missing}");
}

#[test]
fn processes_are_found_without_a_cgroup() {
    needs_user!();
    only_for_hshim!("runc 1.1 finds processes by a cgroup only");
    let bundle = UsersBundle::new("sleep 1000 & sleep 1000 & wait");
    bundle.start();
    let pids = || serde_json::from_str::<Vec<i64>>(&bundle.ok(&["ps", "--format", "json", bundle.id()])).unwrap();
    wait::until("three processes are there", || pids().len() == 3);
    assert!(pids().contains(&bundle.pid()));
    bundle.ok(&["kill", "--all", bundle.id(), "KILL"]);
    bundle.wait_stopped();
    assert!(pids().is_empty());
}

#[test]
fn the_loopback_interface_of_a_network_of_its_own_is_up() {
    needs_user!();
    let mut bundle = UsersBundle::new("ifconfig lo | grep -c UP");
    bundle.edit(|config| config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "network"})));
    assert_eq!(bundle.run(), ("1\n".to_owned(), Some(0)));
}

#[test]
fn hooks_run_and_a_failing_one_leaves_nothing() {
    needs_user!();
    let mut bundle = UsersBundle::new("true");
    let note = |name: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat >{}", bundle.scratch.join("own").join(name).display())]}]);
    let hooks = json!({"createRuntime": note("created"), "poststart": note("started"), "poststop": note("stopped")});
    bundle.edit(|config| config["hooks"] = hooks);
    assert_eq!(bundle.run().1, Some(0));
    for name in ["created", "started", "stopped"] {
        let state: serde_json::Value = serde_json::from_str(&bundle.read(&format!("own/{name}"))).unwrap();
        assert_eq!(state["id"], bundle.id(), "{name}");
    }
    bundle.edit(|config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]}));
    bundle.refused(&["run", bundle.id()]);
    assert_eq!(bundle.status(), "absent");
}

#[test]
fn a_second_container_joins_the_user_namespace_of_the_first() {
    needs_user!();
    only_for_hshim!("runc 1.1 wants maps of a namespace that it joins");
    let first = UsersBundle::new("sleep 1000");
    first.start();
    let mut second = UsersBundle::new("readlink /proc/self/ns/user");
    let path = format!("/proc/{}/ns/user", first.pid());
    second.edit(|config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "user" {
                namespace["path"] = json!(path);
            }
        }
        config["linux"].as_object_mut().unwrap().retain(|key, _value| key != "uidMappings" && key != "gidMappings");
    });
    let theirs = fs::read_link(&path).unwrap();
    assert_eq!(second.run(), (format!("{}\n", theirs.display()), Some(0)));
}

#[test]
fn root_of_a_user_namespace_is_served_like_root() {
    needs_user!();
    let mut bundle = UsersBundle::new("id -u; exit 4");
    bundle.edit(|config| {
        let linux = config["linux"].as_object_mut().unwrap();
        linux.retain(|key, _value| key != "uidMappings" && key != "gidMappings");
        linux["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "user");
    });
    let run_below = |bundle: &UsersBundle| {
        // As a podman without privileges does it.
        let run = bundle.command(&["run", bundle.id()]);
        let run: Vec<&str> = run.get_args().map(|arg| arg.to_str().unwrap()).skip_while(|arg| *arg != "--").skip(1).collect();
        let output = bundle.shell("unshare", &[&["--user", "--map-root-user", "--mount"], &run[..]].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), output.status.code()), ("0\n", Some(4)), "{said}");
    };
    run_below(&bundle);
    // With a user namespace below that one.
    bundle.edit(|config| {
        let linux = &mut config["linux"];
        linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        for field in ["uidMappings", "gidMappings"] {
            linux[field] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        }
    });
    run_below(&bundle);
}

#[test]
fn the_waiting_init_process_runs_from_a_read_only_mount() {
    needs_user!();
    only_for_hshim!("runc protects itself otherwise");
    let bundle = UsersBundle::new("sleep 1000");
    bundle.create();
    // The program is the user's own file here: only the mount keeps them, and the container, from writing to it. While it is executed it would
    // be busy for everybody.
    let script = r#"exec 9<"/proc/$0/exe" && "$@" && : >>/proc/self/fd/9"#;
    let delete = bundle.command(&["delete", "--force", bundle.id()]);
    let delete: Vec<&str> = delete.get_args().map(|arg| arg.to_str().unwrap()).skip_while(|arg| *arg != "--").skip(1).collect();
    let pid = bundle.pid().to_string();
    let output = bundle.shell("bash", &[&["-c", script, &pid], &delete[..]].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(!output.status.success() && said.contains("read-only file system"), "{said}");
}

#[test]
fn a_create_that_is_killed_at_any_point_leaves_what_delete_clears() {
    needs_user!();
    only_for_hshim!("runc 1.1 leaves processes behind");
    let bundle = UsersBundle::new("sleep 1000");
    let begin = || bundle.command(&["create", bundle.id()]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    assert!(begin().wait().unwrap().success());
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap();
    bundle.ok(&["delete", "--force", bundle.id()]);
    let (mut directories, mut processes) = (0, 0);
    for point in 0..40_u64 {
        let mut create = begin();
        // A point in time is what is wanted here, not a condition: all over the time that a create takes, in uneven steps.
        std::thread::sleep(Duration::from_micros(point * 7919 % whole));
        create.kill().unwrap();
        create.wait().unwrap();
        directories += usize::from(bundle.scratch.join("xdg/hshim/containers").join(bundle.id()).exists());
        processes += usize::from(!processes_of(&bundle).is_empty());
        bundle.ok(&["delete", "--force", bundle.id()]);
        wait::until("nothing is left", || processes_of(&bundle).is_empty());
        assert!(!bundle.scratch.join("xdg/hshim/containers").join(bundle.id()).exists());
    }
    println!("40 kills left {directories} directories and {processes} times processes");
    assert!(directories > 0 && processes > 0, "no create had come so far as to leave something");
}

/// Processes that were started for this bundle, by their command line or root directory.
fn processes_of(bundle: &UsersBundle) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let theirs = processes.filter(|entry| {
        let named = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let named = String::from_utf8_lossy(&named).split('\0').any(|word| word == bundle.id());
        named || fs::read_link(entry.path().join("root")).is_ok_and(|root| root.starts_with(bundle.scratch.path()))
    });
    theirs.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn presets_of_the_machine_reach_the_container_of_a_user() {
    needs_user!();
    only_for_hshim!("presets are hshim's");
    let mut bundle = UsersBundle::new("echo preset $PRESET");
    let dir = bundle.scratch.join("presets.d");
    fs::create_dir(&dir).unwrap();
    let preset = "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata: {name: env}\n\
                  spec: {selector: {}, env: [{name: PRESET, value: reached}]}\n";
    // Root's: in the user namespace the kernel shows them as nobody's.
    fs::write(dir.join("10.yaml"), preset).unwrap();
    bundle.globals = vec!["--presets-dir".to_owned(), dir.to_str().unwrap().to_owned()];
    assert_eq!(bundle.run(), ("preset reached\n".to_owned(), Some(0)));
    fs::set_permissions(dir.join("10.yaml"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    assert!(bundle.refused(&["run", bundle.id()]).contains("can be written by others"));
}
