//! Time as the calculator knows it.

use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time, as the duration since boot (`CLOCK_BOOTTIME`, clock_gettime(2)): it goes on during suspend and no
/// adjustment of the wall clock moves it. Meaningful within one boot only; a record on disk carries the boot id beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(Duration);

impl Moment {
    /// The moment of boot.
    pub const BOOT: Self = Self(Duration::ZERO);

    /// The moment this long after boot.
    #[must_use]
    pub const fn since_boot(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after boot this is.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// How much later this is than `earlier`; zero if it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}
