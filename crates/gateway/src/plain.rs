//! Text of a server's on its way into a state, a log or a sentence of ours: short, on one line, and without
//! characters that do something where they are shown. A server may say what it likes; who reads our words must
//! be able to rely on their form.

use bowline_core::gateway_file::ServerExit;

/// Bytes of one text.
const MOST_BYTES: usize = 400;
/// Lines of a process's standard error; a bridge sends no more.
const MOST_LINES: usize = 20;
/// Where a longer text was cut.
const CUT: char = '…';

/// The beginning of `text`, at most 400 bytes: white space as spaces, `U+FFFD` for what would steer a terminal or
/// the direction of writing.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().map(shown) {
        if plain.len() + c.len_utf8() > MOST_BYTES - CUT.len_utf8() {
            plain.push(CUT);
            break;
        }
        plain.push(c);
    }
    plain
}

/// The end of a process as its bridge should have told it: behind the same connection is the process, which can
/// tell anything.
pub(crate) fn plain_exit(exit: &ServerExit) -> ServerExit {
    let ServerExit { code, signal, stderr } = exit;
    let first = stderr.len().saturating_sub(MOST_LINES);
    ServerExit {
        code: *code,
        signal: *signal,
        stderr: stderr[first..].iter().map(|line| plain(line)).collect(),
    }
}

fn shown(c: char) -> char {
    match c {
        c if c.is_whitespace() => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_short_and_plain_stays_as_it_is() {
        for text in ["", "scripted 1.2.3", "größer als 3 ≥ 2"] {
            assert_eq!(plain(text), text);
        }
    }

    #[test]
    fn longer_text_is_cut_between_two_characters() {
        for text in ["x".repeat(401), "ö".repeat(1 << 20), format!("x{}", "€".repeat(200))] {
            let cut = plain(&text);
            assert!((395..=400).contains(&cut.len()) && cut.ends_with('…'), "{} bytes: {cut}", cut.len());
        }
    }

    #[test]
    fn nothing_steers_where_it_is_shown() {
        assert_eq!(plain("a\u{1b}[31mred\r\nb\tc\u{0}\u{9b}"), "a\u{fffd}[31mred  b c\u{fffd}\u{fffd}");
        assert_eq!(plain("a\u{202e}b\u{2028}c"), "a\u{fffd}b c");
    }

    #[test]
    fn of_an_exit_the_last_lines_are_kept_each_plain() {
        let stderr = (0..1000).map(|line| format!("{line}\u{7}{}", "x".repeat(1000))).collect();
        let exit = plain_exit(&ServerExit { code: Some(3), signal: None, stderr });
        assert_eq!((exit.code, exit.stderr.len()), (Some(3), 20));
        assert!(exit.stderr[19].starts_with("999\u{fffd}x") && exit.stderr[19].len() <= 400, "{exit:?}");
    }
}
