//! A root file system of the distribution's static busybox.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::programs;

/// The applets that the suites use, and more: all that busybox has.
///
/// # Panics
/// There is no busybox, or it does not answer.
#[must_use]
pub fn applets() -> Vec<String> {
    let busybox = programs::busybox().expect("package busybox-static");
    let output = Command::new(busybox).arg("--list").output().expect("run busybox --list");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Fills a new directory with `bin/busybox`, a link for each applet, and the directories and files that programs look for.
///
/// # Panics
/// Something cannot be written.
pub fn make(dir: &Path) {
    for name in ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr/bin", "var"] {
        fs::create_dir_all(dir.join(name)).expect("make a directory of the root file system");
    }
    let busybox = programs::busybox().expect("package busybox-static");
    fs::copy(busybox, dir.join("bin/busybox")).expect("copy busybox");
    for applet in applets().iter().filter(|applet| *applet != "busybox") {
        symlink("busybox", dir.join("bin").join(applet)).expect("link an applet");
    }
    fs::write(dir.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")
        .expect("write etc/passwd");
    fs::write(dir.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").expect("write etc/group");
    let sticky = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    fs::set_permissions(dir.join("tmp"), sticky).expect("open tmp for all");
}
