//! What a file says, what became of it, and when too much goes at once. Pure.

use std::collections::BTreeSet;

use bowline_core::diagnostic::{Code, Diagnostic, FieldPath, Position, printable};
use bowline_core::object::{Kind, ObjectKey};
use bowline_core::resource::{Located, parse};

use crate::problem::Problem;
use crate::wire::SpecState;

/// A removal is great when it takes more objects than this,
const GREAT: usize = 3;
/// and more than one in so many of what the directory holds.
const GREAT_SHARE: usize = 5;
/// Most findings that are kept of one file, and most characters of each text that is.
const FINDINGS: usize = 100;
const TEXT: usize = 1_000;
/// How long a file must not have been written before what is missing from it counts as taken out, in seconds.
pub(super) const AT_REST: u64 = 10;

/// What a text declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// It has errors in itself.
    Invalid(Vec<Diagnostic>),
    /// It has a Secret in it, which is not taken from a file, or may be meant to have one. Of such a text not even its
    /// hash is kept.
    HoldsSecret(Vec<Diagnostic>),
    /// It declares nothing: no document, or only comments. An editor in the middle of its work leaves such a file,
    /// and so does a full disk; whoever means a removal removes the file.
    Empty,
    /// These objects, each as it stands good in itself.
    Declares(BTreeSet<ObjectKey>),
}

impl Reading {
    /// Reads the text of the file at `path`.
    pub(super) fn of(text: &str, path: &str) -> Self {
        let mut parsed = parse(text, Some(path));
        let refusals: Vec<_> = parsed.resources.iter().filter_map(refusal).collect();
        if !refusals.is_empty() {
            parsed.diagnostics.extend(refusals);
            parsed.diagnostics.sort_by_key(|found| (found.line, found.column));
            return Reading::HoldsSecret(parsed.diagnostics);
        }
        if !parsed.is_ok() && may_hold_secret(text) {
            return Reading::HoldsSecret(parsed.diagnostics);
        }
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
            Reading::Invalid(_) | Reading::HoldsSecret(_) | Reading::Empty => false,
        }
    }
}

/// Whether a text that cannot be read whole may have the values of a Secret in it: what cannot be read has no kind.
fn may_hold_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("secret") || text.contains("stringdata")
}

/// What keeps an object out of the directory that is good in itself: the values of a Secret do not belong into a file
/// that stays there, for everybody who may read, copy or commit the directory.
fn refusal(located: &Located) -> Option<Diagnostic> {
    let ObjectKey { kind: Kind::Secret, namespace, name } = located.resource.key() else { return None };
    let message = "a Secret is not taken from the spec directory: its values would lie there as plain text";
    let found = located.origin.diagnostic(Code::InvalidValue, &FieldPath::of_keys("kind"), message);
    let namespace = namespace.unwrap_or_default();
    Some(found.with_hint(format!(
        "remove it here, and set its keys with `bowline secret set -n {namespace} {name} KEY`"
    )))
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
        Verdict { state, message: told(&message.into()), diagnostics: Vec::new() }
    }

    /// The file was written as it stands; there may be warnings.
    pub(super) fn applied(warnings: Vec<Diagnostic>) -> Self {
        Verdict { state: SpecState::Applied, message: String::new(), diagnostics: kept(warnings) }
    }

    /// Says one thing more.
    pub(super) fn add(&mut self, message: &str) {
        if !self.message.is_empty() {
            self.message.push_str("; ");
        }
        self.message.push_str(message);
    }

    /// The file has errors.
    pub(super) fn invalid(diagnostics: Vec<Diagnostic>) -> Self {
        let errors: Vec<_> = diagnostics.iter().filter(|found| found.is_error()).collect();
        let message = match errors[..] {
            [] => String::new(),
            [one] => place(one),
            [first, ..] => format!("{} (and {} more)", place(first), errors.len() - 1),
        };
        Verdict { state: SpecState::Invalid, message, diagnostics: kept(diagnostics) }
    }

    /// The file was refused as a whole. `None` when that says nothing of the file: the database is away.
    pub(super) fn refused(problem: Problem) -> Option<Self> {
        let Problem { ref detail, ref hint, .. } = problem;
        let said = || match hint {
            Some(hint) => format!("{detail}; {hint}"),
            None => detail.clone(),
        };
        let state = match problem.word() {
            "invalid" if !problem.diagnostics.is_empty() => return Some(Self::invalid(problem.diagnostics)),
            "invalid" => SpecState::Invalid,
            "managed" => SpecState::Conflict,
            "terminating" => SpecState::Pending,
            "unavailable" => return None,
            // Somebody else was writing the same objects.
            _ if problem.is_conflict() => SpecState::Pending,
            // What the database or this program makes of one file stops no other one.
            _ => SpecState::Refused,
        };
        Some(Self::new(state, said()))
    }
}

fn place(found: &Diagnostic) -> String {
    match found.line {
        0 => told(&found.message),
        line => format!("line {line}: {}", told(&found.message)),
    }
}

