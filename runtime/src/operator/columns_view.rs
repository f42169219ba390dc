//! Tables as kubectl prints them: columns three spaces apart that only grow while rows are added (text/tabwriter of Go with the
//! settings of k8s.io/cli-runtime/pkg/printers).

use super::screen::{Tone, harmless, toned};

/// Between the longest cell of a column and the next column.
const GAP: usize = 3;
/// The narrowest column.
const NARROWEST: usize = 6;

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// In this tone.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { tone, ..Self::from(text.into()) }
    }
}

impl From<String> for Cell {
    /// On one line, whatever the text.
    fn from(text: String) -> Self {
        let text = harmless(text.trim_end()).replace('\n', "\\n");
        Self { text, tone: Tone::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Remembers how wide its columns have been.
#[derive(Debug)]
pub(crate) struct ColumnsView {
    heading: Option<Vec<Cell>>,
    widths: Vec<usize>,
    colours: bool,
}

impl ColumnsView {
    /// With this heading before the first row, unless there is none.
    pub(crate) fn new(heading: Option<&[&str]>, colours: bool) -> Self {
        let heading = heading.map(|words| words.iter().map(|word| Cell::from(*word)).collect());
        Self { heading, widths: Vec::new(), colours }
    }

    /// The text of further rows.
    pub(crate) fn print(&mut self, rows: Vec<Vec<Cell>>) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let rows: Vec<Vec<Cell>> = self.heading.take().into_iter().chain(rows).collect();
        for row in &rows {
            self.widths.resize(self.widths.len().max(row.len()), NARROWEST);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count() + GAP);
            }
        }
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &[Cell]) -> String {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&self.widths).enumerate() {
            line.push_str(&toned(&cell.text, cell.tone, self.colours));
            if column + 1 < row.len() {
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.text.chars().count())));
            }
        }
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(words: &[&str]) -> Vec<Cell> {
        words.iter().map(|word| Cell::from(*word)).collect()
    }

    #[test]
    fn columns_are_kubectls_and_remember_their_width() {
        let mut view = ColumnsView::new(Some(&["NAME", "READY", "STATUS", "RESTARTS", "AGE"]), false);
        let first = view.print(vec![row(&["test-liveness-exec", "1/1", "Running", "0", "2s"])]);
        assert_eq!(
            first,
            concat!(
                "NAME                 READY   STATUS    RESTARTS   AGE\n",
                "test-liveness-exec   1/1     Running   0          2s\n"
            )
        );
        let second = view.print(vec![
            row(&["test-liveness-exec", "1/1", "Running", "1 (5s ago)", "75s"]),
            row(&["a", "0/1", "Error", "0", "1s"]),
        ]);
        assert_eq!(
            second,
            concat!(
                "test-liveness-exec   1/1     Running   1 (5s ago)   75s\n",
                "a                    0/1     Error     0            1s\n"
            )
        );
    }

    #[test]
    fn nothing_is_printed_of_a_table_without_rows_and_no_cell_leaves_its_line() {
        let mut view = ColumnsView::new(Some(&["NAME"]), true);
        assert_eq!(view.print(Vec::new()), "");
        let rows = vec![vec![Cell::from("a\nb\n"), Cell::toned("bad", Tone::Alarming)]];
        assert_eq!(view.print(rows), "NAME\na\\nb   \u{1b}[31mbad\u{1b}[0m\n");
    }
}
