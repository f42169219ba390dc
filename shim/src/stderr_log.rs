//! What the shim says in words: lines on standard error, which is `shim.log`. While containers are healthy it says nothing.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

struct StderrLog;

static LOG: StderrLog = StderrLog;

/// Starts the log. `HSHIM_LOG=debug` makes it say more.
pub(crate) fn start() {
    let level = std::env::var("HSHIM_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::Warn);
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{:.3} {} {}\n", jiff::Timestamp::now(), record.level(), record.args());
            // Nobody is left to hear that the log cannot be written.
            drop(std::io::stderr().write_all(line.as_bytes()));
        }
    }

    fn flush(&self) {}
}
