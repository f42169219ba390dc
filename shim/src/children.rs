//! The one place that waits for children.
//!
//! ```text
//! spawned or adopted ──watch──▶ known ──pidfd readable──▶ reaped: Ended
//! orphan of a program of ours ──SIGCHLD──▶ not known ──▶ reaped and forgotten
//! ```
//! The shim is a subreaper: a container's init becomes its child when the runtime's `create` ends, and so does whatever a
//! program of ours leaves behind. A child is a pidfd from birth to reaping. While a `create` is under way strangers are left
//! alone, because one of them is about to become known.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hshim_health::input::Exit;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

use crate::process_record;
use crate::sys::{self, Ended, Whom};

/// Which children somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Children {
    ledger: Mutex<Ledger>,
    /// Held for reading while somebody's orphan is on its way to us, for writing while strangers are killed: what a broken
    /// `create` leaves behind must not be mistaken for another container's process.
    under_way: tokio::sync::RwLock<()>,
}

#[derive(Debug, Default)]
struct Ledger {
    known: BTreeSet<u32>,
    /// Known ones that ended and are kept unreaped, so that their ids are not reused.
    pinned: BTreeSet<u32>,
    adoptions: usize,
}

/// One child, until it is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: u32,
    pidfd: AsyncFd<OwnedFd>,
    children: Arc<Children>,
}

/// As long as it lives, strangers are neither reaped nor killed.
#[derive(Debug)]
pub(crate) struct Adoption<'a> {
    children: Arc<Children>,
    _under_way: tokio::sync::RwLockReadGuard<'a, ()>,
}

impl Children {
    /// Watches a child that was just started or adopted and that nobody has reaped.
    pub(crate) fn watch(self: &Arc<Self>, pid: u32) -> io::Result<Child> {
        self.watch_pidfd(pid, sys::pidfd_open(pid)?)
    }

    /// The same for one that came with its pidfd.
    pub(crate) fn watch_pidfd(self: &Arc<Self>, pid: u32, pidfd: OwnedFd) -> io::Result<Child> {
        let pidfd = sys::readable(pidfd)?;
        self.ledger().known.insert(pid);
        Ok(Child { pid, pidfd, children: Arc::clone(self) })
    }

