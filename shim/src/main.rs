//! containerd-shim-hshim-v2: the supervisor of one pod.
//!
//! One process, one thread. `hshim` starts it with the supervision directory of a pod or a bundle, containerd with the bundle of
//! a task; it looks after the containers until they are deleted, and leaves nothing behind.

mod arguments;
mod bootstrap;
mod bundle_spec;
mod cgroup_mounts;
mod children;
mod cleanup;
mod clock;
mod control;
mod event_file;
mod init;
mod node;
mod output;
mod pod;
mod probe;
mod process_record;
mod ready;
mod records;
mod rootfs;
mod runtime_command;
mod session;
mod spawn;
mod start;
mod stderr_log;
mod streams;
mod supervise;
mod sys;
mod task;
#[cfg(test)]
mod test_support;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use arguments::Arguments;

fn main() -> ExitCode {
    stderr_log::start();
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if bootstrap::is_for(&args) {
        return bootstrap::run(args);
    }
    match Arguments::parse(args) {
        Ok(Arguments::Supervise { dir, ready, stay }) => session::run(dir, ready, stay),
        Ok(Arguments::Version) => {
            let line = concat!("containerd-shim-hshim-v2 ", env!("CARGO_PKG_VERSION"), "\n");
            // A closed pipe is the reader's wish.
            drop(std::io::stdout().write_all(line.as_bytes()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "containerd-shim-hshim-v2: {error}"));
            ExitCode::from(2)
        }
    }
}
