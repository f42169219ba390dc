//! Where the programs under test are.

use std::env;
use std::path::{Path, PathBuf};

/// A program that was built beside this test: `target/TARGET/PROFILE/NAME`, or `$HSHIM_BIN/NAME`.
///
/// # Panics
/// It has not been built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let path = bin_dir().join(name);
    assert!(path.exists(), "{} is not there: build it with `just build`", path.display());
    path
}

/// The directory of the built programs.
///
/// # Panics
/// The test does not stand in a target directory.
#[must_use]
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = env::var_os("HSHIM_BIN") {
        return PathBuf::from(dir);
    }
    // …/PROFILE/deps/test-hash
    let test = env::current_exe().expect("the running test has a path");
    test.ancestors().nth(2).expect("a test stands below its profile's directory").to_owned()
}

/// `hshim`.
#[must_use]
pub fn hshim() -> PathBuf {
    built("hshim")
}

/// The OCI runtime that a suite judges: `$RUNTIME` as a name or a path, otherwise the built hshim.
///
/// # Panics
/// `$RUNTIME` names nothing that can be found.
#[must_use]
pub fn runtime_under_test() -> PathBuf {
    match env::var("RUNTIME") {
        Ok(name) if !name.is_empty() && name != "hshim" => {
            installed(&name).unwrap_or_else(|| panic!("RUNTIME={name}: no such program"))
        }
        Ok(_) | Err(_) => hshim(),
    }
}

/// Whether the runtime that a suite judges is hshim, not a reference.
#[must_use]
pub fn judges_hshim() -> bool {
    runtime_under_test().file_name().is_some_and(|name| name == "hshim")
}

/// A soft limit of open files below a hard one, for hshim. A reference gets the hard one: the Go of runc 1.1 may raise its own soft limit on
/// the way, and hand that on.
#[must_use]
pub fn soft_limit_of_files(soft: u64, hard: u64) -> u64 {
    if judges_hshim() { soft } else { hard }
}

/// An installed program, by name or path.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// The static busybox of the distribution.
#[must_use]
pub fn busybox() -> Option<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

/// A file below `tests/`, as in the sources.
#[must_use]
pub fn source_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
