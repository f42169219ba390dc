//! Names of images, normalised as Docker does it: `busybox` means `docker.io/library/busybox:latest`.
//!
//! Grammar: github.com/distribution/reference.

use std::fmt;
use std::str::FromStr;

const DEFAULT_DOMAIN: &str = "docker.io";
const OLD_DOMAIN: &str = "index.docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";
/// Of domain and path together.
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

/// A complete name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    repository: String,
    version: Version,
}

/// What picks one image of a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Tag(String),
    /// `sha256:…` of a manifest. A tag beside it means nothing.
    Digest(String),
}

/// A name that cannot be an image's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not the name of an image: {why}")]
pub(crate) struct InvalidReference {
    name: String,
    why: &'static str,
}

impl Reference {
    /// `docker.io/library/busybox`.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// `latest`; none when it names a digest.
    pub(crate) fn tag(&self) -> Option<&str> {
        match &self.version {
            Version::Tag(tag) => Some(tag),
            Version::Digest(_) => None,
        }
    }

    /// `sha256:…`; none when it names a tag.
    pub(crate) fn digest(&self) -> Option<&str> {
        match &self.version {
            Version::Digest(digest) => Some(digest),
            Version::Tag(_) => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(name: &str) -> Result<Self, InvalidReference> {
        parse(name).map_err(|why| InvalidReference { name: name.to_owned(), why })
    }
}

fn parse(name: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    // A colon in the last component begins a tag, one before it the port of a registry.
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match rest.get(slash..).and_then(|last| last.find(':')) {
        Some(colon) => (rest.get(..slash + colon).unwrap_or_default(), rest.get(slash + colon + 1..)),
        None => (rest, None),
    };
    let repository = repository(path)?;
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("a tag has up to 128 letters, digits, '_', '.' and '-', and does not begin with '.' or '-'");
    }
    let version = match digest {
        Some(digest) if is_digest(digest) => Version::Digest(digest.to_owned()),
        Some(_) => return Err("a digest is sha256: and 64 lower case hexadecimal digits"),
        None => Version::Tag(tag.unwrap_or(DEFAULT_TAG).to_owned()),
    };
    Ok(Reference { repository, version })
}

fn repository(path: &str) -> Result<String, &'static str> {
    let is_domain =
        |first: &str| first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase());
    let (domain, path) = match path.split_once('/').filter(|(first, _)| is_domain(first)) {
        Some((OLD_DOMAIN, path)) => (DEFAULT_DOMAIN, path),
        Some((domain, path)) => (domain, path),
        None => (DEFAULT_DOMAIN, path),
    };
    if !is_host(domain) {
        return Err("its registry is not a host name");
    }
    if !path.split('/').all(is_component) {
        return Err("its parts have lower case letters, digits, and single '.', '_' or '-' between them");
    }
    let official = domain == DEFAULT_DOMAIN && !path.contains('/');
    let repository = if official { format!("{domain}/{DEFAULT_NAMESPACE}/{path}") } else { format!("{domain}/{path}") };
    if repository.len() > LONGEST_NAME { Err("it is longer than 255 characters") } else { Ok(repository) }
}

/// A host name or address (IPv6 in brackets), with or without a port.
fn is_host(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-');
    let is_address = |inner: &str| inner.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    port.is_none_or(is_port) && address.map_or_else(|| host.split('.').all(is_label), is_address)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(component: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|run| !run.is_empty());
    let mut separators = separators.map(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'));
    let ends = [component.bytes().next(), component.bytes().next_back()];
    ends.iter().all(|end| end.is_some_and(is_inner)) && separators.all(|allowed| allowed)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

/// `sha256:` and 64 hexadecimal digits.
pub(crate) fn is_digest(digest: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let rows = [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("busybox:1.36", "docker.io/library/busybox:1.36".to_owned()),
            ("library/busybox", "docker.io/library/busybox:latest".to_owned()),
            ("bitnami/nginx", "docker.io/bitnami/nginx:latest".to_owned()),
            ("docker.io/nginx", "docker.io/library/nginx:latest".to_owned()),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest".to_owned()),
            ("registry.k8s.io/busybox:1.27.2", "registry.k8s.io/busybox:1.27.2".to_owned()),
            ("localhost/x", "localhost/x:latest".to_owned()),
            ("localhost:5000/x:1", "localhost:5000/x:1".to_owned()),
            ("[::1]:5000/x", "[::1]:5000/x:latest".to_owned()),
            ("host:5000/a/b__c/d--e", "host:5000/a/b__c/d--e:latest".to_owned()),
            (&format!("busybox:1@{digest}"), format!("docker.io/library/busybox@{digest}")),
        ];
        for (name, complete) in rows {
            assert_eq!(name.parse::<Reference>().unwrap().to_string(), complete, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let long = "a".repeat(256);
        let rows = [
            "",
            "Busybox",
            "a//b",
            "a/",
            "/a",
            "a:",
            "a:-x",
            "a_-b",
            "a..b",
            "-a",
            "a b",
            "a@sha256:12",
            "../a",
            "a.:1/b",
            "a.b:/c",
            &long,
        ];
        for name in rows {
            assert!(name.parse::<Reference>().is_err(), "{name:?}");
        }
    }
}
