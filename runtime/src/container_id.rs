//! The name of a container.

use std::fmt;
use std::str::FromStr;

/// A name that is safe as a file name: letters, digits and `_+-.`, but not `.` or `..` (runc's rule).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContainerId(String);

/// The longest name; a directory entry must hold it.
const LONGEST: usize = 255;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid container ID format: {0:?}: up to 255 letters, digits and _+-. are allowed")]
pub(crate) struct InvalidContainerId(String);

impl ContainerId {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = InvalidContainerId;

    fn from_str(id: &str) -> Result<Self, InvalidContainerId> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if id.is_empty() || id.len() > LONGEST || id == "." || id == ".." || !id.bytes().all(is_allowed) {
            return Err(InvalidContainerId(id.to_owned()));
        }
        Ok(Self(id.to_owned()))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_directory_is_refused() {
        for id in ["", ".", "..", "a/b", "../x", "a b", "a\0b", "ä", &"x".repeat(256)] {
            assert!(id.parse::<ContainerId>().is_err(), "{id:?}");
        }
        for id in ["a", "A_b+c-d.e", "...", &"x".repeat(255)] {
            assert!(id.parse::<ContainerId>().is_ok(), "{id:?}");
        }
    }
}
