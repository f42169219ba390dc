//! A supervised bundle and ways to look at it.

use std::fs;
use std::path::PathBuf;

use hshim_tests::bundle::Bundle;
use hshim_tests::{programs, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Back-off of 50 ms that does not grow beyond 100 ms.
pub const SHORT: (&str, &str) = ("backoff", r#"{"initialMilliseconds":50,"capMilliseconds":100}"#);
/// Fails when /tmp/healthy is not there: looked for every 200 ms, two failures in a row.
pub const HEALTHY: (&str, &str) = ("livenessProbe", r#"{"exec":{"command":["cat","/tmp/healthy"]},"failureThreshold":2}"#);
pub const OFTEN: (&str, &str) = ("supervision", r#"{"periodMilliseconds":200}"#);

/// A bundle of hshim with these annotations, written without their prefix.
pub fn bundle(script: &str, annotations: &[(&str, &str)]) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.program = programs::hshim();
    bundle.edit(|config| {
        let named = annotations.iter().map(|(name, value)| (format!("hshim.dev/{name}"), json!(value)));
        config["annotations"] = Value::Object(named.collect());
    });
    bundle
}

/// What a test asks of a supervised bundle.
pub trait Supervised {
    fn dir_of_supervision(&self) -> PathBuf;
    fn is_supervised(&self) -> bool;
    fn phase(&self) -> String;
    fn restarts(&self) -> u64;
    fn shim(&self) -> Pid;
    fn kill_shim(&self);
    fn traces(&self) -> Vec<PathBuf>;
}

impl Supervised for Bundle {
    fn dir_of_supervision(&self) -> PathBuf {
        self.root().join("bundles").join(self.id())
    }

    fn is_supervised(&self) -> bool {
        self.dir_of_supervision().join("shim.sock").exists()
    }

    /// The annotation of `state`.
    fn phase(&self) -> String {
        let phase = self.state().and_then(|state| Some(state["annotations"].get("hshim.dev/phase")?.as_str()?.to_owned()));
        phase.unwrap_or_default()
    }

    fn restarts(&self) -> u64 {
        let text = fs::read(self.dir_of_supervision().join("status.json")).unwrap_or_default();
        let status: Value = serde_json::from_slice(&text).unwrap_or_default();
        status["status"]["containers"][0]["restartCount"].as_u64().unwrap_or_default()
    }

    fn shim(&self) -> Pid {
        let text = fs::read(self.dir_of_supervision().join("shim.json")).unwrap();
        let identity: Value = serde_json::from_slice(&text).unwrap();
        Pid::from_raw(i32::try_from(identity["process"]["pid"].as_i64().unwrap()).unwrap())
    }

    fn kill_shim(&self) {
        let shim = self.shim();
        kill(shim, Signal::SIGKILL).unwrap();
        wait::until("the shim is gone", || has_ended(shim));
    }

    /// Directories and cgroups that are left.
    fn traces(&self) -> Vec<PathBuf> {
        let dirs = [self.dir_of_supervision(), self.root().join("containers").join(self.id())];
        dirs.into_iter().filter(|dir| dir.exists()).chain(self.cgroups()).collect()
    }
}

/// Gone, or not yet reaped by whoever its parent is.
pub fn has_ended(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}
