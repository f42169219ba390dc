//! `LabelSelector` (apimachinery meta/v1): `matchLabels` and `matchExpressions`, all of which must hold; an empty one matches everything.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::admission::is_subdomain;
use crate::faults::Faults;
use crate::fields::Fields;

/// Which pods are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];
const KEY_RULE: &str = "must be the key of a label: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit, after a DNS name and '/' if there is a prefix";

impl Selector {
    /// Whether a pod with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels.get(&requirement.key).map(String::as_str)))
    }
}

impl Requirement {
    /// A key that is absent is in no list.
    fn holds(&self, value: Option<&str>) -> bool {
        let is_one_of = |values: &[String]| value.is_some_and(|value| values.iter().any(|one| one == value));
        match &self.operator {
            Operator::In(values) => is_one_of(values),
            Operator::NotIn(values) => !is_one_of(values),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

pub(super) fn read(value: &Value, path: &str, faults: &mut Faults) -> Option<Selector> {
    let mut fields = Fields::open(value, path, faults)?;
    let labels = fields.map("matchLabels", faults).unwrap_or_default();
    let mut requirements = Vec::new();
    for (key, value) in labels {
        check_key(&key, &format!("{}[{key}]", fields.path_of("matchLabels")), faults);
        requirements.push(Requirement { key, operator: Operator::In(vec![value]) });
    }
    requirements.extend(fields.list("matchExpressions", faults, read_expression).unwrap_or_default());
    fields.finish(faults);
    Some(Selector(requirements))
}

fn read_expression(value: &Value, path: &str, faults: &mut Faults) -> Option<Requirement> {
    let mut fields = Fields::open(value, path, faults)?;
    let key = fields.string("key", faults);
    let word = fields.string("operator", faults);
    let values = fields.strings("values", faults).unwrap_or_default();
    let values_path = fields.path_of("values");
    match &key {
        Some(key) => check_key(key, &fields.path_of("key"), faults),
        None => faults.required(&fields.path_of("key"), ""),
    }
    let operator = match word.as_deref() {
        Some("In") => Some(Operator::In(values.clone())),
        Some("NotIn") => Some(Operator::NotIn(values.clone())),
        Some("Exists") => Some(Operator::Exists),
        Some("DoesNotExist") => Some(Operator::DoesNotExist),
        Some(other) => {
            faults.unsupported(&fields.path_of("operator"), other, &OPERATORS);
            None
        }
        None => {
            faults.required(&fields.path_of("operator"), "");
            None
        }
    };
    match &operator {
        Some(Operator::In(values) | Operator::NotIn(values)) if values.is_empty() => {
            faults.required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        Some(Operator::Exists | Operator::DoesNotExist) if !values.is_empty() => {
            faults.forbidden(&values_path, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        Some(_) | None => {}
    }
    fields.finish(faults);
    Some(Requirement { key: key?, operator: operator? })
}

fn check_key(key: &str, path: &str, faults: &mut Faults) {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_name = name.len() <= 63
        && is_edge(name.chars().next())
        && is_edge(name.chars().next_back())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !is_name || prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
        faults.invalid(path, key, KEY_RULE);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selector(value: &Value) -> Result<Selector, Faults> {
        let mut faults = Faults::default();
        let selector = read(value, "s", &mut faults);
        faults.or(selector.unwrap_or_default())
    }

    fn matches(selector: &Selector, labels: &[(&str, &str)]) -> bool {
        selector.matches(&labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn every_operator_has_its_meaning_for_keys_that_are_there_and_that_are_not() {
        let one = |operator: &str, values: Value| {
            let values = if values.is_null() { json!(null) } else { values };
            selector(&json!({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]})).unwrap()
        };
        let rows = [
            (one("In", json!(["1", "2"])), true, false, false),
            (one("NotIn", json!(["1", "2"])), false, true, true),
            (one("Exists", json!(null)), true, true, false),
            (one("DoesNotExist", json!([])), false, false, true),
        ];
        for (selector, listed, other, absent) in rows {
            let seen = [matches(&selector, &[("a", "1")]), matches(&selector, &[("a", "3")]), matches(&selector, &[("b", "1")])];
            assert_eq!(seen, [listed, other, absent], "{selector:?}");
        }
    }

    #[test]
    fn labels_and_expressions_must_all_hold_and_an_empty_selector_matches_all() {
        let both = json!({"matchLabels": {"x/a": "1", "b": "2"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]});
        let both = selector(&both).unwrap();
        assert!(matches(&both, &[("x/a", "1"), ("b", "2"), ("c", "")]));
        assert!(!matches(&both, &[("x/a", "1"), ("b", "2")]));
        assert!(!matches(&both, &[("x/a", "1"), ("b", "3"), ("c", "")]));
        assert!(matches(&selector(&json!({})).unwrap(), &[]));
        assert!(matches(&Selector::default(), &[("a", "b")]));
    }

    #[test]
    fn everything_wrong_with_a_selector_is_said_at_once() {
        let wrong = json!({"matchLabels": {"-a": "1", "UP/b": "2"}, "matchLabel": {}, "matchExpressions": [
            {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["1"]}, {"key": "a", "operator": "Is"}, {}]});
        let faults = selector(&wrong).unwrap_err().0;
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        let expected = [
            "s.matchLabels[-a]",
            "s.matchLabels[UP/b]",
            "s.matchExpressions[0].values",
            "s.matchExpressions[1].values",
            "s.matchExpressions[2].operator",
            "s.matchExpressions[3].key",
            "s.matchExpressions[3].operator",
            "s.matchLabel",
        ];
        assert_eq!(paths, expected);
    }
}
