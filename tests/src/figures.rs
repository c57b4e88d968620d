//! Figures that a test measured: part of its result, shown where the run ends.

use std::fs::File;
use std::io::Write;

/// Notes one line. It goes to the test's output, and to the file that `BOWLINE_FIGURES` names, if any.
pub fn note(subject: &str, text: &str) {
    let line = format!("{subject}: {text}\n");
    let written = std::io::stdout().write_all(line.as_bytes());
    written.expect("the test's output");
    if let Some(path) = std::env::var_os("BOWLINE_FIGURES") {
        let file = File::options().create(true).append(true).open(path);
        // One write of one short line: tests that run side by side do not mix theirs.
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the file of figures");
    }
}
