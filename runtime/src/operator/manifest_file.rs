//! Manifests as a user hands them in: YAML or JSON, several documents in a file, each place known by its line.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hshim_health::faults::{Fault, Faults};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_saphyr::Spanned;

/// More than any manifest has.
const LONGEST: u64 = 16 << 20;

/// One document.
#[derive(Debug)]
pub(crate) struct Document {
    /// Where it stands; `<stdin>` for standard input.
    pub(crate) file: String,
    /// What it says.
    pub(crate) value: Value,
    node: Spanned<Node>,
    elsewhere: Vec<Elsewhere>,
}

/// A part that comes from another document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Elsewhere {
    /// Its path here.
    pub(crate) path: String,
    /// Its file and line there.
    pub(crate) place: String,
    /// Its path there.
    pub(crate) path_there: String,
    /// `preset NAME`.
    pub(crate) whose: String,
}

/// Everything that is wrong with what was handed in.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Vec<String>);

impl Document {
    /// Line of the deepest part of a field path (`spec.containers[0].image`) that is there.
    pub(crate) fn line(&self, path: &str) -> u64 {
        let mut line = self.node.referenced.line();
        let mut node = &self.node.value;
        for step in steps(path) {
            let Some((at, next)) = node.child(&step) else { break };
            (line, node) = (at, next);
        }
        line
    }

    /// `FILE:LINE` of a path.
    pub(crate) fn place(&self, path: &str) -> String {
        format!("{}:{}", self.file, self.line(path))
    }

    /// The same document with parts of others.
    pub(crate) fn merged(self, value: Value, elsewhere: Vec<Elsewhere>) -> Self {
        Self { value, elsewhere, ..self }
    }

    /// The parts that come from elsewhere.
    pub(crate) fn elsewhere(&self) -> &[Elsewhere] {
        &self.elsewhere
    }

    /// A fault where its reader will find it.
    fn complaint(&self, fault: &Fault) -> String {
        let found = self.elsewhere.iter().find_map(|part| Some((part, fault.path.strip_prefix(part.path.as_str())?)));
        let Some((part, rest)) = found.filter(|(_, rest)| rest.is_empty() || rest.starts_with(['.', '['])) else {
            return format!("{}: {fault}", self.place(&fault.path));
        };
        let there = Fault { path: format!("{}{rest}", part.path_there), ..fault.clone() };
        format!("{}: {there} ({}, for {})", part.place, part.whose, self.file)
    }
}

impl Complaints {
    /// A fault of a document.
    pub(crate) fn add(&mut self, document: &Document, fault: &Fault) {
        self.0.push(document.complaint(fault));
    }

    /// One in words of its own.
    pub(crate) fn add_text(&mut self, text: String) {
        self.0.push(text);
    }

    /// All faults of a document.
    pub(crate) fn add_all(&mut self, document: &Document, faults: &Faults) {
        faults.0.iter().for_each(|fault| self.add(document, fault));
    }

    /// Succeeds if there is none.
    pub(crate) fn none(&self) -> anyhow::Result<()> {
        match self.0.as_slice() {
            [] => Ok(()),
            [one] => anyhow::bail!("{one}"),
            many => anyhow::bail!("{} faults:\n{}", many.len(), many.join("\n")),
        }
    }
}

/// Reads all documents of all files; `-` is standard input.
pub(crate) fn read_all(files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for file in files {
        documents.extend(read(file)?);
    }
    anyhow::ensure!(!documents.is_empty(), "there is no manifest in {}", names(files));
    Ok(documents)
}

fn read(path: &Path) -> anyhow::Result<Vec<Document>> {
    if path == Path::new("-") {
        return read_from(std::io::stdin(), "<stdin>");
    }
    let file = path.display().to_string();
    read_from(std::fs::File::open(path).with_context(|| format!("open {file}"))?, &file)
}

/// Reads all documents of what is called `file`.
pub(crate) fn read_from(reader: impl Read, file: &str) -> anyhow::Result<Vec<Document>> {
    let mut text = String::new();
    let length = reader.take(LONGEST + 1).read_to_string(&mut text).with_context(|| format!("read {file}"))?;
    anyhow::ensure!(u64::try_from(length)? <= LONGEST, "{file} is longer than {LONGEST} bytes");
    parse(file, &text)
}

