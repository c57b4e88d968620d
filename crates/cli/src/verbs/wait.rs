//! `wait`: until conditions hold or objects are gone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bowline_api::wire::Object;
use bowline_core::object::{Kind, ObjectKey};
use bowline_core::status::{
    Condition, ConditionStatus, ConditionType, GatewayStatus, PAUSED, ROLLED_BACK, ServerState,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::follow::{Followed, News, Scope, World, follow};
use crate::args::{WaitArgs, WaitFor, Waiting, deadline};
use crate::client::{Client, list_path};
use crate::failure::Failure;
use crate::output::status_of;
use crate::target;
use crate::ui::Ui;

pub(crate) mod settled;

/// Reasons of a failed server that only another specification, catalog or Secret cures: there is nothing to wait for.
const INCURABLE: [&str; 10] = [
    "UnknownServer",
    "Unsupported",
    "InvalidConfig",
    "InvalidImage",
    "UnknownImageUser",
    "NoCommand",
    "BadLease",
    "HostPathNotAllowed",
    "InvalidVolume",
    "SecretUnusable",
];

/// Runs `wait`.
pub(crate) async fn run(args: WaitArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let targets = target::read(&args.resource, args.namespace.namespace.as_deref())?;
    let deadline = deadline(args.timeout);
    let keys = if targets.keys.is_empty() {
        let list: bowline_api::wire::ObjectList =
            client.get(&list_path(targets.kind, targets.namespace.as_deref())).await?;
        list.items.iter().map(Object::key).collect()
    } else {
        targets.keys
    };
    match args.wait_for {
        WaitFor::Delete => {
            gone(&client, targets.kind, keys.clone(), deadline).await?;
            keys.iter().try_for_each(|key| ui.line(format_args!("{key} deleted")))
        }
        WaitFor::Condition(_) if targets.kind != Kind::Gateway => {
            Err(Failure::user(format!("a {} has no conditions", targets.kind)))
        }
        // Nothing is gone already, and is not ready ever: a name that was mistyped must not pass for success.
        WaitFor::Condition(_) if keys.is_empty() => {
            Err(Failure::user("no matching resources found").hint("bowline get gateways -A"))
        }
        WaitFor::Condition(condition) => {
            until(&client, &keys, condition, deadline, &mut |_| {}).await?;
            keys.iter().try_for_each(|key| ui.line(format_args!("{key} condition met")))
        }
    }
}

/// How far a gateway is from a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds for the current generation.
    Holds,
    /// It may come to hold; this is what is missing.
    NotYet(String),
    /// It cannot come to hold before somebody changes something.
    Never(String),
}

/// Judges one gateway.
pub(crate) fn judge(object: &Object, condition: ConditionType) -> Verdict {
    let status = status_of(object);
    let generation = object.metadata.generation;
    if object.metadata.deletion_timestamp.is_some() {
        return Verdict::Never("it is being deleted".to_owned());
    }
    if status.observed_generation < generation {
        return Verdict::NotYet(format!("generation {generation} has not been looked at yet"));
    }
    // What answers is the revision before: the one that is waited for was taken back.
    let progressing = status.condition(ConditionType::Progressing);
    if let Some(progressing) = progressing
        && (progressing.reason == ROLLED_BACK || progressing.reason == PAUSED)
    {
        return Verdict::Never(sentence(progressing));
    }
    // A step that fails for another reason must not hide it.
    if progressing.is_some_and(|progressing| progressing.reason == "BackOff")
        && let Some(failed) = failed_revision(&status)
    {
        return Verdict::Never(failed);
    }
    if let Some(accepted) = status.condition(ConditionType::Accepted)
        && accepted.status == ConditionStatus::False
    {
        return Verdict::Never(sentence(accepted));
    }
    if status.is_true(condition, generation) {
        return Verdict::Holds;
    }
    let incurable = incurable_servers(&status);
    if condition == ConditionType::Ready && !incurable.is_empty() {
        return Verdict::Never(incurable.join("; "));
    }
    match status.condition(condition) {
        Some(found) if found.reason == "Suspended" => Verdict::Never("it is suspended".to_owned()),
        Some(found) => Verdict::NotYet(sentence(found)),
        None => Verdict::NotYet(format!("{} is not known yet", condition.as_str())),
    }
}

fn failed_revision(status: &GatewayStatus) -> Option<String> {
    let servers = status.servers.iter().map(|server| (server.name.as_str(), &server.failed_revision));
    let mut units = servers.chain([("gateway", &status.failed_revision)]);
    let (unit, failed) = units.find_map(|(unit, failed)| Some((unit, failed.as_ref()?)))?;
    Some(format!("{unit} runs as it did before the last change ({}): {}", failed.reason, failed.message))
}

fn sentence(condition: &Condition) -> String {
    let Condition { condition_type, status, reason, message, .. } = condition;
    let head = format!("{}={} ({reason})", condition_type.as_str(), status.as_str());
    if message.is_empty() { head } else { format!("{head}: {message}") }
}

fn incurable_servers(status: &GatewayStatus) -> Vec<String> {
    let failed = status.servers.iter().filter(|server| server.state == ServerState::Failed);
    failed
        .filter_map(|server| {
            let reason = server.reason.as_deref().filter(|reason| INCURABLE.contains(reason))?;
            let error = server.last_error.as_deref().unwrap_or("no more is known");
            Some(format!("server {} is Failed ({reason}): {error}", server.name))
        })
        .collect()
}

