//! Values, filters, and the places that templates stand in: `env` (text), `command` and `volumes` (lists).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::dollar::{self, Piece};
use super::lint::{check_characters, check_default_dollars, check_top};
use super::term::{self, Default, Filter, Part, Term};
use super::{Problem, TemplateError, top_key};
use crate::catalog::ServerFields;
use crate::diagnostic::FieldPath;

/// What a term comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Evaluated<'v> {
    Missing,
    Text(Cow<'v, str>),
    /// A number or a boolean, as text.
    Scalar(String),
    List(Vec<Evaluated<'v>>),
    Mapping,
}

/// A value, and whether the tenant's configuration chose it.
struct Chosen<'v> {
    value: Evaluated<'v>,
    by_config: bool,
}

/// The longest argument or variable that Linux gives to a program (`MAX_ARG_STRLEN`), its NUL excluded.
const MAX_TEXT: usize = (128 << 10) - 1;
/// The most for all arguments and variables together: half of Linux' default.
const MAX_TOTAL: usize = 1 << 20;

/// Text, and whether the tenant's configuration has a part in it.
#[derive(Debug, Clone, Default)]
struct Rendered {
    text: String,
    by_config: bool,
}

impl Rendered {
    /// Variables may double from one to the next, so this is where growth ends.
    fn push(&mut self, text: &str, by_config: bool) -> Result<(), Problem> {
        if self.text.len() + text.len() > MAX_TEXT {
            return Err(Problem::TooLong);
        }
        self.text.push_str(text);
        self.by_config |= by_config;
        Ok(())
    }
}

/// Names in scope for `$`, with their values; `None` for one that is declared and not set.
type Scope = BTreeMap<String, Option<Rendered>>;

struct Renderer<'e> {
    top: String,
    fields: &'e ServerFields,
    config: &'e Map<String, Value>,
    errors: Vec<TemplateError>,
    /// Bytes rendered so far.
    total: usize,
}

/// The templated fields of a container, and everything that is wrong with them.
pub(super) struct Container {
    pub(super) command: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) volumes: Vec<String>,
    pub(super) errors: Vec<TemplateError>,
}

/// Renders all templated fields.
pub(super) fn container(name: &str, fields: &ServerFields, config: &Map<String, Value>) -> Container {
    let mut renderer = Renderer { top: top_key(name), fields, config, errors: Vec::new(), total: 0 };
    let (env, scope) = renderer.env();
    let command = renderer.command(&scope);
    let volumes = renderer.volumes();
    Container { command, env, volumes, errors: renderer.errors }
}

impl<'e> Renderer<'e> {
    /// The environment, and what `$` may refer to behind it. Of two variables of one name the later one wins.
    fn env(&mut self) -> (Vec<(String, String)>, Scope) {
        let fields = self.fields;
        let mut scope = Scope::new();
        for (index, variable) in fields.env.iter().enumerate() {
            let path = FieldPath::of_keys("env").index(index).key("value");
            let value = self.note(&path, |renderer| renderer.env_value(&variable.value, &scope)).flatten();
            if !self.fits(path, value.as_ref().map_or(0, |value| value.text.len())) {
                break;
            }
            scope.insert(variable.name.clone(), value.filter(|value| !value.text.is_empty()));
        }
        let mut env: Vec<(String, String)> = Vec::new();
        let mut taken = BTreeSet::new();
        for variable in &fields.env {
            let is_new = taken.insert(&variable.name);
            if let Some(Some(value)) = scope.get(&variable.name).filter(|_| is_new) {
                env.push((variable.name.clone(), value.text.clone()));
            }
        }
        (env, scope)
    }

    fn command(&mut self, scope: &Scope) -> Vec<String> {
        let fields = self.fields;
        let mut command = Vec::new();
        for (index, item) in fields.command.iter().enumerate() {
            let path = FieldPath::of_keys("command").index(index);
            let items = self.note(&path, |renderer| renderer.command_items(item, scope)).unwrap_or_default();
            if !self.fits(path, items.iter().map(String::len).sum()) {
                break;
            }
            command.extend(items);
        }
        command
    }

    /// Items of `volumes`: templates as in `command`, without variables.
    fn volumes(&mut self) -> Vec<String> {
        let fields = self.fields;
        let mut volumes = Vec::new();
        for (index, item) in fields.volumes.iter().enumerate() {
            let path = FieldPath::of_keys("volumes").index(index);
            let items = self.note(&path, |renderer| renderer.volume_items(item)).unwrap_or_default();
            if !self.fits(path, items.iter().map(String::len).sum()) {
                break;
            }
            volumes.extend(items);
        }
        volumes
    }

