//! The bridge's own words, on the container's log beside the server's.

use std::fmt::Arguments;
use std::io::Write as _;

/// Writes one line to standard error. A log that cannot be written is nobody's reason to stop.
pub(crate) fn say(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "bridge: {text}");
}
