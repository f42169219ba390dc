//! Where a container's processes are.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, wait};

use crate::{containers_or_skip, controllers_or_skip, kernel};

fn cgroups(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_container_is_in_its_cgroup_in_every_hierarchy_that_is_mounted() {
    containers_or_skip!();
    let bundle = Bundle::new("sleep 1000");
    bundle.create();
    let path = format!("/hshim-tests/{}", bundle.id());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in cgroups(bundle.pid()) {
        let names = line.split(':').nth(1).unwrap();
        // A line of a hierarchy that is mounted nowhere here says nothing.
        let is_mounted = if names.is_empty() { kernel::unified().is_some() } else { mounts.contains(&format!(",{names}")) };
        assert!(!is_mounted || line.ends_with(&path) || kernel::is_pure_v2() && !names.is_empty(), "{line}");
    }
}

#[test]
fn the_runtime_itself_leaves_no_process_in_the_cgroup() {
    containers_or_skip!();
    let bundle = Bundle::new("sleep 1000");
    bundle.create();
    let init = bundle.pid().to_string();
    for dir in bundle.cgroups() {
        let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        assert!(members.trim().is_empty() || members.trim() == init, "{}: {members}", dir.display());
    }
}

#[test]
fn a_runtime_in_the_foreground_stays_where_it_was() {
    containers_or_skip!();
    let bundle = Bundle::new("sleep 1000");
    let mut running = bundle.command(&["run", "--bundle", ".", bundle.id()]).spawn().unwrap();
    wait::until("it runs", || bundle.status() == "running");
    let own = i32::try_from(running.id()).unwrap();
    assert_eq!(cgroups(own), cgroups(i32::try_from(std::process::id()).unwrap()));
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    assert_eq!(running.wait().unwrap().code(), Some(137));
}

#[test]
fn a_cgroup_with_strangers_in_it_is_refused_and_left_alone() {
    containers_or_skip!();
    if !programs::judges_hshim() {
        hshim_tests::skip!("runc shares cgroups");
    }
    let bundle = Bundle::new("sleep 1000");
    bundle.run_detached();
    let mut second = Bundle::new("sleep 1000");
    let path = format!("/hshim-tests/{}", bundle.id());
    second.edit(|config| config["linux"]["cgroupsPath"] = path.into());
    assert!(second.refused(&["create", second.id()]).contains("in use"));
    assert_eq!(bundle.status(), "running");
}

/// A cgroup of the test's own on pure v2, in which it is not itself.
struct OwnCgroup(PathBuf);

impl OwnCgroup {
    fn new(bundle: &Bundle) -> Self {
        let dir = kernel::unified().unwrap().join("hshim-tests").join(format!("{}-caller", bundle.id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// The command, run by a shell that has moved here first.
    fn command(&self, bundle: &Bundle, args: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        let join = format!("echo 0 > {}/cgroup.procs && exec \"$@\"", self.0.display());
        command.args(["-c", &join, "sh"]).arg(&bundle.program).arg("--root").arg(bundle.root()).args(args);
        command.current_dir(bundle.dir()).stdin(Stdio::null());
        command
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        wait::until("the caller has left its cgroup", || fs::remove_dir(&self.0).is_ok() || !self.0.exists());
    }
}

#[test]
fn init_is_born_in_its_cgroup_on_v2() {
    containers_or_skip!();
    if !kernel::is_pure_v2() || !programs::judges_hshim() {
        hshim_tests::skip!("hshim on pure cgroup v2");
    }
    let bundle = Bundle::new("sleep 1000");
    let status = bundle.detached(&["--debug", "create", bundle.id()]);
    assert!(status.success(), "{}", bundle.stderr());
    assert!(!bundle.stderr().contains("init is moved there"), "{}", bundle.stderr());
    // libcontainer was content with a file of ours.
    let decoy = fs::read_to_string(bundle.root().join("containers").join(bundle.id()).join("cgroup.procs")).unwrap();
    assert!(decoy.trim().parse::<i32>().is_ok(), "{decoy:?}");
    let path = format!("0::/hshim-tests/{}", bundle.id());
    assert_eq!(cgroups(bundle.pid()).last(), Some(&path));
}

#[test]
fn a_caller_in_a_cgroup_that_was_killed_once_can_make_containers() {
    containers_or_skip!();
    if !kernel::is_pure_v2() {
        hshim_tests::skip!("cgroup.kill is of cgroup v2");
    }
    if programs::runtime_under_test().ends_with("crun") {
        hshim_tests::skip!("crun 1.8 cannot make a container from there");
    }
    let bundle = Bundle::new("sleep 1000");
    let own = OwnCgroup::new(&bundle);
    fs::write(own.0.join("cgroup.kill"), "1").unwrap();
    let file = |name| fs::File::create(bundle.scratch.join(name)).unwrap();
    let status = own.command(&bundle, &["--debug", "create", bundle.id()]).stdout(file("out")).stderr(file("err")).status();
    assert!(status.unwrap().success(), "{}", bundle.stderr());
    // Linux 6.18 kills at birth whoever is cloned from such a cgroup into another one; 6.1 does not.
    bundle.ok(&["start", bundle.id()]);
    assert_eq!(bundle.status(), "running");
    assert_eq!(cgroups(bundle.pid()).last(), Some(&format!("0::/hshim-tests/{}", bundle.id())));
}

#[test]
fn hooks_before_init_run_in_the_callers_cgroup() {
    containers_or_skip!();
    let mut bundle = Bundle::new("sleep 1000");
    let told = bundle.scratch.join("told");
    let script = format!("cat /proc/self/cgroup > {}", told.display());
    let hook = serde_json::json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    bundle.edit(|config| config["hooks"] = serde_json::json!({"createRuntime": hook}));
    bundle.create();
    let seen = fs::read_to_string(told).unwrap();
    // Where device rules and limits are. (On v1 hshim is in the hierarchies without controllers while it makes a container.)
    let matters = |line: &&str| kernel::is_pure_v2() || line.contains("devices") || line.contains("memory");
    let bound: Vec<&str> = seen.lines().filter(matters).filter(|line| line.contains(bundle.id())).collect();
    assert!(seen.contains(':') && bound.is_empty(), "{seen}");
}

#[test]
fn a_container_of_one_process_can_be_made_again_in_its_cgroup() {
    controllers_or_skip!("pids");
    if !programs::judges_hshim() {
        hshim_tests::skip!("--keep-cgroup is hshim's");
    }
    let mut bundle = Bundle::new("exec sleep 1000");
    bundle.edit(|config| config["linux"]["resources"]["pids"] = serde_json::json!({"limit": 1}));
    bundle.run_detached();
    bundle.ok(&["kill", bundle.id(), "KILL"]);
    wait::until("it has ended", || bundle.status() == "stopped");
    bundle.ok(&["delete", "--keep-cgroup", bundle.id()]);
    bundle.run_detached();
    assert_eq!(fs::read_to_string(kernel::dir_of(bundle.pid(), "pids").join("pids.max")).unwrap().trim(), "1");
}
