//! Resource limits on real containers: each is read back from the kernel, and the chief ones are run into.
//!
//! The runtime under test is `$RUNTIME` (hshim when it is not set). Every test asks what this kernel offers and skips with a
//! reason; `tests/guest/suites` runs them all where cgroup v2 has controllers, where it has not, and where systemd is process 1.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod devices;
mod events;
mod freezer;
mod kernel;
mod layout;
mod reached;
mod readback;
mod systemd;
mod update;

/// Skips where no container can run.
#[macro_export]
macro_rules! containers_or_skip {
    () => {
        if let Some(why) = hshim_tests::skip::why_no_containers() {
            hshim_tests::skip!("{why}");
        }
    };
}

/// Skips where the kernel has none of these controllers.
#[macro_export]
macro_rules! controllers_or_skip {
    ($($controller:expr),+) => {
        $crate::containers_or_skip!();
        for controller in [$($controller),+] {
            if $crate::kernel::version_of(controller).is_none() {
                hshim_tests::skip!("this kernel has no {controller} controller");
            }
        }
    };
}
