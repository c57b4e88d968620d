//! Tables as kubectl prints them: columns three spaces apart, no rules.

use std::fmt;

/// Space between two columns.
const GAP: usize = 3;

/// Rows of text under a head.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub(crate) fn new(head: &[&str]) -> Self {
        Table { rows: vec![head.iter().map(|&word| word.to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The rows without the head: for changes under a table that was printed already, with its widths.
    pub(crate) fn body(&self, widths: &mut Vec<usize>) -> String {
        self.lines(widths).into_iter().skip(1).collect()
    }

    /// All lines; `widths` grows where they need more.
    pub(crate) fn lines(&self, widths: &mut Vec<usize>) -> Vec<String> {
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(widths.iter());
            let line: String = cells.map(|(cell, width)| format!("{cell:<0$}", width + GAP)).collect();
            format!("{}\n", line.trim_end())
        };
        self.rows.iter().map(line).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines(&mut Vec::new()).iter().try_for_each(|line| f.write_str(line))
    }
}
