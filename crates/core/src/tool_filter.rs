//! Which of a server's tools a gateway offers: lists of patterns over the server's own names.
//!
//! Written in a Gateway (`servers[].tools`), carried to the gateway in its file, and applied there to the list and
//! to every call alike.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// More patterns than this are no choice but a list of everything.
pub const MAX_PATTERNS: usize = 256;
/// Longest pattern in bytes; MCP asks for names of at most 128 characters.
pub const MAX_PATTERN: usize = 128;

/// The tools of one server that are offered. The default offers all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolFilter {
    /// Only tools that one of these matches; all of them when absent, none when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<ToolPattern>>,
    /// No tool that one of these matches, whatever `allow` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<ToolPattern>,
}

impl ToolFilter {
    /// Whether the filter offers everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the tool that the server calls `name` is offered.
    pub fn offers(&self, name: &str) -> bool {
        let Self { allow, deny } = self;
        let matches = |patterns: &[ToolPattern]| patterns.iter().any(|pattern| pattern.matches(name));
        allow.as_deref().is_none_or(matches) && !matches(deny)
    }
}

/// A name in which each `*` stands for any run of characters, none included. Case matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolPattern(String);

/// Why a text is no [`ToolPattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ToolPatternError {
    /// There is nothing in it.
    #[error("an empty text matches no tool")]
    Empty,
    /// It is longer than any name.
    #[error("a pattern has at most {MAX_PATTERN} bytes")]
    TooLong,
    /// It has a character that is in no name.
    #[error("{0:?} is in no name of a tool")]
    BadCharacter(char),
}

impl ToolPattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `name` matches. Time is at most the product of both lengths.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut seen) = (0, 0);
        // Behind the last `*`, and how much of the name it stands for: where to go on after a mismatch.
        let mut retry: Option<(usize, usize)> = None;
        while seen < name.len() {
            if pattern.get(at) == Some(&b'*') {
                at += 1;
                retry = Some((at, seen));
            } else if pattern.get(at) == Some(&name[seen]) {
                at += 1;
                seen += 1;
            } else if let Some((behind, taken)) = retry {
                at = behind;
                seen = taken + 1;
                retry = Some((behind, seen));
            } else {
                return false;
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

impl FromStr for ToolPattern {
    type Err = ToolPatternError;

    fn from_str(text: &str) -> Result<Self, ToolPatternError> {
        if text.is_empty() {
            return Err(ToolPatternError::Empty);
        }
        if text.len() > MAX_PATTERN {
            return Err(ToolPatternError::TooLong);
        }
        match text.chars().find(|c| c.is_whitespace() || c.is_control()) {
            Some(character) => Err(ToolPatternError::BadCharacter(character)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ToolPattern {
    type Error = ToolPatternError;

    fn try_from(text: String) -> Result<Self, ToolPatternError> {
        text.parse()
    }
}

impl From<ToolPattern> for String {
    fn from(pattern: ToolPattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> ToolFilter {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, name, expected) in [
            ("get_issue", "get_issue", true),
            ("get_issue", "get_issues", false),
            ("get_issue", "Get_issue", false),
            ("list_*", "list_", true),
            ("list_*", "list_repos", true),
            ("list_*", "relist_repos", false),
            ("*_repos", "list_repos", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("a**b", "ab", true),
            ("*ab", "aab", true),
            ("*abc*abd", "abcabcabd", true),
        ] {
            assert_eq!(pattern.parse::<ToolPattern>().unwrap().matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let pattern: ToolPattern = "*a".repeat(MAX_PATTERN / 2).parse().unwrap();
        assert!(!pattern.matches(&"b".repeat(100_000)));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(100_000))));
    }

    #[test]
    fn what_is_denied_is_not_offered_whatever_is_allowed() {
        assert!(filter("{}").offers("anything"));
        assert!(!filter(r#"{"allow":[]}"#).offers("anything"));
        let some = filter(r#"{"allow":["list_*","get_issue"],"deny":["list_secrets"]}"#);
        let offered =
            ["list_repos", "get_issue", "list_secrets", "delete_repo"].map(|name| some.offers(name));
        assert_eq!(offered, [true, true, false, false]);
        let all_but = filter(r#"{"deny":["delete_*"]}"#);
        assert_eq!(["get", "delete_all"].map(|name| all_but.offers(name)), [true, false]);
    }

    #[test]
    fn an_empty_list_is_kept_apart_from_none() {
        for text in ["{}", r#"{"allow":[]}"#, r#"{"allow":["a"],"deny":["b*"]}"#] {
            assert_eq!(serde_json::to_string(&filter(text)).unwrap(), text);
        }
        assert!(filter("{}").is_empty() && !filter(r#"{"allow":[]}"#).is_empty());
    }

    #[test]
    fn what_is_in_no_name_is_refused() {
        for text in ["", "a b", "a\n", &"x".repeat(MAX_PATTERN + 1)] {
            assert!(text.parse::<ToolPattern>().is_err(), "{text:?}");
        }
    }

    proptest! {
        /// Against the definition: a `*` takes some prefix of what is left.
        #[test]
        fn patterns_match_as_defined(pattern in "[ab*]{1,8}", name in "[ab]{0,10}") {
            fn defined(pattern: &str, name: &str) -> bool {
                match pattern.split_at_checked(1) {
                    None => name.is_empty(),
                    Some(("*", rest)) => (0..=name.len()).any(|taken| defined(rest, &name[taken..])),
                    Some((first, rest)) => name.strip_prefix(first).is_some_and(|name| defined(rest, name)),
                }
            }
            prop_assert_eq!(pattern.parse::<ToolPattern>().unwrap().matches(&name), defined(&pattern, &name));
        }
    }
}