    fn volume_items(&self, source: &str) -> Result<Vec<String>, Problem> {
        let parts = term::parse(source)?;
        let items = match parts.as_slice() {
            [Part::Term(term)] => self.list_items(term)?,
            parts => vec![self.text(parts, None)?],
        };
        items.iter().try_for_each(|item| check_characters(&item.text))?;
        Ok(items.into_iter().map(|item| item.text).collect())
    }

    /// Counts what was rendered; an error and false when it has become too much.
    fn fits(&mut self, path: FieldPath, bytes: usize) -> bool {
        self.total += bytes;
        if self.total > MAX_TOTAL {
            self.errors.push(TemplateError { path, problem: Problem::TooLong });
        }
        self.total <= MAX_TOTAL
    }

    /// Runs `render` and keeps its problem, if it has one, as an error at `path`.
    fn note<T>(&mut self, path: &FieldPath, render: impl FnOnce(&Self) -> Result<T, Problem>) -> Option<T> {
        match render(self) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.errors.push(TemplateError { path: path.clone(), problem });
                None
            }
        }
    }

    /// `None` where the variable is not to be set.
    fn env_value(&self, text: &str, scope: &Scope) -> Result<Option<Rendered>, Problem> {
        let value = if term::is_template(text) {
            let parts = term::parse(text)?;
            if let [Part::Term(term)] = parts.as_slice()
                && self.evaluate(term)?.value == Evaluated::Missing
            {
                return Ok(None);
            }
            // docker/mcp-gateway leaves a `$` in a templated value alone.
            self.text(&parts, None)?
        } else {
            let pieces = dollar::parse(text)?;
            if let [Piece::Variable(name)] = pieces.as_slice()
                && scope.get(*name).is_some_and(Option::is_none)
            {
                return Ok(None);
            }
            self.expand(&pieces, scope)?
        };
        check_characters(&value.text)?;
        Ok(Some(value))
    }

    fn command_items(&self, source: &str, scope: &Scope) -> Result<Vec<String>, Problem> {
        let parts = term::parse_with_variables(source)?;
        for part in &parts {
            if let Part::Term(term) = part {
                check_default_dollars(term)?;
            }
        }
        let items = if let [Part::Term(term)] = parts.as_slice() {
            self.list_items(term)?
        } else {
            vec![self.text(&parts, Some(scope))?]
        };
        let whole = || source.trim_matches(['{', '}', ' ']).to_owned();
        for Rendered { text, by_config } in &items {
            check_characters(text)?;
            if *by_config && text.starts_with('-') && !source.starts_with('-') {
                return Err(Problem::Flag(whole()));
            }
        }
        Ok(items.into_iter().map(|item| item.text).collect())
    }

    /// A term that is a whole item of a list: a list comes to several items, text to one.
    fn list_items(&self, term: &Term<'_>) -> Result<Vec<Rendered>, Problem> {
        let Chosen { value, by_config } = self.evaluate(term)?;
        let values = match value {
            Evaluated::List(values) => values,
            single => vec![single],
        };
        let item = |value| match value {
            Evaluated::Text(text) if text.len() > MAX_TEXT => Err(Problem::TooLong),
            Evaluated::Text(text) => Ok(Rendered { text: text.into_owned(), by_config }),
            Evaluated::Missing => Err(Problem::Missing(term.path.to_owned())),
            Evaluated::Scalar(_) => Err(Problem::BareScalar(term.path.to_owned())),
            Evaluated::List(_) | Evaluated::Mapping => Err(Problem::NotText(term.path.to_owned())),
        };
        values.into_iter().map(item).collect()
    }

    /// All parts as one text; `$` in the entry's own text is expanded where there is a scope.
    fn text(&self, parts: &[Part<'_>], scope: Option<&Scope>) -> Result<Rendered, Problem> {
        let mut whole = Rendered::default();
        for part in parts {
            match (part, scope) {
                (Part::Text(text), None) => whole.push(text, false)?,
                (Part::Text(text), Some(scope)) => {
                    let Rendered { text, by_config } = self.expand(&dollar::parse(text)?, scope)?;
                    whole.push(&text, by_config)?;
                }
                (Part::Term(term), _) => {
                    let Chosen { value, by_config } = self.evaluate(term)?;
                    match value {
                        Evaluated::Text(text) => whole.push(&text, by_config)?,
                        Evaluated::Scalar(text) => whole.push(&text, by_config)?,
                        Evaluated::Missing => return Err(Problem::Missing(term.path.to_owned())),
                        Evaluated::List(_) | Evaluated::Mapping => {
                            return Err(Problem::NotText(term.path.to_owned()));
                        }
                    }
                }
            }
        }
        Ok(whole)
    }

    fn expand(&self, pieces: &[Piece<'_>], scope: &Scope) -> Result<Rendered, Problem> {
        let mut whole = Rendered::default();
        for piece in pieces {
            match piece {
                Piece::Text(text) => whole.push(text, false)?,
                Piece::Variable(name) => match scope.get(*name) {
                    Some(Some(value)) => whole.push(&value.text, value.by_config)?,
                    Some(None) => return Err(Problem::UnsetVariable((*name).to_owned())),
                    None if self.fields.secrets.iter().any(|secret| secret.env == *name) => {
                        return Err(Problem::SecretVariable((*name).to_owned()));
                    }
                    None => return Err(Problem::UnknownVariable((*name).to_owned())),
                },
            }
        }
        Ok(whole)
    }

    fn evaluate<'t>(&self, term: &Term<'t>) -> Result<Chosen<'t>, Problem>
    where
        'e: 't,
    {
        check_top(term, &self.top)?;
        let mut found = None;
        if let Some(mut keys) = term.keys_in(&self.top) {
            found = match keys.next() {
                Some(first) => {
                    keys.try_fold(self.config.get(first), |value, key| Some(value?.get(key))).flatten()
                }
                None => return Err(Problem::NotText(term.path.to_owned())),
            };
        }
        let mut chosen = Chosen { value: evaluated(found), by_config: true };
        for filter in &term.filters {
            chosen = apply(chosen, filter, term)?;
        }
        Ok(chosen)
    }
}

