//! Columns as runc aligns them: at least twelve wide, three spaces apart.

use std::fmt;

const NARROWEST: usize = 12;
const GAP: usize = 3;

/// Rows of text.
#[derive(Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// With a heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self(vec![heading.iter().map(ToString::to_string).collect()])
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, row: impl IntoIterator<Item = String>) {
        self.0.push(row.into_iter().collect());
    }

    fn width(&self, column: usize) -> usize {
        let widest = self.0.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default();
        (widest + GAP).max(NARROWEST)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            for (column, cell) in row.iter().enumerate() {
                if column + 1 == row.len() {
                    writeln!(f, "{cell}")?;
                } else {
                    write!(f, "{cell:<width$}", width = self.width(column))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_as_runc_aligns_them() {
        let mut table = Table::new(&["ID", "BUNDLE", "OWNER"]);
        table.row(["x".into(), "/tmp/a/long/bundle".into(), "root".into()]);
        assert_eq!(table.to_string(), "ID          BUNDLE               OWNER\nx           /tmp/a/long/bundle   root\n");
    }
}
