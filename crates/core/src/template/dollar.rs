//! `$NAME` and `${NAME}`, read as Go's `os.Expand` reads them.

use super::Problem;

/// A piece of a text with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// Text, in which a `$` stands for itself.
    Text(&'t str),
    /// The name of a variable.
    Variable(&'t str),
}

/// The pieces of a text. Where Go would drop a `$`, or take it for a variable of the shell's own, is an error.
pub(super) fn parse(text: &str) -> Result<Vec<Piece<'_>>, Problem> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut searched = 0;
    while let Some(at) = rest[searched..].find('$').map(|at| at + searched) {
        let behind = &rest[at + 1..];
        let (name, taken) = match behind.chars().next() {
            Some('{') => {
                let name = behind[1..].split_once('}').map(|(name, _)| name);
                let name = name.filter(|name| is_name(name));
                let Some(name) = name else {
                    return Err(Problem::LostDollar(excerpt(&rest[at..])));
                };
                (name, name.len() + 2)
            }
            Some(first) if first.is_ascii_alphabetic() || first == '_' => {
                let end = behind.find(|c: char| !is_name_character(c)).unwrap_or(behind.len());
                (&behind[..end], end)
            }
            Some('*' | '#' | '$' | '@' | '!' | '?' | '-' | '0'..='9') => {
                return Err(Problem::LostDollar(excerpt(&rest[at..])));
            }
            // Go leaves a `$` before anything else, and at the end, as it is.
            _ => {
                searched = at + 1;
                continue;
            }
        };
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        pieces.push(Piece::Variable(name));
        rest = &behind[taken..];
        searched = 0;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Whether a variable's name may have this behind its first character.
pub(super) fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether this is the name of a variable.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_name_character)
}

fn excerpt(text: &str) -> String {
    text.chars().take(2).collect()
}
