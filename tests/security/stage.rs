//! What the tests of this suite share.

use std::process::Output;

use hshim_tests::bundle::Bundle;
use hshim_tests::wait;
use serde_json::{Value, json};

/// Skips a test where containers cannot run.
macro_rules! needs_containers {
    () => {
        if let Some(why) = hshim_tests::skip::why_no_containers() {
            hshim_tests::skip!("{why}");
        }
    };
}

/// Skips a test of what only hshim promises.
macro_rules! only_for_hshim {
    () => {
        if !hshim_tests::programs::judges_hshim() {
            hshim_tests::skip!("hshim's own promise");
        }
    };
}

pub(crate) use {needs_containers, only_for_hshim};

/// A bundle with a change.
pub(crate) fn bundle(script: &str, change: impl FnOnce(&mut Value)) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.edit(change);
    bundle
}

/// Runs a container in the foreground: its standard output.
pub(crate) fn run(bundle: &Bundle) -> String {
    bundle.ok(&["run", "--bundle", ".", bundle.id()])
}

/// Runs a container that may fail.
pub(crate) fn try_run(bundle: &Bundle) -> Output {
    bundle.runtime(&["run", "--bundle", ".", bundle.id()])
}

/// Starts a container that waits, and waits until its first line is there.
pub(crate) fn running(bundle: &Bundle) {
    bundle.run_detached();
    wait::until("the container says something", || !bundle.stdout().is_empty());
}

/// `exec` in it: standard output.
pub(crate) fn exec(bundle: &Bundle, script: &str) -> String {
    bundle.ok(&["exec", bundle.id(), "/bin/sh", "-c", script])
}

/// A `create` that must be refused, with nothing left of it. Its error.
pub(crate) fn refused(bundle: &Bundle) -> String {
    let errors = bundle.refused(&["create", "--bundle", ".", bundle.id()]);
    assert_eq!(bundle.status(), "absent", "no partial container: {errors}");
    assert!(bundle.cgroups().is_empty(), "no cgroup is left: {:?}: {errors}", bundle.cgroups());
    errors
}

/// The field of /proc/PID/status.
pub(crate) fn status_field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {status}")).trim().to_owned()
}

/// A user namespace of 65536 ids from 100000 on, in which the root file system belongs to root.
pub(crate) fn with_users(bundle: &mut Bundle) {
    bundle.edit(|config| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    });
    let chown = std::process::Command::new("chown").args(["-hR", "100000:100000"]).arg(bundle.rootfs()).status();
    assert!(chown.unwrap().success());
    for dir in [bundle.scratch.path(), &bundle.dir()] {
        std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

/// A profile that refuses one system call with EPERM.
pub(crate) fn forbidding(call: &str) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]})
}