    /// Leaves strangers alone until the answer is dropped.
    pub(crate) async fn expect_adoption(self: &Arc<Self>) -> Adoption<'_> {
        let under_way = self.under_way.read().await;
        self.ledger().adoptions += 1;
        Adoption { children: Arc::clone(self), _under_way: under_way }
    }

    fn end_adoption(&self) {
        let mut ledger = self.ledger();
        ledger.adoptions = ledger.adoptions.saturating_sub(1);
    }

    /// Reaps children that ended and that nobody waits for. Stops at a known one: its waiter comes back here.
    fn reap_strangers(&self) {
        let ledger = self.ledger();
        if ledger.adoptions > 0 {
            return;
        }
        while let Ok(Some(found)) = sys::ended(Whom::PeekAny) {
            if ledger.pinned.contains(&found.pid) {
                // It would be found again and again: look for the others one by one.
                reap_each_stranger(&ledger);
                return;
            }
            if ledger.known.contains(&found.pid) || sys::ended(Whom::Pid(found.pid)).is_err() {
                return;
            }
        }
    }

    /// Kills and reaps the children that nobody knows and that began not before `since` (clock ticks since boot): what a killed
    /// `create` leaves behind waits for it for ever (its helpers hold both ends of their channels). Waits until nobody's orphan
    /// is on its way to us.
    pub(crate) async fn kill_strangers(&self, since: u64) {
        let _alone = self.under_way.write().await;
        let known = self.ledger().known.clone();
        let strangers = process_record::children_of_this_process();
        for stranger in strangers.into_iter().filter(|child| !known.contains(&child.pid) && child.start_time >= since) {
            log::warn!("kill stray process {} ({})", stranger.pid, stranger.name);
            // Ours and not reaped, so the pid cannot have been reused.
            let killed = sys::pidfd_open(stranger.pid).and_then(|pidfd| sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL));
            if let Err(error) = killed {
                log::warn!("kill stray process {}: {error}", stranger.pid);
            }
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reap_each_stranger(ledger: &Ledger) {
    let children = process_record::listed_children();
    for stranger in children.into_iter().filter(|pid| !ledger.known.contains(pid)) {
        // One that lives is not touched by this; one that is hidden or that somebody reaped meanwhile is no loss.
        drop(sys::ended(Whom::Pid(stranger)));
    }
}

impl Child {
    /// Its process id; only printed.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Its pidfd.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends it a signal. One that has ended takes it silently.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        match sys::pidfd_send_signal(self.pidfd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Whether it ends within this time. It is not reaped by this, and may have been before.
    pub(crate) async fn ends_within(&self, patience: Duration) -> bool {
        let end = async {
            // The readiness of a pidfd that was never readable may be stale; only the kernel's word counts.
            loop {
                let Ok(mut ready) = self.pidfd.readable().await else { return };
                if !matches!(sys::ended(Whom::PeekPidfd(self.pidfd())), Ok(None)) {
                    ready.retain_ready();
                    return;
                }
                ready.clear_ready();
            }
        };
        tokio::time::timeout(patience, end).await.is_ok()
    }

    /// Waits for its end without reaping it: its id stays its own until it is dropped.
    pub(crate) async fn ended_and_pinned(&self) -> io::Result<Ended> {
        loop {
            let mut ready = self.pidfd.readable().await?;
            if let Some(ended) = sys::ended(Whom::PeekPidfd(self.pidfd()))? {
                self.children.ledger().pinned.insert(self.pid);
                self.children.reap_strangers();
                return Ok(ended);
            }
            ready.clear_ready();
        }
    }

    /// Waits for its end and reaps it. To be awaited to its end once; safe to drop before.
    pub(crate) async fn ended(&self) -> io::Result<Ended> {
        loop {
            let mut ready = self.pidfd.readable().await?;
            if let Some(ended) = sys::ended(Whom::Pidfd(self.pidfd()))? {
                self.children.ledger().known.remove(&self.pid);
                self.children.reap_strangers();
                return Ok(ended);
            }
            ready.clear_ready();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let mut ledger = self.children.ledger();
        ledger.known.remove(&self.pid);
        let pinned = ledger.pinned.remove(&self.pid);
        drop(ledger);
        if pinned {
            // Whoever pinned it has its status.
            drop(sys::ended(Whom::Pidfd(self.pidfd())));
            self.children.reap_strangers();
        }
    }
}

impl Drop for Adoption<'_> {
    fn drop(&mut self) {
        self.children.end_adoption();
        self.children.reap_strangers();
    }
}

/// Blocks SIGCHLD, so that it can be read; `spawn` unblocks it in children.
pub(crate) fn block_sigchld() -> nix::Result<()> {
    sigchld().thread_block()
}

/// Reaps strangers for ever, each time the kernel says that a child ended.
pub(crate) async fn reap_strangers_for_ever(children: Arc<Children>) -> io::Result<()> {
    let signals = SignalFd::with_flags(&sigchld(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let signals = sys::readable(signals)?;
    loop {
        let mut ready = signals.readable().await?;
        while signals.get_ref().read_signal()?.is_some() {}
        ready.clear_ready();
        children.reap_strangers();
    }
}

fn sigchld() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set
}

impl Ended {
    /// In the words of `health`.
    pub(crate) fn exit(self, oom_killed: bool) -> Exit {
        if self.how == libc::CLD_EXITED {
            Exit { code: self.status, signal: None, oom_killed }
        } else {
            Exit { code: 128 + self.status, signal: Some(self.status), oom_killed }
        }
    }

    /// Exit code 0.
    pub(crate) fn is_success(self) -> bool {
        self.how == libc::CLD_EXITED && self.status == 0
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::spawn::{self, StdioFds};
    use crate::test_support::{PROGRAMS, eventually};

    fn run(children: &Arc<Children>, script: &str) -> Child {
        let null = spawn::null().unwrap();
        let args = [OsString::from("-c"), OsString::from(script)];
        spawn::spawn(children, Path::new("/bin/sh"), &args, StdioFds::all(&null)).unwrap()
    }

    #[tokio::test]
    async fn an_exit_code_and_a_signal_are_told_apart() {
        let _alone = PROGRAMS.lock().await;
        let children = Arc::new(Children::default());
        let exit = |code, signal| Exit { code, signal, oom_killed: false };
        assert_eq!(run(&children, "exit 3").ended().await.unwrap().exit(false), exit(3, None));
        assert_eq!(run(&children, "kill -TERM $$").ended().await.unwrap().exit(false), exit(143, Some(15)));
        // Real-time signals too, which not every library knows.
        assert_eq!(run(&children, "kill -40 $$").ended().await.unwrap().exit(false), exit(168, Some(40)));
    }

    #[tokio::test]
    async fn a_child_starts_with_every_signal_at_its_default_and_none_blocked() {
        let _alone = PROGRAMS.lock().await;
        let children = Arc::new(Children::default());
        let check = r"grep -q 'SigBlk:.0*$' /proc/self/status && grep -q 'SigIgn:.0*$' /proc/self/status";
        assert!(run(&children, check).ended().await.unwrap().is_success());
    }

    #[tokio::test]
    async fn strangers_are_reaped_but_not_while_one_may_be_adopted() {
        let _alone = PROGRAMS.lock().await;
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let children = Arc::new(Children::default());
        let adoption = children.expect_adoption().await;
        let dir = crate::test_support::Scratch::new();
        let note = dir.path().join("pid");
        let parent = run(&children, &format!("(sleep 0.1; exit 7) & echo $! > {}", note.display()));
        assert!(parent.ended().await.unwrap().is_success());
        let stranger = std::fs::read_to_string(&note).unwrap().trim().to_owned();
        let status = move || std::fs::read_to_string(format!("/proc/{stranger}/stat")).unwrap_or_default();
        eventually("the orphan has ended", || status().contains(") Z ")).await;
        drop(adoption);
        eventually("the orphan is reaped", || status().is_empty()).await;
    }

    #[tokio::test]
    async fn looking_for_an_end_neither_waits_for_it_nor_takes_it_away() {
        let _alone = PROGRAMS.lock().await;
        let children = Arc::new(Children::default());
        let child = run(&children, "exec sleep 1000");
        let begin = Instant::now();
        assert!(!child.ends_within(Duration::from_millis(20)).await);
        child.signal(libc::SIGKILL).unwrap();
        assert!(child.ends_within(Duration::from_secs(10)).await);
        assert_eq!(child.ended().await.unwrap().status, libc::SIGKILL);
        assert!(child.ends_within(Duration::from_secs(10)).await, "also after it was reaped");
        child.signal(libc::SIGTERM).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
