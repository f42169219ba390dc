//! Faults in what a user wrote: all of them, each with its path, worded as Kubernetes' API server words them
//! (apimachinery/pkg/util/validation/field/errors.go).

use std::fmt;

use serde_json::Value;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `spec.containers[0].livenessProbe.periodSeconds`.
    pub path: String,
    /// What kind of fault.
    pub kind: FaultKind,
    /// The value as written, where it helps.
    pub value: Option<String>,
    /// What is wrong with it, and what would be right.
    pub detail: String,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It must be there.
    Required,
    /// It may not have this value.
    Invalid,
    /// It may not be there.
    Forbidden,
    /// Not one of the words that are allowed.
    Unsupported,
    /// Given twice.
    Duplicate,
    /// It names something that is not there.
    NotFound,
    /// Kubernetes has no such field.
    Unknown,
    /// Kubernetes has it, hshim has not.
    NotSupported,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FaultKind::Required => "Required value",
            FaultKind::Invalid => "Invalid value",
            FaultKind::Forbidden => "Forbidden",
            FaultKind::Unsupported => "Unsupported value",
            FaultKind::Duplicate => "Duplicate value",
            FaultKind::NotFound => "Not found",
            FaultKind::Unknown => "unknown field",
            FaultKind::NotSupported => "not supported by hshim",
        };
        write!(out, "{}: {kind}", self.path)?;
        if let Some(value) = &self.value {
            write!(out, ": {value}")?;
        }
        if !self.detail.is_empty() {
            write!(out, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// All faults of one document; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(out)?;
            }
            write!(out, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl Faults {
    /// No fault has been found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `found` if there is no fault.
    ///
    /// # Errors
    /// All the faults.
    pub fn or<T>(self, found: T) -> Result<T, Self> {
        if self.is_empty() { Ok(found) } else { Err(self) }
    }

    /// Add what a later look at the same document found, without what only follows from an earlier fault: the same place, or something
    /// that is missing because what stands there could not be read or is misspelled.
    #[must_use]
    pub fn and_then(mut self, later: Self) -> Self {
        let parent = |path: &str| path.rsplit_once('.').map_or(String::new(), |(parent, _name)| parent.to_owned());
        let explains = |earlier: &Fault, fault: &Fault| {
            let is_missing = fault.kind == FaultKind::Required;
            let is_below = earlier.path.strip_prefix(&fault.path).is_some_and(|rest| rest.starts_with(['.', '[']));
            // What is missing beside an unknown name may stand there misspelled.
            let is_misspelled = earlier.kind == FaultKind::Unknown && parent(&earlier.path) == parent(&fault.path);
            let is_unread = earlier.kind != FaultKind::Unknown && is_below;
            earlier.path == fault.path || (is_missing && (is_unread || is_misspelled))
        };
        let earlier = self.0.clone();
        self.0.extend(later.0.into_iter().filter(|fault| !earlier.iter().any(|earlier| explains(earlier, fault))));
        self
    }

    /// Add one.
    pub fn add(&mut self, path: &str, kind: FaultKind, value: Option<String>, detail: &str) {
        self.0.push(Fault { path: path.to_owned(), kind, value, detail: detail.to_owned() });
    }

    pub(crate) fn required(&mut self, path: &str, detail: &str) {
        self.add(path, FaultKind::Required, None, detail);
    }

    pub(crate) fn forbidden(&mut self, path: &str, detail: &str) {
        self.add(path, FaultKind::Forbidden, None, detail);
    }

    /// `value` as JSON renders it: strings quoted, numbers bare.
    pub(crate) fn invalid(&mut self, path: &str, value: impl Into<Value>, detail: &str) {
        self.add(path, FaultKind::Invalid, Some(value.into().to_string()), detail);
    }

    pub(crate) fn unsupported(&mut self, path: &str, value: &str, words: &[&str]) {
        let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let detail = format!("supported values: {}", words.join(", "));
        self.add(path, FaultKind::Unsupported, Some(Value::from(value).to_string()), &detail);
    }

    pub(crate) fn duplicate(&mut self, path: &str, value: &str) {
        self.add(path, FaultKind::Duplicate, Some(Value::from(value).to_string()), "");
    }

    pub(crate) fn not_found(&mut self, path: &str, value: &str) {
        self.add(path, FaultKind::NotFound, Some(Value::from(value).to_string()), "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(list: &[(&str, FaultKind)]) -> Faults {
        Faults(
            list.iter()
                .map(|(path, kind)| Fault { path: (*path).to_owned(), kind: *kind, value: None, detail: String::new() })
                .collect(),
        )
    }

    #[test]
    fn what_follows_from_an_earlier_fault_is_not_said_again() {
        let earlier = faults(&[("spec.a[0].imge", FaultKind::Unknown), ("spec.b.c", FaultKind::Invalid)]);
        let later = [
            ("spec.a[0].image", FaultKind::Required, false),
            ("spec.a[0].port", FaultKind::Invalid, true),
            ("spec.b", FaultKind::Required, false),
            ("spec.b.c", FaultKind::Invalid, false),
            ("spec.bb", FaultKind::Required, true),
            ("spec.a", FaultKind::Required, true),
        ];
        for (path, kind, is_said) in later {
            let all = earlier.clone().and_then(faults(&[(path, kind)]));
            assert_eq!(all.0.len(), if is_said { 3 } else { 2 }, "{path}");
        }
    }
}
