//! Text whose tabs are elastic, as `kubectl describe` aligns it: in consecutive lines the cells that a tab ends form a column, and
//! the widest of them decides (the rule of Go's text/tabwriter).

/// Between the longest cell of a column and the next one.
const GAP: usize = 2;

/// Replaces the tabs by spaces. What follows the last tab of a line belongs to no column.
pub(crate) fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or_default();
    for column in 0..columns {
        let mut begin = 0;
        while begin < lines.len() {
            let length = widths.iter().skip(begin).take_while(|line| column < line.len()).count();
            settle(&lines, &mut widths, column, begin..begin + length);
            begin += length + 1;
        }
    }
    let aligned = lines.iter().zip(&widths).map(|(cells, widths)| line(cells, widths));
    aligned.collect()
}

/// One block of a column gets one width.
fn settle(lines: &[Vec<&str>], widths: &mut [Vec<usize>], column: usize, block: std::ops::Range<usize>) {
    let cells = lines.iter().skip(block.start).take(block.len()).filter_map(|cells| cells.get(column));
    let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
    for width in widths.iter_mut().skip(block.start).take(block.len()).filter_map(|line| line.get_mut(column)) {
        // A column of empty cells takes no room.
        *width = if widest == 0 { 0 } else { widest + GAP };
    }
}

fn line(cells: &[&str], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, cell) in cells.iter().enumerate() {
        line.push_str(cell);
        let width = widths.get(column).copied().unwrap_or_default();
        line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_wide_as_its_widest_cell_in_consecutive_lines() {
        let text = "Name:\tweb\nStart Time:\tnow\nContainers:\n  main:\n    Image:\tbusybox\n    Restart Count:\t1\n";
        let aligned = concat!(
            "Name:        web\n",
            "Start Time:  now\n",
            "Containers:\n",
            "  main:\n",
            "    Image:          busybox\n",
            "    Restart Count:  1\n"
        );
        assert_eq!(align(text), aligned);
    }

    #[test]
    fn a_line_with_fewer_tabs_ends_the_columns_that_it_has_not() {
        assert_eq!(align("a\tb\tc\nlong\td\nx\te\tf\n"), "a     b  c\nlong  d\nx     e  f\n");
        assert_eq!(align(""), "");
    }
}
