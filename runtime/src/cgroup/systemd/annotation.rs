//! Annotations that set properties of the unit: `org.systemd.property.NAME`, with a value in GVariant's text form, of which
//! these are read: `true`, `5`, `uint32 5`, `int64 -5`, `1.5`, `'text'`, `"text"`, `['a', 'b']`.
//!
//! A name that ends with `Sec` counts seconds, and becomes systemd's own `USec` in microseconds, as with runc.

use std::collections::HashMap;

use super::super::dbus::Value;

const PREFIX: &str = "org.systemd.property.";

/// The properties of a specification's annotations. An error names the annotation.
pub(crate) fn properties(annotations: &HashMap<String, String>) -> anyhow::Result<Vec<(String, Value)>> {
    let mut found: Vec<(&str, &str)> =
        annotations.iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.as_str()))).collect();
    found.sort_unstable();
    let read = found.into_iter().map(|(name, value)| {
        let is_name = name.len() > 2 && name.chars().all(|letter| letter.is_ascii_alphabetic());
        anyhow::ensure!(is_name, "annotations: {PREFIX}{name}: is not the name of a property");
        let value =
            parse(value.trim()).ok_or_else(|| anyhow::anyhow!("annotations: {PREFIX}{name}: {value} is not understood"))?;
        in_microseconds(name, value)
    });
    read.collect()
}

fn in_microseconds(name: &str, value: Value) -> anyhow::Result<(String, Value)> {
    let Some(stem) = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) else { return Ok((name.to_owned(), value)) };
    let seconds = match value {
        Value::I32(number) => f64::from(number),
        Value::U32(number) => f64::from(number),
        Value::F64(number) => number,
        Value::Bool(_)
        | Value::I64(_)
        | Value::U64(_)
        | Value::Text(_)
        | Value::Texts(_)
        | Value::U32s(_)
        | Value::Bytes(_)
        | Value::Pairs(_)
        | Value::Rates(_) => anyhow::bail!("annotations: {PREFIX}{name}: is not a number of seconds"),
    };
    anyhow::ensure!((0.0..1e12).contains(&seconds), "annotations: {PREFIX}{name}: {seconds} s is out of range");
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above; fractions of a microsecond are dropped"
    )]
    let microseconds = (seconds * 1e6) as u64;
    Ok((format!("{stem}USec"), Value::U64(microseconds)))
}

fn parse(text: &str) -> Option<Value> {
    if let Some((kind, number)) = text.split_once(' ').filter(|(kind, _)| kind.chars().all(char::is_alphanumeric)) {
        return typed(kind, number.trim());
    }
    match text {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _other => {}
    }
    if let Some(list) = text.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
        return list.split(',').map(|element| quoted(element.trim())).collect::<Option<Vec<String>>>().map(Value::Texts);
    }
    quoted(text).map(Value::Text).or_else(|| text.parse().ok().map(Value::I32)).or_else(|| text.parse().ok().map(Value::F64))
}

fn typed(kind: &str, number: &str) -> Option<Value> {
    match kind {
        "uint32" => number.parse().ok().map(Value::U32),
        "uint64" => number.parse().ok().map(Value::U64),
        "int32" => number.parse().ok().map(Value::I32),
        "int64" => number.parse().ok().map(Value::I64),
        "double" => number.parse().ok().map(Value::F64),
        _other => None,
    }
}

fn quoted(text: &str) -> Option<String> {
    let inner = ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))?;
    // Escapes are nobody's need here, and half a reading would be worse than none.
    (!inner.contains(['\'', '"', '\\'])).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> anyhow::Result<Vec<(String, Value)>> {
        properties(&HashMap::from([(format!("{PREFIX}{name}"), value.to_owned()), ("other".to_owned(), "x".to_owned())]))
    }

    #[test]
    fn values_of_every_form_are_read() {
        for (name, text, property, value) in [
            ("CollectMode", "'inactive-or-failed'", "CollectMode", Value::Text("inactive-or-failed".to_owned())),
            ("TimeoutStopSec", "90", "TimeoutStopUSec", Value::U64(90_000_000)),
            ("TimeoutStopUSec", "uint64 5", "TimeoutStopUSec", Value::U64(5)),
            ("Something", "true", "Something", Value::Bool(true)),
            ("After", "['a.service', 'b.service']", "After", Value::Texts(vec!["a.service".to_owned(), "b.service".to_owned()])),
            ("Number", "-3", "Number", Value::I32(-3)),
        ] {
            assert_eq!(read(name, text).unwrap(), [(property.to_owned(), value)], "{name}={text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (name, value) in [("A b", "1"), ("Name", "inactive"), ("Name", "'it's'"), ("StopSec", "'x'"), ("StopSec", "-1")] {
            assert!(read(name, value).is_err(), "{name}={value}");
        }
    }
}
