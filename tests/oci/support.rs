//! What the checks share: a container that runs to its end and says something.

use std::process::Output;

use hshim_tests::bundle::Bundle;
use hshim_tests::wait;

pub(crate) use hshim_tests::programs::judges_hshim;
pub(crate) use serde_json::{Value, json};

/// Skips a check where there are no containers.
macro_rules! needs_containers {
    () => {
        if let Some(why) = hshim_tests::skip::why_no_containers() {
            hshim_tests::skip!("{why}");
        }
    };
}

/// A bundle that runs a shell script; the test is skipped where there are no containers.
macro_rules! bundle {
    ($script:expr) => {{
        needs_containers!();
        hshim_tests::bundle::Bundle::new($script)
    }};
    ($script:expr, $($path:ident).+ = $value:tt) => {{
        let mut bundle = bundle!($script);
        bundle.edit(|config| $crate::support::at(config, &[$(stringify!($path)),+], $crate::support::json!($value)));
        bundle
    }};
}

/// Skips a check of what only hshim does.
macro_rules! only_hshim {
    ($why:expr) => {
        if !$crate::support::judges_hshim() {
            hshim_tests::skip!("not of this reference: {}", $why);
        }
    };
}

/// Sets a value below a document.
pub(crate) fn at(document: &mut Value, path: &[&str], value: Value) {
    let mut place = document;
    for name in path {
        place = &mut place[*name];
    }
    *place = value;
}

/// A container in the foreground.
pub(crate) trait InForeground {
    /// `run`, to its end.
    fn run(&self) -> Output;
    /// What it says on standard output, without the line's end; it must succeed.
    fn says(&self) -> String;
    /// Standard error of a `run` that must fail.
    fn fails(&self) -> String;
    /// `exec ARGS`; what it says on standard output, without the line's end. It must succeed.
    fn exec(&self, args: &[&str]) -> String;
}

impl InForeground for Bundle {
    fn run(&self) -> Output {
        self.runtime(&["run", self.id()])
    }

    fn says(&self) -> String {
        self.ok(&["run", self.id()]).trim_end().to_owned()
    }

    fn fails(&self) -> String {
        self.refused(&["run", self.id()])
    }

    fn exec(&self, args: &[&str]) -> String {
        let all: Vec<&str> = ["exec"].into_iter().chain(args.iter().copied()).collect();
        self.ok(&all).trim_end().to_owned()
    }
}

/// Waits until the container's status is this.
pub(crate) fn await_status(bundle: &Bundle, status: &str) {
    wait::until(status, || bundle.status() == status);
}

/// Adds to a list of the configuration.
pub(crate) fn push(list: &mut Value, value: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(value),
        None => *list = json!([value]),
    }
}

/// Takes a namespace out of the configuration.
pub(crate) fn without_namespace(config: &mut Value, typ: &str) {
    namespaces(config).retain(|namespace| namespace["type"] != typ);
}

/// The namespaces of a configuration.
pub(crate) fn namespaces(config: &mut Value) -> &mut Vec<Value> {
    config["linux"]["namespaces"].as_array_mut().unwrap()
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The runtime started by a shell script, which ends with `exec "$@"`, in the bundle's directory.
pub(crate) fn through_shell(bundle: &Bundle, script: &str, args: &[&str]) -> Output {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&bundle.program).arg("--root").arg(bundle.root()).args(args);
    command.current_dir(bundle.dir()).stdin(std::process::Stdio::null()).output().unwrap()
}
