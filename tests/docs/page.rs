//! A page in Markdown: its links, headings and code blocks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hshim_tests::programs;

/// A page.
pub(crate) struct Page {
    /// Where it is.
    pub(crate) path: PathBuf,
    text: String,
}

/// README, CHANGELOG, and everything in docs.
pub(crate) fn pages() -> Vec<Page> {
    let top = programs::source_file("..");
    let mut paths = vec![top.join("README.md"), top.join("CHANGELOG.md")];
    for directory in ["docs", "docs/adr"] {
        let entries = fs::read_dir(top.join(directory)).unwrap().map(|entry| entry.unwrap().path());
        paths.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    paths.iter().map(|path| Page::read(path)).collect()
}

impl Page {
    /// Reads it.
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        Self { path: path.to_owned(), text }
    }

    /// Its file name.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// Where its links lead, those into the web left out.
    pub(crate) fn links(&self) -> Vec<String> {
        let prose = self.outside_of_blocks();
        let targets = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
        targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
    }

    /// The anchors of its headings, as GitHub makes them.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let prose = self.outside_of_blocks();
        let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
        headings
            .map(|heading| {
                let kept = heading.to_lowercase().replace(' ', "-");
                kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
            })
            .collect()
    }

    /// The code blocks in this language.
    pub(crate) fn blocks(&self, language: &str) -> Vec<String> {
        let fence = format!("```{language}\n");
        let starts = self.text.split(&fence).skip(1);
        starts.map(|rest| format!("\n{}", rest.split("```").next().unwrap_or_default())).collect()
    }

    /// The words of each command line that begins with `hshim`, in blocks of shell.
    pub(crate) fn commands(&self) -> Vec<Vec<String>> {
        let blocks = [self.blocks("sh"), self.blocks("console")].concat();
        let lines: Vec<String> =
            blocks.iter().flat_map(|block| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.iter().filter_map(|line| words(line.trim_start_matches("$ ").trim())).collect()
    }

    fn outside_of_blocks(&self) -> String {
        self.text.split("```").step_by(2).collect::<Vec<_>>().join("\n")
    }
}

/// The arguments of a line that calls hshim; comments, redirections and what follows a pipe are left out.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default();
    let line = line.strip_prefix("sudo ").unwrap_or(line);
    let rest = line.strip_prefix("hshim ")?;
    let end =
        |word: &&str| !matches!(*word, "|" | "||" | "&&" | ";" | "&") && !word.starts_with(['>', '<']) && !word.starts_with("2>");
    Some(rest.split_whitespace().take_while(end).map(|word| word.trim_matches(['[', ']']).to_owned()).collect())
}
