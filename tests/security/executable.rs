//! `/proc/PID/exe` of our programs in a container is nothing that can be written to (L15, the class of CVE-2019-5736).

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use hshim_tests::bundle::Bundle;
use nix::errno::Errno;
use nix::mount::MsFlags;
use serde_json::json;

use crate::stage::{bundle, needs_containers, only_for_hshim, try_run};

#[test]
fn the_waiting_init_process_runs_from_a_read_only_mount() {
    needs_containers!();
    only_for_hshim!();
    // A program of its own, which nobody else executes: a busy file refuses to be opened for that reason alone.
    let mut bundle = Bundle::new("true");
    let own = bundle.scratch.join("hshim");
    fs::copy(&bundle.program, &own).unwrap();
    let shared = std::mem::replace(&mut bundle.program, own);
    bundle.create();
    // By root of the host, who may trace it: a process in the container can do no more.
    let exe = OpenOptions::new().read(true).custom_flags(nix::libc::O_PATH).open(format!("/proc/{}/exe", bundle.pid())).unwrap();
    bundle.ok(&["delete", "--force", bundle.id()]);
    let again = format!("/proc/self/fd/{}", exe.as_raw_fd());
    let refused = OpenOptions::new().write(true).open(&again).expect_err("it cannot be opened for writing");
    assert_eq!(refused.raw_os_error(), Some(Errno::EROFS as i32), "{refused}");
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    let remount = nix::mount::mount(None::<&str>, again.as_str(), None::<&str>, flags, None::<&str>);
    assert_eq!(remount, Err(Errno::EINVAL), "nobody can make that mount writable");
    bundle.program = shared;
}

#[test]
fn a_command_that_is_proc_self_exe_does_not_reach_the_installed_file() {
    needs_containers!();
    only_for_hshim!();
    let installed = fs::metadata(&Bundle::new("true").program).unwrap();
    for (name, command) in [("direct", json!(["/proc/self/exe", "--version"])), ("script", json!(["/script"]))] {
        let bundle = bundle("", |config| config["process"]["args"] = command);
        fs::write(bundle.rootfs().join("script"), "#!/proc/self/exe\n").unwrap();
        fs::set_permissions(bundle.rootfs().join("script"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        // What it does then is its own affair: it runs our program in the container, from the read-only mount.
        drop(try_run(&bundle));
        let now = fs::metadata(&bundle.program).unwrap();
        assert_eq!(
            (now.ino(), now.mtime_nsec(), now.size()),
            (installed.ino(), installed.mtime_nsec(), installed.size()),
            "{name}"
        );
    }
}

#[test]
fn the_environment_of_a_container_does_not_tell_where_hshim_is() {
    needs_containers!();
    let bundle = Bundle::new("env");
    let seen = crate::stage::run(&bundle);
    assert!(!seen.contains("HSHIM") && !seen.contains("RUNC"), "{seen}");
}