/// A text as it is kept: whatever a file says, the database must be able to store it and a terminal to print it.
fn told(text: &str) -> String {
    let clean = printable(text);
    match clean.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

/// The findings that are kept: the first errors, else the first warnings, and how many there were besides.
fn kept(mut findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    // One more is what tells of the others: what was kept once is kept as it is.
    if findings.len() > FINDINGS + 1 {
        findings.sort_by_key(|found| !found.is_error());
        let rest = findings.split_off(FINDINGS);
        let message = format!("and {} more findings, which are not kept", rest.len());
        let more = Diagnostic::new(rest[0].code, Position::default(), &FieldPath::root(), message);
        findings.push(more.in_file(rest[0].file.as_deref()));
    }
    for Diagnostic { code: _, severity: _, file: _, line: _, column: _, path, message, hint } in &mut findings
    {
        (*path, *message) = (told(path), told(message));
        *hint = hint.as_deref().map(told);
    }
    findings
}

/// Whether a file that was written last at `modified` is as its writer wanted it; both in seconds of Unix time. A time
/// far ahead is that of another clock and says nothing.
pub(super) fn is_at_rest(modified: i64, now: i64) -> bool {
    modified.abs_diff(now) > AT_REST
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
    fn what_is_missing_from_a_file_that_was_just_written_may_still_come() {
        for (age, rests) in [(0, false), (10, false), (11, true), (-10, false), (-11, true)] {
            assert_eq!(is_at_rest(1_800_000_000 - age, 1_800_000_000), rests, "{age}");
        }
        assert!(is_at_rest(i64::MIN, 1_800_000_000));
    }

    #[test]
    fn trouble_with_one_file_is_its_own_unless_the_database_is_away() {
        let state = |problem| Verdict::refused(problem).map(|verdict| verdict.state);
        assert_eq!(state(Problem::unavailable("the database does not answer")), None);
        assert_eq!(state(Problem::internal()), Some(SpecState::Refused));
        assert_eq!(state(Problem::conflict("somebody else wrote")), Some(SpecState::Pending));
    }

    #[test]
    fn whatever_a_file_says_can_be_stored_and_is_told_within_bounds() {
        let text = "kind: \"a\\0\"\n---\n".repeat(5_000);
        let Reading::Invalid(found) = Reading::of(&text, "a.yaml") else { panic!() };
        let count = found.iter().filter(|found| found.is_error()).count();
        assert!(count >= 5_000, "{count}");
        let verdict = Verdict::invalid(found);
        assert_eq!(verdict.diagnostics.len(), FINDINGS + 1);
        assert!(verdict.message.ends_with(&format!("(and {} more)", count - 1)), "{}", verdict.message);
        let last = verdict.diagnostics.last().unwrap();
        assert!(last.message.starts_with("and ") && last.message.contains("more findings"), "{last}");
        assert!(!serde_json::to_string(&verdict.diagnostics).unwrap().contains("\\u0000"));
        assert_eq!(Verdict::new(SpecState::Refused, "a\0b").message, r"a\u{0}b");

        let long = format!("kind: {}", "x".repeat(1 << 19));
        let Reading::Invalid(found) = Reading::of(&long, "a.yaml") else { panic!() };
        let verdict = Verdict::invalid(found);
        assert!(
            verdict.message.len() + verdict.diagnostics[0].message.len() < 3_000,
            "{}",
            verdict.message.len()
        );
    }

    #[test]
    fn a_text_without_documents_is_empty_and_never_a_removal() {
        for text in ["", "\n\n", "# only a comment\n", "---\n", "---\n# a\n---\n", "null\n"] {
            assert_eq!(Reading::of(text, "a.yaml"), Reading::Empty, "{text:?}");
        }
        assert!(matches!(Reading::of("kind: Gateway\nmetadata: {", "a.yaml"), Reading::Invalid(_)));
    }

    #[test]
    fn a_secret_is_refused_at_its_line_without_its_value() {
        let gateway = "apiVersion: bowline.dev/v1alpha1\nkind: Gateway\nmetadata: { namespace: u1, name: default }\n\
                       spec: {}\n";
        let secret = "apiVersion: bowline.dev/v1alpha1\nkind: Secret\nmetadata: { namespace: u1, name: work }\n\
                      stringData: { pat: canary }\n";
        let text = format!("{gateway}---\n{secret}");
        let Reading::HoldsSecret(found) = Reading::of(&text, "a.yaml") else { panic!() };
        let verdict = Verdict::invalid(found);
        assert!(verdict.message.starts_with("line 7: a Secret is not taken"), "{verdict:?}");
        let hint = verdict.diagnostics[0].hint.as_deref().unwrap();
        assert!(hint.contains("`bowline secret set -n u1 work KEY`"), "{hint}");
        assert!(!format!("{verdict:?}").contains("canary"));
        // Nor where it says nothing of values: whoever wants that declared uses `apply`.
        let bare = secret.replace("stringData: { pat: canary }\n", "");
        assert!(matches!(Reading::of(&bare, "a.yaml"), Reading::HoldsSecret(_)));
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
