//! Pods as a user names them: `pod/NAME`, or `pod NAME`.

use std::fmt;
use std::path::Path;

use hshim_health::admission::{is_label, is_subdomain};
use hshim_health::layout::{self, SupervisionDir};

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PodName {
    /// `default` unless given.
    pub(crate) namespace: String,
    /// `metadata.name`.
    pub(crate) name: String,
}

/// The namespace that is meant when none is named.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";
const RESOURCES: [&str; 3] = ["pod", "pods", "po"];

/// Whether a word stands for pods.
pub(crate) fn is_resource(word: &str) -> bool {
    RESOURCES.contains(&word)
}

impl PodName {
    /// Its supervision directory.
    pub(crate) fn dir(&self, root: &Path) -> SupervisionDir {
        SupervisionDir(layout::pod_dir(root, &self.namespace, &self.name))
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod/{}", self.name)
    }
}

/// The pods that the operands of a verb name.
pub(crate) fn parse(words: &[String], namespace: Option<&str>) -> anyhow::Result<Vec<PodName>> {
    let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
    anyhow::ensure!(is_label(namespace), "{namespace:?} is not the name of a namespace");
    let names: Vec<&str> = match words {
        [resource, names @ ..] if is_resource(resource) => {
            anyhow::ensure!(!names.is_empty(), "which pod? give its name: pod/NAME");
            names.iter().map(String::as_str).collect()
        }
        words => words.iter().map(|word| name(word)).collect::<anyhow::Result<_>>()?,
    };
    let pod = |name: &str| {
        anyhow::ensure!(is_subdomain(name), "{name:?} is not the name of a pod");
        Ok(PodName { namespace: namespace.to_owned(), name: name.to_owned() })
    };
    names.into_iter().map(pod).collect()
}

fn name(word: &str) -> anyhow::Result<&str> {
    match word.split_once('/') {
        Some((resource, name)) if is_resource(resource) => Ok(name),
        Some((resource, _)) => anyhow::bail!("there are no resources of the kind {resource:?} here, only pods: pod/NAME"),
        None => anyhow::bail!("{word}: name a pod as pod/{word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let pods = parse(&words, None).map_err(|error| error.to_string())?;
        Ok(pods.into_iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect())
    }

    #[test]
    fn pods_are_named_in_kubectls_ways() {
        assert_eq!(parsed(&["pod/a", "po/b", "pods/c"]).unwrap(), ["default/a", "default/b", "default/c"]);
        assert_eq!(parsed(&["pods", "a", "b"]).unwrap(), ["default/a", "default/b"]);
        assert_eq!(parsed(&["a"]).unwrap_err(), "a: name a pod as pod/a");
        assert!(parsed(&["job/a"]).unwrap_err().starts_with("there are no resources of the kind \"job\""));
        for words in [&["pod/../x"][..], &["pod/"], &["pod/.."], &["pod/A"], &["pods"]] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }
}