/// Waits until the condition holds for all of these gateways; `progress` hears every change of what is missing.
pub(crate) async fn until(
    client: &Client,
    keys: &[ObjectKey],
    condition: ConditionType,
    deadline: Instant,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut missing: BTreeMap<ObjectKey, String> = BTreeMap::new();
    let followed = follow(client, &Scope::of(Kind::Gateway, keys), Some(deadline), |world, _| {
        if !world.is_complete {
            return Ok(ControlFlow::Continue(()));
        }
        let mut waiting = false;
        for key in keys {
            let Some(object) = world.objects.get(key) else {
                return Err(Failure::user(format!("{key} does not exist")));
            };
            let text = match judge(object, condition) {
                Verdict::Holds => format!("{key}: {}", condition.as_str()),
                Verdict::NotYet(why) => {
                    waiting = true;
                    format!("{key}: {why}")
                }
                Verdict::Never(why) => {
                    return Err(Failure::user(format!("{key} cannot become {}: {why}", condition.as_str()))
                        .hint(format!("bowline describe {key}")));
                }
            };
            if missing.get(key) != Some(&text) {
                progress(&text);
                missing.insert(key.clone(), text);
            }
        }
        Ok(if waiting { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
    .await?;
    match followed {
        Followed::Done => Ok(()),
        Followed::TimedOut => Err(timed_out(condition, keys, &missing)),
    }
}

/// After a change or a request: waits, when that was asked for, until the controller has seen the request with this
/// revision, if it was one, and the gateway is Ready.
pub(crate) async fn when_asked(
    client: &Client,
    key: &ObjectKey,
    waiting: &Waiting,
    revision: Option<i64>,
    ui: &mut Ui,
) -> Result<(), Failure> {
    if !waiting.wait {
        return Ok(());
    }
    let deadline = deadline(waiting.timeout);
    let keys = std::slice::from_ref(key);
    if let Some(revision) = revision {
        let followed = follow(client, &Scope::of(Kind::Gateway, keys), Some(deadline), |world, _| {
            let seen =
                world.objects.get(key).is_some_and(|object| status_of(object).observed_requests >= revision);
            match world.is_complete && !world.objects.contains_key(key) {
                true => Err(Failure::user(format!("{key} does not exist"))),
                false if seen => Ok(ControlFlow::Break(())),
                false => Ok(ControlFlow::Continue(())),
            }
        })
        .await?;
        if followed == Followed::TimedOut {
            return Err(Failure::user(format!(
                "time is up and the controller has not seen the request of {key}"
            ))
            .hint(format!("bowline describe {key}")));
        }
    }
    until(client, keys, ConditionType::Ready, deadline, &mut |text| ui.say(text)).await
}

fn timed_out(condition: ConditionType, keys: &[ObjectKey], missing: &BTreeMap<ObjectKey, String>) -> Failure {
    let done = format!(": {}", condition.as_str());
    let mut open =
        keys.iter().filter(|key| missing.get(key).is_none_or(|text| *text != format!("{key}{done}")));
    let texts: Vec<_> = open
        .clone()
        .map(|key| missing.get(key).cloned().unwrap_or_else(|| format!("{key}: the API did not answer")))
        .collect();
    let failure = Failure::user(format!(
        "time is up and {} of {} are not {}\n  {}",
        texts.len(),
        keys.len(),
        condition.as_str(),
        texts.join("\n  ")
    ));
    let hint = open.next().map(|key| format!("bowline describe {key}"));
    failure.maybe_hint(hint)
}

/// Waits until none of these objects is there any more. One that is made anew meanwhile is not the one that went.
pub(crate) async fn gone(
    client: &Client,
    kind: Kind,
    keys: Vec<ObjectKey>,
    deadline: Instant,
) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut first: Option<BTreeMap<ObjectKey, Uuid>> = None;
    let mut left = Vec::new();
    let followed = follow(client, &Scope::of(kind, &keys), Some(deadline), |world, news| {
        if !world.is_complete {
            return Ok(ControlFlow::Continue(()));
        }
        let wanted = first.get_or_insert_with(|| present(world, &keys));
        if let News::Gone(deleted) = news {
            wanted.retain(|_, uid| *uid != deleted.uid);
        }
        wanted.retain(|key, uid| world.objects.get(key).is_some_and(|object| object.metadata.uid == *uid));
        left = wanted.keys().filter_map(|key| world.objects.get(key)).map(remaining).collect();
        Ok(if wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .await?;
    match followed {
        Followed::Done => Ok(()),
        Followed::TimedOut => {
            Err(Failure::user(format!("time is up and there still are\n  {}", left.join("\n  ")))
                .hint("the deletion goes on; wait again with: bowline wait --for=delete TARGET"))
        }
    }
}

fn present(world: &World, keys: &[ObjectKey]) -> BTreeMap<ObjectKey, Uuid> {
    let known = keys.iter().filter_map(|key| Some((key.clone(), world.objects.get(key)?.metadata.uid)));
    known.collect()
}

fn remaining(object: &Object) -> String {
    let remaining = status_of(object).remaining;
    let key = object.key();
    if object.metadata.deletion_timestamp.is_none() {
        return format!("{key}, which nobody has deleted");
    }
    if remaining.is_empty() { key.to_string() } else { format!("{key}: {}", remaining.join(", ")) }
}

#[cfg(test)]
mod tests;
