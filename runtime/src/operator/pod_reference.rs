//! What an operator names: a pod as `pod/NAME`, `pod NAME` or `NAME`, or a supervised bundle as `bundle/ID`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use hshim_health::admission::{is_label, is_subdomain};
use hshim_health::layout::{self, SupervisionDir};

use super::pod_name::is_resource;
use crate::container_id::ContainerId;

const BUNDLE_WORD: &str = "bundle";

/// Something supervised, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PodReference {
    /// `metadata.name`.
    Pod(String),
    /// Name of the container.
    Bundle(ContainerId),
}

/// A word that names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidReference {
    /// It has a `/`, but not one of our words before it.
    #[error("{0:?} is no kind of resource: pod, pods and po are, and bundle for a supervised bundle")]
    Kind(String),
    /// It cannot be the name of a pod.
    #[error(
        "{0:?} is not the name of a pod: lower-case letters, digits, \"-\" and \".\" are allowed, letters and digits at both ends"
    )]
    Name(String),
    /// It cannot be the name of a container.
    #[error(transparent)]
    Id(#[from] crate::container_id::InvalidContainerId),
    /// There is none.
    #[error("name a pod: pod/NAME")]
    Missing,
    /// More than one where one is meant.
    #[error("one pod can be named here, not {0}")]
    Several(usize),
}

impl PodReference {
    /// Where its shim keeps its records.
    pub(crate) fn dir(&self, root: &Path, namespace: &str) -> SupervisionDir {
        SupervisionDir(match self {
            Self::Pod(name) => layout::pod_dir(root, namespace, name),
            Self::Bundle(id) => layout::bundle_dir(root, id.as_str()),
        })
    }

    /// All that the operands of a verb name: `pod NAME…`, `pod/NAME…` or bare names.
    pub(crate) fn parse_all(words: &[String]) -> Result<Vec<Self>, InvalidReference> {
        match words {
            [kind, names @ ..] if is_resource(kind) => names.iter().map(|name| pod(name)).collect(),
            words => words.iter().map(|word| word.parse()).collect(),
        }
    }

    /// The one that the operands name.
    pub(crate) fn parse_one(words: &[String]) -> Result<Self, InvalidReference> {
        let mut all = Self::parse_all(words)?;
        match (all.pop(), all.len()) {
            (Some(one), 0) => Ok(one),
            (Some(_), others) => Err(InvalidReference::Several(others + 1)),
            (None, _) => Err(InvalidReference::Missing),
        }
    }
}

fn pod(name: &str) -> Result<PodReference, InvalidReference> {
    if is_subdomain(name) { Ok(PodReference::Pod(name.to_owned())) } else { Err(InvalidReference::Name(name.to_owned())) }
}

impl FromStr for PodReference {
    type Err = InvalidReference;

    fn from_str(word: &str) -> Result<Self, InvalidReference> {
        match word.split_once('/') {
            None => pod(word),
            Some((kind, name)) if is_resource(kind) => pod(name),
            Some((BUNDLE_WORD, id)) => Ok(Self::Bundle(id.parse()?)),
            Some((kind, _)) => Err(InvalidReference::Kind(kind.to_owned())),
        }
    }
}

impl fmt::Display for PodReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(name) => write!(f, "pod/{name}"),
            Self::Bundle(id) => write!(f, "{BUNDLE_WORD}/{id}"),
        }
    }
}

/// Checks the name of a namespace, which becomes part of a path.
pub(crate) fn parse_namespace(name: &str) -> Result<String, String> {
    is_label(name)
        .then(|| name.to_owned())
        .ok_or_else(|| "lower-case letters, digits and \"-\" are allowed, letters and digits at both ends".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn pods_are_named_in_kubectls_ways() {
        let web = PodReference::Pod("web".into());
        for line in ["web", "pod/web", "pods/web", "po/web", "pod web", "po web"] {
            assert_eq!(PodReference::parse_one(&words(line)), Ok(web.clone()), "{line}");
        }
        assert_eq!(PodReference::parse_all(&words("pods a b")).unwrap().len(), 2);
        assert_eq!(PodReference::parse_all(&words("pod/a bundle/B_1")).unwrap()[1].to_string(), "bundle/B_1");
        assert_eq!(PodReference::parse_all(&words("pods")), Ok(Vec::new()));
    }

    #[test]
    fn what_cannot_be_a_name_is_refused_and_never_becomes_a_path() {
        for line in ["pod/../x", "pod/", "..", "-a", "A", "a_b", "node/x", "bundle/", "bundle/..", "pod/a/b", ""] {
            assert!(line.parse::<PodReference>().is_err(), "{line}");
        }
        assert_eq!(PodReference::parse_one(&[]), Err(InvalidReference::Missing));
        assert_eq!(PodReference::parse_one(&words("a b")), Err(InvalidReference::Several(2)));
        for namespace in ["", "..", "a.b", "A", "a/b"] {
            assert!(parse_namespace(namespace).is_err(), "{namespace}");
        }
        assert_eq!(parse_namespace("kube-system").as_deref(), Ok("kube-system"));
    }
}
