//! The namespaces of other processes that a bundle joins: `/proc/PID/ns/…` of the pod's pause container.

use std::fs;

use crate::bundle_spec::BundleSpec;
use crate::process_record;

/// Which they were when the container was created: a process id may be reused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct JoinedNamespaces(Vec<(String, Option<String>)>);

impl JoinedNamespaces {
    /// Those of a bundle.
    pub(super) fn of(spec: &BundleSpec) -> Self {
        let of_processes = spec.namespace_paths().filter(|path| path.starts_with("/proc/"));
        Self(of_processes.map(|path| (path.to_owned(), identity(path))).collect())
    }

    /// The path of one that is not what it was.
    pub(super) fn changed(&self) -> Option<&str> {
        self.0.iter().find(|(path, before)| before.is_none() || identity(path) != *before).map(|(path, _)| path.as_str())
    }
}

/// The kernel's number of the namespace, and when the process began: a pod that was made anew may get both numbers again, but
/// not at the same time.
fn identity(path: &str) -> Option<String> {
    let pid = path.split('/').nth(2)?.parse().ok()?;
    let start_time = process_record::stat(pid).ok()?.start_time;
    Some(format!("{} {start_time}", fs::read_link(path).ok()?.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_went_away_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let path = format!("/proc/{}/ns/net", child.id());
        let joined = JoinedNamespaces(vec![(path.clone(), identity(&path))]);
        assert_eq!(joined.changed(), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(joined.changed(), Some(path.as_str()));
    }
}