fn evaluated(value: Option<&Value>) -> Evaluated<'_> {
    match value {
        None | Some(Value::Null) => Evaluated::Missing,
        Some(Value::String(text)) => Evaluated::Text(Cow::Borrowed(text)),
        Some(Value::Bool(value)) => Evaluated::Scalar(value.to_string()),
        Some(Value::Number(number)) => Evaluated::Scalar(match number.as_f64() {
            // `1.0` is `1` in Go's notation as in Rust's, and not in JSON's.
            Some(float) if number.is_f64() => float.to_string(),
            _ => number.to_string(),
        }),
        Some(Value::Array(items)) => {
            Evaluated::List(items.iter().map(|item| evaluated(Some(item))).collect())
        }
        Some(Value::Object(_)) => Evaluated::Mapping,
    }
}

fn apply<'v>(chosen: Chosen<'v>, filter: &Filter<'v>, term: &Term<'_>) -> Result<Chosen<'v>, Problem> {
    let Chosen { value, by_config } = chosen;
    let keep = |value| Ok(Chosen { value, by_config });
    match filter {
        Filter::Safe => keep(value),
        Filter::Or(default) => match value {
            Evaluated::Missing => Ok(Chosen { value: default_value(default), by_config: false }),
            Evaluated::Text(text) if text.is_empty() => {
                Ok(Chosen { value: default_value(default), by_config: false })
            }
            value => keep(value),
        },
        Filter::Into => keep(match value {
            Evaluated::Missing | Evaluated::List(_) => value,
            single => Evaluated::List(vec![single]),
        }),
        Filter::First | Filter::Last => keep(match value {
            Evaluated::List(mut items) if *filter == Filter::First => match items.is_empty() {
                true => Evaluated::Missing,
                false => items.swap_remove(0),
            },
            Evaluated::List(mut items) => items.pop().unwrap_or(Evaluated::Missing),
            single => single,
        }),
        Filter::Volume => keep(map_text(value, term, |text| format!("{text}:{text}"))?),
        Filter::MountAs(path) => keep(map_text(value, term, |text| format!("{text}:{path}"))?),
        Filter::VolumeTarget => {
            keep(map_text(value, term, |text| text.split(':').nth(1).unwrap_or(text).to_owned())?)
        }
    }
}

fn default_value<'v>(default: &Default<'v>) -> Evaluated<'v> {
    match default {
        Default::Text(text) => Evaluated::Text(Cow::Borrowed(text)),
        Default::List(items) => {
            Evaluated::List(items.iter().map(|item| Evaluated::Text(Cow::Borrowed(*item))).collect())
        }
    }
}

fn map_text<'v>(
    value: Evaluated<'v>,
    term: &Term<'_>,
    change: impl Fn(&str) -> String + Copy,
) -> Result<Evaluated<'v>, Problem> {
    match value {
        Evaluated::Missing => Ok(Evaluated::Missing),
        Evaluated::Text(text) => Ok(Evaluated::Text(Cow::Owned(change(&text)))),
        Evaluated::List(items) => items
            .into_iter()
            .map(|item| map_text(item, term, change))
            .collect::<Result<_, _>>()
            .map(Evaluated::List),
        Evaluated::Scalar(_) => Err(Problem::BareScalar(term.path.to_owned())),
        Evaluated::Mapping => Err(Problem::NotText(term.path.to_owned())),
    }
}
