//! Reading an object field by field, so that everything wrong with it is found in one pass: fields that are missing, of a wrong
//! type, unknown, or known to Kubernetes and not supported here.
#![allow(clippy::wildcard_enum_match_arm, reason = "JSON has six kinds of values and no more")]

use serde_json::{Map, Value};

use crate::faults::{FaultKind, Faults};

/// An object that is being read. Every field must be asked for or declared before [`Fields::finish`]; what is left is unknown.
pub(crate) struct Fields<'a> {
    path: String,
    object: &'a Map<String, Value>,
    asked: Vec<&'static str>,
    refused: Vec<&'static str>,
}

/// `path.name`, or `name` at the top.
pub(crate) fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn wrong_type(faults: &mut Faults, path: &str, value: &Value, wanted: &str) {
    let shown = match value {
        Value::Array(_) | Value::Object(_) | Value::Null => None,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.to_string()),
    };
    let article = |word: &'_ str| if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let given = type_name(value);
    let detail = format!("must be {} {wanted}, not {} {given}", article(wanted), article(given));
    faults.add(path, FaultKind::Invalid, shown, &detail);
}

impl<'a> Fields<'a> {
    /// Begin to read `value`, which must be an object.
    pub(crate) fn open(value: &'a Value, path: &str, faults: &mut Faults) -> Option<Self> {
        let Value::Object(object) = value else {
            wrong_type(faults, path, value, "object");
            return None;
        };
        Some(Self { path: path.to_owned(), object, asked: Vec::new(), refused: Vec::new() })
    }

    pub(crate) fn path_of(&self, name: &str) -> String {
        below(&self.path, name)
    }

    /// The field, unless it is absent or null, which Kubernetes takes for the same.
    pub(crate) fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.asked.push(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn string(&mut self, name: &'static str, faults: &mut Faults) -> Option<String> {
        let path = self.path_of(name);
        self.value(name).and_then(|value| read_string(value, &path, faults))
    }

    pub(crate) fn boolean(&mut self, name: &'static str, faults: &mut Faults) -> Option<bool> {
        let path = self.path_of(name);
        match self.value(name)? {
            Value::Bool(value) => Some(*value),
            other => {
                wrong_type(faults, &path, other, "boolean");
                None
            }
        }
    }

    /// A whole number between `least` and `most`.
    fn integer(&mut self, name: &'static str, (least, most): (i64, i64), faults: &mut Faults) -> Option<i64> {
        let path = self.path_of(name);
        let value = self.value(name)?;
        let Value::Number(number) = value else {
            wrong_type(faults, &path, value, "whole number");
            return None;
        };
        match number.as_i64() {
            Some(number) if (least..=most).contains(&number) => Some(number),
            Some(_) | None => {
                let detail = format!("must be a whole number between {least} and {most}");
                faults.add(&path, FaultKind::Invalid, Some(number.to_string()), &detail);
                None
            }
        }
    }

    pub(crate) fn int32(&mut self, name: &'static str, faults: &mut Faults) -> Option<i32> {
        let range = (i64::from(i32::MIN), i64::from(i32::MAX));
        self.integer(name, range, faults).and_then(|number| i32::try_from(number).ok())
    }

    pub(crate) fn int64(&mut self, name: &'static str, faults: &mut Faults) -> Option<i64> {
        self.integer(name, (i64::MIN, i64::MAX), faults)
    }

    /// A list, each item read with its own path.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        faults: &mut Faults,
        read: impl Fn(&'a Value, &str, &mut Faults) -> Option<T>,
    ) -> Option<Vec<T>> {
        let path = self.path_of(name);
        match self.value(name)? {
            Value::Array(items) => {
                let read_one = |(n, item)| read(item, &format!("{path}[{n}]"), faults);
                Some(items.iter().enumerate().filter_map(read_one).collect())
            }
            other => {
                wrong_type(faults, &path, other, "list");
                None
            }
        }
    }

    pub(crate) fn strings(&mut self, name: &'static str, faults: &mut Faults) -> Option<Vec<String>> {
        self.list(name, faults, read_string)
    }

    /// An object of strings.
    pub(crate) fn map(&mut self, name: &'static str, faults: &mut Faults) -> Option<Vec<(String, String)>> {
        let path = self.path_of(name);
        let value = self.value(name)?;
        let Value::Object(object) = value else {
            wrong_type(faults, &path, value, "object");
            return None;
        };
        let read_one = |(key, value): (&String, &Value)| {
            read_string(value, &format!("{path}[{key}]"), faults).map(|value| (key.clone(), value))
        };
        Some(object.iter().filter_map(read_one).collect())
    }

    /// One nested object.
    pub(crate) fn nested<T>(
        &mut self,
        name: &'static str,
        faults: &mut Faults,
        read: impl FnOnce(&'a Value, &str, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        let path = self.path_of(name);
        self.value(name).and_then(|value| read(value, &path, faults))
    }

    /// Fields that Kubernetes has and hshim does not support: they are refused by name, never ignored.
    pub(crate) fn refuse(&mut self, names: &[&'static str]) {
        self.refused.extend(names);
    }

    /// Report what nobody asked for.
    pub(crate) fn finish(self, faults: &mut Faults) {
        for (name, value) in self.object {
            if self.asked.contains(&name.as_str()) || value.is_null() {
                continue;
            }
            let path = below(&self.path, name);
            if self.refused.contains(&name.as_str()) {
                faults.add(&path, FaultKind::NotSupported, None, "remove it");
                continue;
            }
            let known = self.asked.iter().chain(&self.refused).copied();
            let detail = closest(name, known).map(|guess| format!("did you mean \"{guess}\"?")).unwrap_or_default();
            faults.add(&path, FaultKind::Unknown, None, &detail);
        }
    }
}

fn read_string(value: &Value, path: &str, faults: &mut Faults) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        other => {
            let hint = match other {
                Value::Number(_) | Value::Bool(_) => "string (put it in quotes)",
                Value::Null | Value::Array(_) | Value::Object(_) | Value::String(_) => "string",
            };
            wrong_type(faults, path, other, hint);
            None
        }
    }
}

/// The known name that a typo most likely means: at most a third of its letters away.
fn closest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let distances = known.map(|other| (distance(&name.to_lowercase(), &other.to_lowercase()), other));
    distances.min().filter(|(distance, other)| *distance <= other.len().max(3) / 3).map(|(_, other)| other)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
