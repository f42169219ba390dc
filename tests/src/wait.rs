//! Waiting for conditions. No test sleeps for a time that is only hoped to be enough.

use std::time::{Duration, Instant};

/// Long enough for anything on a slow machine with other work.
pub const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until the condition holds, at most [`PATIENCE`].
///
/// # Panics
/// It does not come to hold.
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    within(PATIENCE, what, condition);
}

/// Waits until the condition holds, at most so long.
///
/// # Panics
/// It does not come to hold.
pub fn within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < end, "waited {patience:?} in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until there is a value, at most [`PATIENCE`].
///
/// # Panics
/// There is none.
pub fn for_value<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        found = find();
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("{what}: was there a moment ago"))
}
