//! Options of a file system that is new (not bound) in the words that libcontainer hands to the kernel.
//!
//! What is about the whole file system (`sync` …) libcontainer takes for an option of the mount, and forgets. What mount(2) knows as
//! a flag without any effect here (`silent` …) it takes for an option of the file system, which does not know it.

use libcontainer::oci_spec::runtime::Mount;

use crate::late_mounts::is_bind;

/// Of the whole file system (`common_set_sb_flag` of the kernel).
const OF_THE_FILE_SYSTEM: [&str; 3] = ["dirsync", "mand", "sync"];
/// What is so anyhow, or is about messages in the kernel's log.
const WITHOUT_EFFECT: [&str; 5] = ["iversion", "loud", "noiversion", "silent", "symfollow"];

/// Rewrites the options of a mount.
pub(crate) fn for_kernel(mount: &mut Mount) {
    if is_bind(mount) || mount.typ().as_deref() == Some("cgroup") {
        return;
    }
    let Some(options) = mount.options_mut() else { return };
    options.retain(|option| !WITHOUT_EFFECT.contains(&option.as_str()));
    for option in options.iter_mut().filter(|option| OF_THE_FILE_SYSTEM.contains(&option.as_str())) {
        // With a value, even an empty one, libcontainer hands it on; the kernel looks at the name only (vfs_parse_fs_param).
        option.push('=');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(typ: &str, written: &[&str]) -> Vec<String> {
        let mount = serde_json::json!({"destination": "/m", "type": typ, "source": "x", "options": written});
        let mut mount: Mount = serde_json::from_value(mount).unwrap();
        for_kernel(&mut mount);
        mount.options().clone().unwrap()
    }

    #[test]
    fn a_new_file_system_gets_its_own_options_and_a_bind_keeps_what_it_has() {
        let written = ["ro", "sync", "silent", "size=1k", "iversion"];
        assert_eq!(options("tmpfs", &written), ["ro", "sync=", "size=1k"]);
        assert_eq!(options("bind", &written), written);
    }
}
