//! `annotate`: sets and removes annotations, as kubectl does.

use std::collections::BTreeMap;

use bowline_api::wire::Outcome;

use super::update::update;
use crate::args::AnnotateArgs;
use crate::failure::Failure;
use crate::target;
use crate::ui::Ui;

/// Runs `annotate`.
pub(crate) async fn run(args: AnnotateArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let (resource, changes) = split(&args.words)?;
    let targets = target::read(resource, args.namespace.namespace.as_deref())?;
    if targets.keys.is_empty() {
        return Err(Failure::user("which one?").hint("name an object, for example gateway/u1/default"));
    }
    for key in &targets.keys {
        let outcome = update(&client, key, ui, |object| {
            change(&mut object.metadata.annotations, &changes, args.overwrite)
        })
        .await?;
        match outcome {
            Outcome::Unchanged => ui.line(format_args!("{key} unchanged"))?,
            Outcome::Created | Outcome::Configured => ui.line(format_args!("{key} annotated"))?,
        }
    }
    Ok(())
}

/// One change of the annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Set(String, String),
    Remove(String),
}

/// Splits the words where the changes begin.
fn split(words: &[String]) -> Result<(&[String], Vec<Change>), Failure> {
    let is_change = |word: &String| word.contains('=') || word.ends_with('-');
    let begin = words.iter().position(is_change).unwrap_or(words.len());
    let (resource, changes) = words.split_at(begin);
    let read = |word: &String| match (word.split_once('='), word.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok(Change::Set(key.to_owned(), value.to_owned())),
        (None, Some(key)) if !key.is_empty() => Ok(Change::Remove(key.to_owned())),
        _ => Err(Failure::user(format!("{word:?} is neither KEY=VALUE nor KEY-"))),
    };
    let changes = changes.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut keys: Vec<_> = changes.iter().map(|(Change::Set(key, _) | Change::Remove(key))| key).collect();
    keys.sort();
    if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Failure::user(format!("{:?} is named twice", twice[0])));
    }
    if changes.is_empty() {
        return Err(
            Failure::user("no annotation given").hint("write KEY=VALUE to set one, KEY- to remove one")
        );
    }
    Ok((resource, changes))
}

/// Makes the changes; `false` when everything was so already.
fn change(
    annotations: &mut BTreeMap<String, String>,
    changes: &[Change],
    overwrite: bool,
) -> Result<bool, Failure> {
    let before = annotations.clone();
    for change in changes {
        match change {
            Change::Set(key, value) => {
                if let Some(old) = before.get(key).filter(|old| *old != value && !overwrite) {
                    let message = format!("the annotation {key:?} already has the value {old:?}");
                    return Err(Failure::user(message).hint("--overwrite changes it"));
                }
                annotations.insert(key.clone(), value.clone());
            }
            Change::Remove(key) => {
                annotations.remove(key);
            }
        }
    }
    Ok(*annotations != before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn changes_begin_where_a_word_is_one() {
        let line = words("gateway u1/default note=a=b old- empty=");
        let (resource, changes) = split(&line).unwrap();
        assert_eq!(resource, ["gateway", "u1/default"]);
        let set = |key: &str, value: &str| Change::Set(key.to_owned(), value.to_owned());
        assert_eq!(changes, [set("note", "a=b"), Change::Remove("old".to_owned()), set("empty", "")]);
        for wrong in ["gateway u1", "gateway u1 =x", "gateway u1 -", "gateway u1 a=b u2", "gateway u1 a=b a-"]
        {
            assert!(split(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_is_overwritten_only_when_that_is_said() {
        let mut annotations = BTreeMap::from([("note".to_owned(), "old".to_owned())]);
        let set = [Change::Set("note".to_owned(), "new".to_owned())];
        let failure = change(&mut annotations, &set, false).unwrap_err().to_string();
        assert!(failure.contains("\"old\"") && failure.contains("--overwrite"), "{failure}");
        assert_eq!(change(&mut annotations, &set, true), Ok(true));
        assert_eq!(change(&mut annotations, &set, false), Ok(false), "it has this value already");
        assert_eq!(change(&mut annotations, &[Change::Remove("other".to_owned())], false), Ok(false));
        assert_eq!(change(&mut annotations, &[Change::Remove("note".to_owned())], false), Ok(true));
        assert!(annotations.is_empty());
    }
}
