//! The command line killed at any moment: what it leaves, `delete` clears.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::node::Node;

const MANIFEST: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: c\n    image: busybox\n    \
    command: [sleep, '1000']\n    volumeMounts: [{name: m, mountPath: /m}]\n  volumes: [{name: m, emptyDir: {medium: Memory}}]\n";

/// How far the command has come, in words and as it shows in the pod's directory.
type Stage<'a> = (&'a str, Box<dyn Fn(&Path) -> bool>);

/// Kills the command as soon as something is there; false if it ended before.
fn kill_once(child: &mut Child, is_there: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if is_there() {
            child.kill().unwrap();
            return child.wait().unwrap().code().is_none();
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
    }
    panic!("neither came so far nor ended");
}

#[test]
fn whatever_a_killed_apply_leaves_delete_clears() {
    let Some(node) = Node::with_busybox() else { return };
    let file = node.manifest(MANIFEST);
    let dir = node.dir("p");
    let has = |name: &'static str| move |dir: &Path| dir.join(name).exists();
    let mounts = |wanted: usize| {
        let scratch = node.scratch.path().to_owned();
        move |_: &Path| {
            std::fs::read_to_string("/proc/self/mountinfo").unwrap().matches(&*scratch.to_string_lossy()).count() >= wanted
        }
    };
    let stages: Vec<Stage<'_>> = vec![
        ("nothing", Box::new(|_| true)),
        ("its directory", Box::new(Path::exists)),
        ("supervision.json", Box::new(has("supervision.json"))),
        ("manifest.json", Box::new(has("manifest.json"))),
        ("a bundle", Box::new(has("containers/c/bundle/config.json"))),
        ("a namespace's file", Box::new(has("ns/net"))),
        ("a pinned namespace", Box::new(mounts(1))),
        ("/etc", Box::new(has("etc/resolv.conf"))),
        ("shared memory", Box::new(mounts(4))),
        ("a volume in memory", Box::new(mounts(5))),
        ("the shim's log", Box::new(has("shim.log"))),
        ("a shim", Box::new(has("shim.json"))),
        ("its socket", Box::new(has("shim.sock"))),
        ("a status", Box::new(has("status.json"))),
    ];
    let mut killed = 0;
    for (what, is_there) in &stages {
        for _ in 0..3 {
            let mut child = node.command(&["apply", "-f", &file]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            killed += u32::from(kill_once(&mut child, || is_there(&dir)));
            let uids: Vec<String> = dir.join("supervision.json").exists().then(|| node.uid("p")).into_iter().collect();
            let said = node.run(&["delete", "pod/p", "--ignore-not-found"]);
            assert_eq!((said.code, said.err.as_str()), (0, ""), "killed after {what}");
            assert_eq!(node.traces(&uids), [""; 0], "killed after {what}");
        }
    }
    println!("{killed} of {} were killed before they were done", stages.len() * 3);
    assert!(killed >= 10, "only {killed} were killed in the middle");
    // And the name is free.
    assert_eq!(node.ok(&["apply", "-f", &file]), "pod/p created\n");
    node.wait_running("p", "c");
    node.delete_without_trace("p");
}

#[test]
fn a_killed_delete_is_finished_by_the_shim_or_by_the_next_one() {
    let Some(node) = Node::with_busybox() else { return };
    node.apply(MANIFEST);
    node.wait_running("p", "c");
    let uid = node.uid("p");
    let mut child = node.command(&["delete", "pod/p"]).stdout(Stdio::null()).spawn().unwrap();
    kill_once(&mut child, || true);
    let said = node.run(&["delete", "pod/p", "--ignore-not-found"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(node.traces(&[uid]), [""; 0]);
}

#[test]
fn two_at_once_do_not_hurt_each_other() {
    let Some(node) = Node::with_busybox() else { return };
    let file = node.manifest(MANIFEST);
    for _ in 0..5 {
        let spawn = |args: &[&str]| node.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let all = |args: &[&str]| {
            let children: Vec<Child> = (0..3).map(|_| spawn(args)).collect();
            let mut said: Vec<String> = children
                .into_iter()
                .map(|child| child.wait_with_output().unwrap())
                .map(|output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
                .collect();
            said.sort();
            said
        };
        assert_eq!(all(&["apply", "-f", &file]), ["pod/p created\n", "pod/p unchanged\n", "pod/p unchanged\n"]);
        let uid = node.uid("p");
        let deleted = all(&["delete", "pod/p"]);
        assert!(deleted.contains(&"pod \"p\" deleted\n".to_owned()), "{deleted:?}");
        let gone = "hshim: pods \"p\" not found in namespace \"default\"\n";
        assert!(deleted.iter().all(|said| said == gone || said == "pod \"p\" deleted\n"), "{deleted:?}");
        assert_eq!(node.traces(&[uid]), [""; 0]);
    }
}
