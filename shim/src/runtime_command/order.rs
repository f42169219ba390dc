//! One command to run: its arguments, its deadline, and how its end and its log are read.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;

use super::{Runtime, RuntimeError};
use crate::children::Child;
use crate::process_record;
use crate::spawn::{self, StdioFds};
use crate::sys::Ended;

/// How long a command may still take when nobody wants what it makes.
const LAST_CHANCE: Duration = Duration::from_secs(3);

static NEXT_LOG: AtomicU64 = AtomicU64::new(0);

/// One command to run.
pub(super) struct Order<'a> {
    pub(super) verb: &'static str,
    pub(super) args: Vec<OsString>,
    pub(super) log: &'a Path,
    pub(super) stdio: StdioFds<'a>,
}

impl Runtime {
    /// Runs a command that leaves us a child, whose id it writes to `pid_file`.
    pub(super) async fn adopt(&self, path: &Path, order: Order<'_>, pid_file: PathBuf) -> Result<Child, RuntimeError> {
        let (verb, since) = (order.verb, process_record::ticks_since_boot());
        let adopted = {
            let _adoption = self.children.expect_adoption().await;
            let ran = self.run(path, order).await;
            ran.and_then(|()| {
                read_pid(&pid_file)
                    .map_err(|source| RuntimeError::PidFile { path: pid_file, source })
                    .and_then(|pid| self.children.watch(pid).map_err(|source| RuntimeError::Gone { pid, source }))
            })
        };
        if adopted.is_err() && verb == "create" {
            self.children.kill_strangers(since).await;
        }
        adopted
    }

    pub(super) async fn silently(&self, verb: &'static str, args: Vec<OsString>, files: &Path) -> Result<(), RuntimeError> {
        let null = spawn::null().map_err(|source| self.not_spawned(verb, source))?;
        // Commands about one container may overlap.
        let log = files.join(format!("runtime-{verb}-{}.log", NEXT_LOG.fetch_add(1, Ordering::Relaxed)));
        let ran = self.run(&self.command.path, Order { verb, args, log: &log, stdio: StdioFds::all(&null) }).await;
        drop(fs::remove_file(&log));
        ran
    }

    pub(super) async fn run(&self, path: &Path, order: Order<'_>) -> Result<(), RuntimeError> {
        let Order { verb, args, log, stdio } = order;
        // Each command's log is its own; a missing file is as good as an empty one.
        drop(fs::remove_file(log));
        let child = spawn::spawn(&self.children, path, &self.argv(verb, args, log), stdio)
            .map_err(|source| self.not_spawned(verb, source))?;
        let path = path.to_owned();
        let ended = tokio::select! {
            ended = child.ended() => Ok(ended),
            after = self.late(verb) => Err(after),
        };
        let ended = match ended {
            Ok(ended) => ended,
            Err(after) => {
                self.sweep(child).await;
                return Err(RuntimeError::TimedOut { path, verb, after });
            }
        };
        let ended = ended.map_err(|source| self.not_spawned(verb, source))?;
        if ended.is_success() {
            return Ok(());
        }
        let message = last_error(&fs::read_to_string(log).unwrap_or_default());
        Err(message.map_or_else(
            || RuntimeError::Silent { path, verb, end: describe(ended) },
            |message| RuntimeError::Refused { message },
        ))
    }

    /// Resolves when a command has taken too long, with how long that is.
    async fn late(&self, verb: &str) -> Duration {
        let is_unwanted = async {
            let mut hurried = self.hurried.subscribe();
            let is_hurried = hurried.wait_for(|hurried| *hurried).await.is_ok();
            if is_hurried && matches!(verb, "create" | "start") {
                tokio::time::sleep(LAST_CHANCE).await;
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = tokio::time::sleep(self.deadline) => self.deadline,
            () = is_unwanted => LAST_CHANCE,
        }
    }

    /// Kills a command that does not answer. What a `create` left behind is swept up by its caller.
    async fn sweep(&self, child: Child) {
        log::error!("{} does not answer: kill it", self.command.path.display());
        if let Err(error) = child.signal(libc::SIGKILL) {
            log::error!("kill the runtime's process {}: {error}", child.pid());
        }
        // SIGKILL ends it unless it hangs in the kernel; then nobody waits for it any longer.
        drop(tokio::time::timeout(Duration::from_secs(5), child.ended()).await);
    }

    fn argv(&self, verb: &str, args: Vec<OsString>, log: &Path) -> Vec<OsString> {
        let mut argv: Vec<OsString> = vec!["--root".into(), self.command.root.clone().into()];
        argv.extend(["--log".into(), log.into(), "--log-format".into(), "json".into()]);
        if self.command.systemd_cgroup {
            argv.push("--systemd-cgroup".into());
        }
        argv.push(verb.into());
        argv.extend(args);
        argv
    }

    pub(super) fn not_spawned(&self, verb: &'static str, source: std::io::Error) -> RuntimeError {
        RuntimeError::Spawn { path: self.command.path.clone(), verb, source }
    }
}

fn read_pid(path: &Path) -> std::io::Result<u32> {
    fs::read_to_string(path)?.trim().parse().map_err(std::io::Error::other)
}

fn describe(ended: Ended) -> String {
    if ended.how == libc::CLD_EXITED {
        format!("ended with code {}", ended.status)
    } else {
        format!("died of signal {}", ended.status)
    }
}

/// The message of the last line that is an error.
fn last_error(log: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.into_iter().find(|line| matches!(line.level.as_str(), "error" | "fatal" | "panic")).map(|line| line.msg)
}

#[cfg(test)]
mod tests {
    use super::last_error;

    #[test]
    fn the_last_error_line_is_the_message_whatever_follows_it() {
        let log = concat!(
            r#"{"level":"error","msg":"first","time":"t"}"#,
            "\n",
            r#"{"level":"error","msg":"exec: \"foo\": not found","time":"t"}"#,
            "\n",
            r#"{"level":"warning","msg":"later","time":"t"}"#,
            "\nhalf a li"
        );
        assert_eq!(last_error(log).as_deref(), Some("exec: \"foo\": not found"));
        assert_eq!(last_error(""), None);
    }
}
