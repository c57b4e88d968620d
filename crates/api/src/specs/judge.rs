//! What a file says, what became of it, and when too much goes at once. Pure.

use std::collections::BTreeSet;

use bowline_core::diagnostic::Diagnostic;
use bowline_core::object::{Kind, ObjectKey};
use bowline_core::resource::parse;

use crate::problem::Problem;
use crate::wire::SpecState;

/// A removal is great when it takes more objects than this,
const GREAT: usize = 3;
/// and more than one in so many of what the directory holds.
const GREAT_SHARE: usize = 5;

/// What a text declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// It has errors in itself.
    Invalid(Vec<Diagnostic>),
    /// It declares nothing: no document, or only comments. An editor in the middle of its work leaves such a file,
    /// and so does a full disk; whoever means a removal removes the file.
    Empty,
    /// These objects, each as it stands good in itself.
    Declares(BTreeSet<ObjectKey>),
}

impl Reading {
    /// Reads the text of the file at `path`.
    pub(super) fn of(text: &str, path: &str) -> Self {
        let parsed = parse(text, Some(path));
        if !parsed.is_ok() {
            return Reading::Invalid(parsed.diagnostics);
        }
        if parsed.resources.is_empty() {
            return Reading::Empty;
        }
        Reading::Declares(parsed.resources.iter().map(|located| located.resource.key()).collect())
    }

    /// Whether others may refer to what it declares: such files are applied first.
    pub(super) fn is_referred_to(&self) -> bool {
        match self {
            Reading::Declares(keys) => keys.iter().any(|key| key.kind != Kind::Gateway),
            Reading::Invalid(_) | Reading::Empty => false,
        }
    }
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) state: SpecState,
    /// A sentence; empty where there is nothing to say.
    pub(super) message: String,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Verdict {
    /// A verdict without places in the file.
    pub(super) fn new(state: SpecState, message: impl Into<String>) -> Self {
        Verdict { state, message: message.into(), diagnostics: Vec::new() }
    }

    /// The file was written as it stands; there may be warnings.
    pub(super) fn applied(warnings: Vec<Diagnostic>) -> Self {
        Verdict { state: SpecState::Applied, message: String::new(), diagnostics: warnings }
    }

    /// The file has errors.
    pub(super) fn invalid(diagnostics: Vec<Diagnostic>) -> Self {
        let errors: Vec<_> = diagnostics.iter().filter(|found| found.is_error()).collect();
        let message = match errors[..] {
            [] => String::new(),
            [one] => place(one),
            [first, ..] => format!("{} (and {} more)", place(first), errors.len() - 1),
        };
        Verdict { state: SpecState::Invalid, message, diagnostics }
    }

    /// The file was refused as a whole. `None` when that says nothing of the file: the database was away or busy.
    pub(super) fn refused(problem: Problem) -> Option<Self> {
        let Problem { status, ref detail, ref hint, .. } = problem;
        let said = || match hint {
            Some(hint) => format!("{detail}; {hint}"),
            None => detail.clone(),
        };
        let state = match problem.word() {
            "invalid" if !problem.diagnostics.is_empty() => return Some(Self::invalid(problem.diagnostics)),
            "invalid" => SpecState::Invalid,
            "managed" => SpecState::Conflict,
            "terminating" => SpecState::Pending,
            _ if status >= 500 || problem.is_conflict() => return None,
            _ => SpecState::Refused,
        };
        Some(Self::new(state, said()))
    }
}

fn place(found: &Diagnostic) -> String {
    match found.line {
        0 => found.message.clone(),
        line => format!("line {line}: {}", found.message),
    }
}

/// Whether so many of `total` objects are more than anybody removes by the way.
pub(super) fn is_great(removed: usize, total: usize) -> bool {
    removed > GREAT && removed * GREAT_SHARE > total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_three_and_more_than_a_fifth_are_great() {
        for (removed, total, great) in [
            (3, 3, false),
            (4, 4, true),
            (4, 19, true),
            (4, 20, false),
            (200, 1000, false),
            (201, 1000, true),
        ] {
            assert_eq!(is_great(removed, total), great, "{removed} of {total}");
        }
    }

    #[test]
    fn a_text_without_documents_is_empty_and_never_a_removal() {
        for text in ["", "\n\n", "# only a comment\n", "---\n", "---\n# a\n---\n", "null\n"] {
            assert_eq!(Reading::of(text, "a.yaml"), Reading::Empty, "{text:?}");
        }
        assert!(matches!(Reading::of("kind: Gateway\nmetadata: {", "a.yaml"), Reading::Invalid(_)));
    }

    #[test]
    fn the_first_error_is_told_with_its_line_and_the_number_of_others() {
        let Reading::Invalid(found) = Reading::of("kind: Gatewya\n---\nkind: Gatewya\n", "a.yaml") else {
            panic!()
        };
        let verdict = Verdict::invalid(found);
        assert!(
            verdict.message.starts_with("line 1: ") && verdict.message.ends_with(" more)"),
            "{verdict:?}"
        );
    }
}
