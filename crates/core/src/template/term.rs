//! The form of a template: text, and terms `{{ path | filter }}` in it.

use super::{Problem, dollar};

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// Text without braces.
    Text(&'t str),
    /// What stands between `{{` and `}}`.
    Term(Term<'t>),
}

/// A path into the configuration and what is done with the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term<'t> {
    /// The dotted path; its first key is the server's.
    pub(super) path: &'t str,
    /// In the order written.
    pub(super) filters: Vec<Filter<'t>>,
}

/// What can be done with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter<'t> {
    /// `x` to `x:x`, item by item in a list.
    Volume,
    /// The path in the container of `x:y` or `x`, item by item in a list.
    VolumeTarget,
    /// A value to a list of it; a list stays.
    Into,
    /// The first item of a list.
    First,
    /// The last item of a list.
    Last,
    /// Another value where there is none.
    Or(Default<'t>),
    /// `x` to `x:` and this path, item by item in a list.
    MountAs(&'t str),
    /// Nothing.
    Safe,
}

/// What `or:` gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Default<'t> {
    /// Text.
    Text(&'t str),
    /// `[a,b]`.
    List(Vec<&'t str>),
}

/// Whether docker/mcp-gateway evaluates an `env` value as a template.
pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{") && text.contains("}}")
}

/// The parts of a template whose text has no variables.
pub(super) fn parse(text: &str) -> Result<Vec<Part<'_>>, Problem> {
    parts(text, |_| 0)
}

/// The parts of a template whose text may have variables, which are left in it.
///
/// docker/mcp-gateway drops the braces of `${NAME}` here and expands `$NAME` then, which is the same unless a
/// letter follows.
pub(super) fn parse_with_variables(text: &str) -> Result<Vec<Part<'_>>, Problem> {
    parts(text, |braces| {
        let Some((name, behind)) = braces.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
            return 0;
        };
        let is_apart = !behind.starts_with(dollar::is_name_character);
        if dollar::is_name(name) && is_apart { name.len() + 2 } else { 0 }
    })
}

/// The parts of a template; `variable` is asked behind every `$` how many bytes of braces belong to it.
fn parts(text: &str, variable: impl Fn(&str) -> usize) -> Result<Vec<Part<'_>>, Problem> {
    let brace = |rest: &str| {
        let mut from = 0;
        while let Some(at) = rest[from..].find(['{', '}']).map(|at| at + from) {
            let taken = if rest[..at].ends_with('$') { variable(&rest[at..]) } else { 0 };
            if taken == 0 {
                return at;
            }
            from = at + taken;
        }
        rest.len()
    };
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = brace(rest);
        let (plain, braces) = rest.split_at(end);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        rest = braces;
        if rest.is_empty() {
            break;
        }
        let Some((inner, behind)) = rest.strip_prefix("{{").and_then(|inner| inner.split_once("}}")) else {
            return Err(Problem::StrayBrace);
        };
        parts.push(Part::Term(parse_term(inner)?));
        rest = behind;
    }
    Ok(parts)
}

fn parse_term(inner: &str) -> Result<Term<'_>, Problem> {
    let malformed = || Problem::Malformed(inner.to_owned());
    if inner.contains(['{', '}']) {
        return Err(malformed());
    }
    let mut pieces = inner.trim().split('|');
    let path = pieces.next().unwrap_or_default().trim();
    let is_key = |key: &str| !key.is_empty() && !key.contains(char::is_whitespace);
    if !path.split('.').all(is_key) {
        return Err(malformed());
    }
    Ok(Term { path, filters: pieces.map(parse_filter).collect::<Result<_, _>>()? })
}

fn parse_filter(written: &str) -> Result<Filter<'_>, Problem> {
    let trimmed = written.trim();
    let argument = |name| written.strip_prefix(name).map(str::trim_end);
    if let Some(default) = argument("or:") {
        let list = default.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
        return Ok(Filter::Or(match list {
            Some(list) => {
                Default::List(list.split(',').map(str::trim).filter(|item| !item.is_empty()).collect())
            }
            None => Default::Text(default),
        }));
    }
    if let Some(path) = argument("mount_as:") {
        return Ok(Filter::MountAs(path));
    }
    if trimmed.starts_with("or:") || trimmed.starts_with("mount_as:") {
        return Err(Problem::SpaceBeforeFilter(trimmed.to_owned()));
    }
    match trimmed {
        "volume" => Ok(Filter::Volume),
        "volume-target" => Ok(Filter::VolumeTarget),
        "into" => Ok(Filter::Into),
        "first" => Ok(Filter::First),
        "last" => Ok(Filter::Last),
        "safe" => Ok(Filter::Safe),
        unknown => Err(Problem::UnknownFilter(unknown.to_owned())),
    }
}

impl<'t> Term<'t> {
    /// The key of the configuration that this begins with, when it is a path into the configuration of `top`.
    pub(super) fn key_in(&self, top: &str) -> Option<&'t str> {
        self.keys_in(top)?.next()
    }

    /// The keys below `top`, when the path is one into the configuration of `top`.
    pub(super) fn keys_in(&self, top: &str) -> Option<impl Iterator<Item = &'t str>> {
        let mut keys = self.path.split('.');
        (keys.next() == Some(top)).then_some(keys)
    }

    /// Whether something else is given where there is no value.
    pub(super) fn has_default(&self) -> bool {
        self.filters.iter().any(|filter| matches!(filter, Filter::Or(_)))
    }
}
