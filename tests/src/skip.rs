//! Tests that cannot run where they are. Each says so in one line, and is counted in the closing line of the whole run.

use std::fs::OpenOptions;
use std::io::Write;

/// Prints the reason and ends the test: `skip!("no systemd here")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::skip::note(&format!($($reason)+));
        return;
    }};
}

/// Prints the reason, and adds a line to the file that `$HSHIM_SKIPS` names.
///
/// # Panics
/// That file cannot be written: the count would be wrong.
pub fn note(reason: &str) {
    println!("SKIPPED: {reason}");
    let Some(file) = std::env::var_os("HSHIM_SKIPS") else { return };
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let mut file = OpenOptions::new().create(true).append(true).open(file).expect("open $HSHIM_SKIPS");
    // One write: lines of tests that run at once do not mix.
    file.write_all(format!("{name}: {reason}\n").as_bytes()).expect("write $HSHIM_SKIPS");
}

/// Why containers cannot be run here, if so.
#[must_use]
pub fn why_no_containers() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root");
    }
    crate::programs::busybox().is_none().then_some("no static busybox (package busybox-static)")
}
