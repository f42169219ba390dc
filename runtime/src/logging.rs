//! The log: one line a record, in the two shapes of logrus that callers of runc read, and the final error of a command.
//!
//! ```text
//! text   time="2026-11-24T13:00:00Z" level=warning msg="…"
//! json   {"level":"error","msg":"…","time":"2026-11-24T13:00:00Z"}
//! ```
//! containerd shows its user the `msg` of the last line with `"level":"error"` of the file that it passed as `--log`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use anyhow::Context;
use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use serde::Serialize;

use crate::cli::{Globals, LogFormat};

static LOGGER: OnceLock<Logger> = OnceLock::new();
/// Write side of a pipe that the processes of a create share; see [`Causes`].
static CAUSES: OnceLock<OwnedFd> = OnceLock::new();
/// Of the libraries only errors are noted, unless everything is wanted.
const LIBRARIES: [&str; 2] = ["libcontainer", "libcgroups"];
/// A cause is shown up to here: a debug text may go on for pages.
const LONGEST_CAUSE: usize = 400;

/// What libcontainer said about its errors, in whichever process: what it returns is often no more than "failed syscall".
#[derive(Debug)]
pub(crate) struct Causes(File);

impl Causes {
    /// Notes errors from now on. Once in a process.
    pub(crate) fn note() -> anyhow::Result<Self> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).context("make a pipe")?;
        CAUSES.set(write).map_err(|_again| anyhow::anyhow!("errors of libcontainer are noted already"))?;
        Ok(Self(read.into()))
    }

    /// The first of them, from which the others followed.
    pub(crate) fn first(mut self) -> Option<String> {
        let mut noted = [0; 4096];
        let length = self.0.read(&mut noted).ok()?;
        let text = String::from_utf8_lossy(noted.get(..length)?).into_owned();
        Some(text.lines().next()?.chars().take(LONGEST_CAUSE).collect())
    }
}

fn is_of_a_library(target: &str) -> bool {
    LIBRARIES.iter().any(|library| target.starts_with(library))
}

struct Logger {
    format: LogFormat,
    file: Option<Mutex<File>>,
}

/// Starts the log as the flags say.
pub(crate) fn start(globals: &Globals) -> anyhow::Result<()> {
    let file = globals.log.as_deref().map(open).transpose()?;
    install(Logger { format: globals.log_format, file: file.map(Mutex::new) }, globals.level());
    Ok(())
}

/// Starts the log after the command line was not understood, by the flags that can be found in it.
pub(crate) fn start_for_wrong_usage(args: &[OsString]) {
    let value = |flag: &str| {
        let joined = format!("{flag}=");
        let at = args.iter().position(|arg| arg == flag);
        let after = at.and_then(|at| args.get(at + 1)).map(|arg| arg.to_string_lossy().into_owned());
        after.or_else(|| args.iter().find_map(|arg| arg.to_string_lossy().strip_prefix(&joined).map(str::to_owned)))
    };
    let file = value("--log").and_then(|path| open(Path::new(&path)).ok());
    let format = if value("--log-format").as_deref() == Some("json") { LogFormat::Json } else { LogFormat::Text };
    install(Logger { format, file: file.map(Mutex::new) }, LevelFilter::Warn);
}

/// `--log-level`, in logrus' words or those of the `log` crate.
pub(crate) fn parse_level(level: &str) -> Result<LevelFilter, String> {
    match level.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => Ok(LevelFilter::Error),
        "warning" | "warn" => Ok(LevelFilter::Warn),
        "info" => Ok(LevelFilter::Info),
        "debug" => Ok(LevelFilter::Debug),
        "trace" => Ok(LevelFilter::Trace),
        _ => Err("one of error, warning, info, debug, trace".to_owned()),
    }
}

/// Tells the user the error that ends this command: on standard error, and as the last line of the log file if there is one.
pub(crate) fn report(message: &str) {
    let logger = LOGGER.get();
    if let Some(Logger { file: Some(_), .. }) = logger {
        log::error!("{message}");
    }
    // Nobody is left to hear that standard error is closed.
    drop(match logger {
        Some(Logger { format: LogFormat::Json, file: None }) => {
            writeln!(std::io::stderr(), "{}", line(LogFormat::Json, Level::Error, message))
        }
        _ => writeln!(std::io::stderr(), "hshim: {message}"),
    });
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .with_context(|| format!("open the log {}", path.display()))
}

fn install(logger: Logger, level: LevelFilter) {
    let logger = LOGGER.get_or_init(|| logger);
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if is_of_a_library(record.target()) {
            if record.level() == Level::Error
                && let Some(file) = CAUSES.get().and_then(|causes| causes.try_clone().ok())
            {
                // When the pipe is full, enough has been said.
                drop(writeln!(File::from(file), "{}", record.args().to_string().replace('\n', " ")));
            }
            if log::max_level() < LevelFilter::Debug {
                return;
            }
        }
        let line = line(self.format, record.level(), &record.args().to_string());
        // A log that cannot be written must not end the command.
        drop(match &self.file {
            Some(file) => match file.lock() {
                Ok(mut file) => writeln!(file, "{line}"),
                Err(_poisoned) => Ok(()),
            },
            None => writeln!(std::io::stderr(), "{line}"),
        });
    }

    fn flush(&self) {}
}

#[derive(Serialize)]
struct JsonLine<'a> {
    level: &'a str,
    msg: &'a str,
    time: &'a str,
}

fn line(format: LogFormat, level: Level, message: &str) -> String {
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let level = logrus_word(level);
    match format {
        LogFormat::Text => format!("time=\"{time}\" level={level} msg={}", quoted(message)),
        LogFormat::Json => serde_json::to_string(&JsonLine { level, msg: message, time: &time }).unwrap_or_default(),
    }
}

fn quoted(message: &str) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

fn logrus_word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_has_the_keys_of_logrus_in_its_order() {
        let json = line(LogFormat::Json, Level::Error, "a \"b\"\nc");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["level"], "error");
        assert_eq!(value["msg"], "a \"b\"\nc");
        assert!(value["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert!(json.starts_with("{\"level\":") && !json.contains('\n'));
    }

    #[test]
    fn a_text_line_quotes_its_message() {
        let text = line(LogFormat::Text, Level::Warn, "two\nlines");
        assert!(text.starts_with("time=\"2") && text.ends_with(r#" level=warning msg="two\nlines""#), "{text}");
    }
}
