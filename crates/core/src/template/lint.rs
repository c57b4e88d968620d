//! What is wrong with templates whatever the configuration is.

use super::dollar::{self, Piece};
use super::term::{self, Default, Filter, Part, Term};
use super::{Problem, TemplateError, top_key};
use crate::catalog::ServerFields;
use crate::diagnostic::FieldPath;

/// What is wrong whatever the configuration is.
pub(super) fn fields(name: &str, fields: &ServerFields) -> Vec<TemplateError> {
    let top = top_key(name);
    let mut errors = Vec::new();
    let mut note = |path: FieldPath, result: Result<(), Problem>| {
        errors.extend(result.err().map(|problem| TemplateError { path, problem }));
    };
    let mut known: Vec<&str> = fields.secrets.iter().map(|secret| secret.env.as_str()).collect();
    for (index, variable) in fields.env.iter().enumerate() {
        let path = FieldPath::of_keys("env").index(index).key("value");
        let result = match term::is_template(&variable.value) {
            true => term::parse(&variable.value).and_then(|parts| lint_terms(&parts, &top)),
            false => lint_dollars(&variable.value, &known),
        };
        note(path, result.and_then(|()| check_characters(&variable.value)));
        known.push(&variable.name);
    }
    for (index, item) in fields.command.iter().enumerate() {
        let path = FieldPath::of_keys("command").index(index);
        let result = term::parse_with_variables(item).and_then(|parts| {
            lint_terms(&parts, &top)?;
            parts.iter().try_for_each(|part| match part {
                Part::Text(text) => lint_dollars(text, &known),
                Part::Term(term) => check_default_dollars(term),
            })
        });
        note(path, result.and_then(|()| check_characters(item)));
    }
    for (index, item) in fields.volumes.iter().enumerate() {
        let path = FieldPath::of_keys("volumes").index(index);
        let result = term::parse(item).and_then(|parts| lint_terms(&parts, &top));
        note(path, result.and_then(|()| check_characters(item)));
    }
    errors
}

fn lint_terms(parts: &[Part<'_>], top: &str) -> Result<(), Problem> {
    parts.iter().try_for_each(|part| match part {
        Part::Term(term) => check_top(term, top),
        Part::Text(_) => Ok(()),
    })
}

fn lint_dollars(text: &str, known: &[&str]) -> Result<(), Problem> {
    dollar::parse(text)?.into_iter().try_for_each(|piece| match piece {
        Piece::Variable(name) if !known.contains(&name) => Err(Problem::UnknownVariable(name.to_owned())),
        Piece::Variable(_) | Piece::Text(_) => Ok(()),
    })
}

/// A path that can have a value.
pub(super) fn check_top(term: &Term<'_>, top: &str) -> Result<(), Problem> {
    match term.keys_in(top).is_some() || term.has_default() {
        true => Ok(()),
        false => Err(Problem::ForeignPath { path: term.path.to_owned(), server: top.to_owned() }),
    }
}

/// docker/mcp-gateway expands `$` in what a default of `command` gives; here a default is taken as it is, so
/// that one with a `$` would mean two things.
pub(super) fn check_default_dollars(term: &Term<'_>) -> Result<(), Problem> {
    let dollar = term.filters.iter().find_map(|filter| match filter {
        Filter::Or(Default::Text(text)) => text.contains('$').then_some(*text),
        Filter::Or(Default::List(items)) => items.iter().find(|item| item.contains('$')).copied(),
        _ => None,
    });
    dollar.map_or(Ok(()), |text| Err(Problem::LostDollar(text.to_owned())))
}

/// Text that an argument or a variable can have.
pub(super) fn check_characters(text: &str) -> Result<(), Problem> {
    if text.chars().any(char::is_control) { Err(Problem::ControlCharacter) } else { Ok(()) }
}