fn parse(file: &str, text: &str) -> anyhow::Result<Vec<Document>> {
    // YAML 1.1 is what kubectl reads: yes is true, 0644 is octal.
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    let nodes: Vec<Spanned<Node>> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        anyhow::anyhow!("{file}:{line}: {}", without_place(&error.to_string()))
    })?;
    let documents =
        nodes.into_iter().map(|node| Document { file: file.to_owned(), value: node.value.value(), node, elsewhere: Vec::new() });
    Ok(documents.filter(|document| !document.value.is_null()).collect())
}

/// The reader's own words for the place would say it twice.
fn without_place(message: &str) -> &str {
    let message = message.lines().next().unwrap_or(message);
    let message = message.split(" at line ").next().unwrap_or(message);
    // Advice for programmers.
    message.split(", set DuplicateKeyPolicy").next().unwrap_or(message)
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// YAML with its lines.
#[derive(Clone, Debug)]
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Object(Vec<(Spanned<String>, Spanned<Node>)>),
}

/// One step of a field path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// `.name`, or `[name]` where names may contain dots.
    Name(String),
    /// `[0]`.
    Index(usize),
}

impl Node {
    fn value(&self) -> Value {
        match self {
            Self::Scalar(value) => value.clone(),
            Self::List(items) => items.iter().map(|item| item.value.value()).collect(),
            Self::Object(fields) => {
                Value::Object(fields.iter().map(|(name, value)| (name.value.clone(), value.value.value())).collect())
            }
        }
    }

    fn child(&self, step: &Step) -> Option<(u64, &Self)> {
        match (self, step) {
            (Self::Object(fields), Step::Name(name)) => {
                let (key, value) = fields.iter().find(|(key, _)| key.value == *name)?;
                Some((key.referenced.line(), &value.value))
            }
            (Self::List(items), Step::Index(index)) => items.get(*index).map(|item| (item.referenced.line(), &item.value)),
            _ => None,
        }
    }
}

fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some((inner, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            steps.push(inner.parse().map_or_else(|_| Step::Name(inner.to_owned()), Step::Index));
            rest = after;
        } else {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at(end);
            steps.push(Step::Name(name.to_owned()));
            rest = after;
        }
    }
    steps
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

macro_rules! scalars {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, value: $type) -> Result<Node, E> { Ok(Node::Scalar(Value::from(value))) })*
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_string: String);

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_line() {
        let text = "# first\napiVersion: v1\nmetadata:\n  annotations:\n    a.b/c: x\nspec:\n  containers:\n  - name: a\n    env:\n    - name: X\n---\n---\nkind: Pod\n";
        let documents = parse("f", text).unwrap();
        assert_eq!(documents.len(), 2);
        for (path, line) in [
            ("apiVersion", 2),
            ("metadata.annotations[a.b/c]", 5),
            ("spec.containers[0].name", 8),
            ("spec.containers[0].env[0].name", 10),
            ("spec.containers[0].env[0].value", 10),
            ("spec.containers[1].name", 7),
            ("spec.volumes[0].name", 6),
        ] {
            assert_eq!(documents[0].line(path), line, "{path}");
        }
        assert_eq!(documents[1].line("kind"), 13);
    }

    #[test]
    fn json_is_read_too() {
        let documents = parse("f", "{\n\t\"kind\": \"Pod\",\n\t\"spec\": {\"x\": [1, true, null, \"yes\"]}\n}\n").unwrap();
        assert_eq!(documents[0].value, serde_json::json!({"kind": "Pod", "spec": {"x": [1, true, null, "yes"]}}));
        assert_eq!(documents[0].line("spec.x"), 3);
    }

    #[test]
    fn values_are_read_as_kubectl_reads_them() {
        let value = |text: &str| parse("f", text).unwrap().remove(0).value;
        assert_eq!(
            value("a: yes\nb: 'yes'\nc: 0644\nd: 1e3\ne: ~\n"),
            serde_json::json!({"a": true, "b": "yes", "c": 420, "d": 1000.0, "e": null})
        );
        assert_eq!(value("a: &x {b: 1}\nc: *x\n"), serde_json::json!({"a": {"b": 1}, "c": {"b": 1}}));
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        for (text, line) in [("a: 1\nb: [1, 2\nc: 3\n", 3), ("a: 1\na: 2\n", 2), ("a: 1\nb: }\n", 2)] {
            let error = parse("f", text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("f:{line}: ")), "{text:?}: {error}");
        }
    }
}
