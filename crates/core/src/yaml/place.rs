//! From the parser's markers to positions.

use granit_parser::Marker;

use crate::diagnostic::Position;

/// The position of an event, which lies inside the text.
pub(super) fn of(marker: Marker) -> Position {
    at(marker.line(), marker.col())
}

/// How many characters each line of a text has; counted once, for a text may have many errors.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    /// The lines of a text, of which there is always one.
    pub(super) fn of(text: &str) -> Self {
        let normal = text.replace("\r\n", "\n");
        Self(normal.split(['\n', '\r']).map(|line| line.chars().count()).collect())
    }

    /// The position of an error, put inside the text: the parser's end of input may lie behind the last line.
    pub(super) fn clamped(&self, marker: Marker) -> Position {
        let line = marker.line().max(1);
        match self.0.get(line - 1) {
            Some(length) => at(line, marker.col().min(*length)),
            None => at(self.0.len(), self.0.last().copied().unwrap_or_default()),
        }
    }
}

/// A line from 1 and a column from 0 as a position.
fn at(line: usize, column: usize) -> Position {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: narrow(line), column: narrow(column).saturating_add(1) }
}
