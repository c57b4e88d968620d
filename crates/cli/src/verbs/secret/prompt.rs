//! A line from the terminal that nobody sees while it is typed.

use std::io::{self, Read, Write};

use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// What Ctrl-C sends.
const CTRL_C: u8 = 3;
/// The longest line that a terminal hands over, in bytes; what is behind that is lost.
const LONGEST: usize = 4095;

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(super) enum PromptError {
    /// Ctrl-C, or the end of the input.
    #[error("cancelled")]
    Cancelled,
    /// The terminal may have cut it off.
    #[error("a terminal takes lines of at most {LONGEST} bytes")]
    TooLong,
    /// The terminal does not do it.
    #[error("cannot ask on the terminal")]
    Terminal(#[from] io::Error),
}

/// Asks `question` on the terminal that is standard input, and reads a line without its end.
pub(super) fn hidden_line(question: &str) -> Result<Zeroizing<Vec<u8>>, PromptError> {
    let mut speaker = io::stderr();
    let hidden = Hidden::begin()?;
    write!(speaker, "{question}").and_then(|()| speaker.flush())?;
    let read = line(&mut io::stdin().lock());
    drop(hidden);
    // The end of the line was not echoed, either.
    writeln!(speaker)?;
    read
}

/// Reads up to the end of a line. One byte at a time: nothing is left behind in a buffer.
fn line(reader: &mut impl Read) -> Result<Zeroizing<Vec<u8>>, PromptError> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    let mut byte = Zeroizing::new([0]);
    loop {
        if reader.read(&mut *byte)? == 0 {
            return Err(PromptError::Cancelled);
        }
        match byte[0] {
            b'\n' if line.len() >= LONGEST => return Err(PromptError::TooLong),
            b'\n' => return Ok(line),
            CTRL_C => return Err(PromptError::Cancelled),
            other => line.push(other),
        }
    }
}

/// While this lives, the terminal shows nothing. Signals of its keys are off meanwhile, for one that ends the program
/// would leave the terminal dumb: Ctrl-C ends the line instead.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG);
        hidden.local_modes.insert(LocalModes::ICANON);
        hidden.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        tcsetattr(stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Hidden { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nobody to tell, and nothing else to try.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_end_or_is_none() {
        let read = |bytes: &[u8]| line(&mut &bytes[..]);
        assert_eq!(read(b"s3cret\nmore").unwrap().as_slice(), b"s3cret");
        assert_eq!(read(b"\n").unwrap().as_slice(), b"");
        for cancelled in [&b"s3c\x03"[..], b"", b"s3c"] {
            assert!(matches!(read(cancelled), Err(PromptError::Cancelled)), "{cancelled:?}");
        }
        let cut = [vec![b'x'; LONGEST], b"\n".to_vec()].concat();
        assert!(matches!(read(&cut), Err(PromptError::TooLong)));
        assert_eq!(read(&cut[1..]).unwrap().len(), LONGEST - 1);
    }
}
