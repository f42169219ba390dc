//! The two clocks: time since boot, by which everything is decided, and wall time, stamped when a record is written.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use hshim_health::Moment;
use jiff::{SignedDuration, Timestamp};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// Wall and boot time drift apart by slewing; a step is more than this.
const STEP: SignedDuration = SignedDuration::from_millis(200);

/// Now (`CLOCK_BOOTTIME`).
pub(crate) fn now() -> Moment {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap_or(TimeSpec::new(0, 0));
    Moment::since_boot(Duration::from(now))
}

/// One alarm at a moment. `CLOCK_BOOTTIME` as the moments: it also goes on during suspend, where tokio's timers
/// (`CLOCK_MONOTONIC`) stand still, so a deadline that passed during suspend rings on waking up.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: AsyncFd<Timer>,
    set: Option<Moment>,
}

/// What nix leaves out: tokio wants the number.
#[derive(Debug)]
pub(crate) struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// An alarm that is not set.
    pub(crate) fn new() -> std::io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(Self { timer: sys::readable(Timer(timer))?, set: None })
    }

    /// Sets it, or takes it back.
    pub(crate) fn set(&mut self, moment: Option<Moment>) -> std::io::Result<()> {
        if moment == self.set {
            return Ok(());
        }
        self.set = moment;
        match moment {
            // A time of zero would disarm the timer, and one beyond i64 is never.
            Some(moment) if i64::try_from(moment.as_duration().as_secs()).is_ok() => {
                let at = TimeSpec::from_duration(moment.as_duration().max(Duration::from_nanos(1)));
                self.timer.get_ref().0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
            Some(_) | None => self.timer.get_ref().0.unset()?,
        }
        Ok(())
    }

    /// Waits until it rings, once.
    pub(crate) async fn rung(&mut self) -> std::io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0_u8; 8];
            match nix::unistd::read(&self.timer.get_ref().0, &mut expirations) {
                Ok(_) => {
                    self.set = None;
                    return Ok(());
                }
                Err(nix::Error::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Turns moments into timestamps, the same moment always into the same timestamp, until the wall clock is stepped.
#[derive(Debug, Default)]
pub(crate) struct Stamp {
    boot: Option<Timestamp>,
}

impl Stamp {
    /// Takes the present difference of the clocks if it is not the one known.
    pub(crate) fn refresh(&mut self, wall: Timestamp, now: Moment) {
        let Ok(boot) =
            SignedDuration::try_from(now.as_duration()).map_err(drop).and_then(|age| wall.checked_sub(age).map_err(drop))
        else {
            return;
        };
        let drift = self.boot.map(|known| known.duration_since(boot).abs());
        if drift.is_none_or(|drift| drift > STEP) {
            self.boot = Some(boot);
        }
    }

    /// The wall time of a moment, to the microsecond; a moment beyond all calendars is the last one there is.
    pub(crate) fn of(&self, moment: Moment) -> Timestamp {
        let since_boot = SignedDuration::try_from(moment.as_duration()).unwrap_or(SignedDuration::MAX);
        let exact = self.boot.unwrap_or(Timestamp::UNIX_EPOCH).checked_add(since_boot).unwrap_or(Timestamp::MAX);
        Timestamp::from_microsecond(exact.as_microsecond()).unwrap_or(exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn a_moment_keeps_its_timestamp_while_the_clocks_merely_drift() {
        let mut stamp = Stamp::default();
        stamp.refresh(Timestamp::from_second(1_000_000).unwrap(), at(100));
        let first = stamp.of(at(50));
        stamp.refresh(Timestamp::from_millisecond(1_000_100_050).unwrap(), at(200));
        assert_eq!(stamp.of(at(50)), first);
        assert_eq!(first, Timestamp::from_second(999_950).unwrap());
    }

    #[test]
    fn a_stepped_wall_clock_moves_all_timestamps_with_it() {
        let mut stamp = Stamp::default();
        stamp.refresh(Timestamp::from_second(0).unwrap(), at(100));
        stamp.refresh(Timestamp::from_second(1_000_000).unwrap(), at(101));
        assert_eq!(stamp.of(at(101)), Timestamp::from_second(1_000_000).unwrap());
    }

    #[test]
    fn a_moment_that_never_comes_has_the_last_timestamp() {
        assert_eq!(Stamp::default().of(Moment::since_boot(Duration::MAX)), Timestamp::MAX);
    }

    #[tokio::test]
    async fn an_alarm_rings_once_at_its_moment_and_at_once_for_a_past_one() {
        let mut alarm = Alarm::new().unwrap();
        let due = now() + Duration::from_millis(20);
        alarm.set(Some(due)).unwrap();
        alarm.rung().await.unwrap();
        assert!(now() >= due);
        alarm.set(Some(Moment::BOOT)).unwrap();
        alarm.rung().await.unwrap();
        alarm.set(Some(Moment::since_boot(Duration::MAX))).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), alarm.rung()).await.is_err());
    }
}
