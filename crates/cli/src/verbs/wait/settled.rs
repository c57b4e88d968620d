//! Waiting for what an apply has changed: the gateways in it, and those that use a catalog in it.
//!
//! An edit of a catalog changes no Gateway object, so that neither a generation nor a condition tells whether it has
//! been acted on. `status.catalogRevision` does: it is the newest version of a catalog that the controller had when it
//! reported.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bowline_api::wire::Object;
use bowline_core::object::{Kind, ObjectKey};
use bowline_core::status::ConditionType;
use tokio::time::Instant;

use super::{Verdict, judge};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{catalogs_of, status_of};
use crate::ui::Ui;
use crate::verbs::follow::{Followed, News, Scope, follow};

/// What an apply has changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Applied {
    /// The gateways in it.
    pub(crate) gateways: BTreeSet<ObjectKey>,
    /// The catalogs that it created or changed, each with its version since.
    pub(crate) catalogs: BTreeMap<ObjectKey, i64>,
}

/// Waits until every gateway that the apply concerns is Ready with it. A gateway in the apply that cannot become
/// Ready ends this at once; one that only uses a catalog of it ends this when all others have come to rest, so that
/// the failure names all of them. A suspended one is at rest as soon as it has the catalogs.
pub(crate) async fn settled(
    client: &Client,
    applied: &Applied,
    deadline: Instant,
    ui: &mut Ui,
) -> Result<(), Failure> {
    if applied.gateways.is_empty() && applied.catalogs.is_empty() {
        return Ok(());
    }
    let scope = if applied.catalogs.is_empty() {
        Scope::of(Kind::Gateway, &applied.gateways.iter().cloned().collect::<Vec<_>>())
    } else {
        Scope { kind: Kind::Gateway, namespace: None }
    };
    let mut settling = Settling { applied, verdicts: BTreeMap::new() };
    // Set while a listing is read: judged when it is complete, not before.
    let mut is_listing = true;
    let followed = follow(client, &scope, Some(deadline), |world, news| {
        if !world.is_complete {
            is_listing = true;
            return Ok(ControlFlow::Continue(()));
        }
        if std::mem::take(&mut is_listing) {
            settling.verdicts.retain(|key, _| world.objects.contains_key(key));
            world.objects.values().for_each(|object| settling.see(object, ui));
        } else if let News::Object(object) = news {
            settling.see(&object, ui);
        } else if let News::Gone(deleted) = news {
            settling.verdicts.remove(&deleted.key);
        }
        settling.end()
    })
    .await?;
    match followed {
        Followed::Done => settling.failed(),
        Followed::TimedOut => Err(settling.timed_out()),
    }
}

/// How far the gateways are that the apply concerns.
struct Settling<'a> {
    applied: &'a Applied,
    verdicts: BTreeMap<ObjectKey, Verdict>,
}

impl Settling<'_> {
    /// Judges a gateway as it is now, and tells what is new about it.
    fn see(&mut self, object: &Object, ui: &mut Ui) {
        let key = object.key();
        let catalogs = catalogs_of(object);
        let wanted = catalogs.iter().filter_map(|catalog| self.applied.catalogs.get(catalog)).max().copied();
        let is_applied = self.applied.gateways.contains(&key);
        // One that is on its way out needs no catalog any more.
        let is_user = wanted.is_some() && object.metadata.deletion_timestamp.is_none();
        if !is_applied && !is_user {
            self.verdicts.remove(&key);
            return;
        }
        let verdict = match wanted.filter(|wanted| *wanted > status_of(object).catalog_revision) {
            Some(wanted) if is_user => {
                Verdict::NotYet(format!("version {wanted} of its catalogs has not been looked at yet"))
            }
            _ if !is_applied && object.spec["suspend"] == true => Verdict::Holds,
            _ => judge(object, ConditionType::Ready),
        };
        if self.verdicts.get(&key) != Some(&verdict) {
            match &verdict {
                Verdict::Holds => ui.say(format_args!("{key}: Ready")),
                Verdict::NotYet(why) | Verdict::Never(why) => ui.say(format_args!("{key}: {why}")),
            }
            self.verdicts.insert(key, verdict);
        }
    }

    /// Whether there is nothing left to wait for.
    fn end(&self) -> Result<ControlFlow<()>, Failure> {
        for key in &self.applied.gateways {
            match self.verdicts.get(key) {
                None => return Err(Failure::user(format!("{key} does not exist"))),
                Some(Verdict::Never(why)) => {
                    return Err(Failure::user(format!("{key} cannot become Ready: {why}"))
                        .hint(format!("bowline describe {key}")));
                }
                Some(Verdict::Holds | Verdict::NotYet(_)) => {}
            }
        }
        let waits = self.verdicts.values().any(|verdict| matches!(verdict, Verdict::NotYet(_)));
        Ok(if waits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    /// Fails with the gateways that use a catalog and cannot become Ready.
    fn failed(&self) -> Result<(), Failure> {
        let failed: Vec<_> = self
            .verdicts
            .iter()
            .filter_map(|(key, verdict)| match verdict {
                Verdict::Never(why) => Some((key, format!("{key}: {why}"))),
                Verdict::Holds | Verdict::NotYet(_) => None,
            })
            .collect();
        let Some((first, _)) = failed.first() else { return Ok(()) };
        let texts: Vec<_> = failed.iter().map(|(_, text)| text.as_str()).collect();
        let head = "these use an applied catalog and cannot become Ready";
        Err(Failure::user(format!("{head}\n  {}", texts.join("\n  ")))
            .hint(format!("bowline describe {first}")))
    }

    fn timed_out(&self) -> Failure {
        let open: Vec<_> = self
            .verdicts
            .iter()
            .filter_map(|(key, verdict)| match verdict {
                Verdict::Holds => None,
                Verdict::NotYet(why) | Verdict::Never(why) => Some((key, format!("{key}: {why}"))),
            })
            .collect();
        let Some((first, _)) = open.first() else {
            return Failure::user("time is up and the API did not answer");
        };
        let texts: Vec<_> = open.iter().map(|(_, text)| text.as_str()).collect();
        let all = self.verdicts.len();
        Failure::user(format!(
            "time is up and {} of {all} are not Ready\n  {}",
            texts.len(),
            texts.join("\n  ")
        ))
        .hint(format!("bowline describe {first}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::samples::{condition, gateway, status};

    /// A gateway whose controller has acted on its catalogs up to `revision`.
    fn user(namespace: &str, revision: i64, ready: &str) -> Object {
        let mut status = status(&[condition("Ready", ready, "ServersAnswer", "")]);
        status["catalogRevision"] = json!(revision);
        gateway(namespace, status)
    }

    fn base_at(version: i64) -> Applied {
        let catalogs = BTreeMap::from([(ObjectKey::cluster_catalog("base"), version)]);
        Applied { catalogs, ..Applied::default() }
    }

    /// Where the wait is after these gateways were seen.
    fn after(applied: &Applied, seen: &[Object]) -> (Vec<String>, Result<ControlFlow<()>, Failure>) {
        let mut settling = Settling { applied, verdicts: BTreeMap::new() };
        let (mut ui, _out) = Ui::captured();
        seen.iter().for_each(|object| settling.see(object, &mut ui));
        let verdicts = settling.verdicts.iter().map(|(key, verdict)| format!("{key} {verdict:?}")).collect();
        (verdicts, settling.end().and_then(|flow| settling.failed().map(|()| flow)))
    }

    #[test]
    fn users_of_a_catalog_are_waited_for_until_they_have_it_and_are_ready() {
        let applied = base_at(20);
        let waits = |seen: &[Object]| after(&applied, seen).1 == Ok(ControlFlow::Continue(()));
        assert!(
            waits(&[user("u1", 19, "True"), user("u2", 20, "True")]),
            "u1 was Ready with what was before"
        );
        assert!(waits(&[user("u1", 20, "False")]));
        assert!(!waits(&[user("u1", 20, "True"), user("u2", 33, "True")]));
        // A gateway that names another catalog has nothing to do with it.
        let mut other = user("u3", 0, "False");
        other.spec["catalogs"] = json!([{ "kind": "Catalog", "namespace": "base", "name": "base" }]);
        assert_eq!(after(&applied, &[other]).0, [""; 0]);
    }

    #[test]
    fn a_user_that_is_suspended_or_on_its_way_out_keeps_nobody_waiting() {
        let applied = base_at(20);
        let mut deleted = user("u1", 1, "False");
        deleted.metadata.deletion_timestamp = Some(chrono::Utc::now());
        assert_eq!(after(&applied, &[deleted]), (vec![], Ok(ControlFlow::Break(()))));
        let mut suspended = user("u1", 19, "False");
        suspended.spec["suspend"] = json!(true);
        assert_eq!(after(&applied, std::slice::from_ref(&suspended)).1, Ok(ControlFlow::Continue(())));
        suspended.status.as_mut().unwrap()["catalogRevision"] = json!(20);
        assert_eq!(after(&applied, &[suspended]).1, Ok(ControlFlow::Break(())));
    }

    #[test]
    fn users_that_cannot_become_ready_are_all_named_at_the_end() {
        let applied = base_at(20);
        let broken = |namespace| {
            let mut object = user(namespace, 20, "False");
            object.status.as_mut().unwrap()["servers"][1]["reason"] = json!("UnknownServer");
            object
        };
        let still_coming = user("u3", 19, "True");
        let (_, ended) = after(&applied, &[broken("u1"), broken("u2")]);
        let text = ended.unwrap_err().to_string();
        assert!(text.contains("gateway/u1/default: ") && text.contains("gateway/u2/default: "), "{text}");
        let mut settling = Settling { applied: &applied, verdicts: BTreeMap::new() };
        let (mut ui, _out) = Ui::captured();
        [broken("u1"), still_coming].iter().for_each(|object| settling.see(object, &mut ui));
        assert_eq!(settling.end(), Ok(ControlFlow::Continue(())), "the others are waited for");
        let text = settling.timed_out().to_string();
        assert!(text.contains("2 of 2") && text.contains("version 20 of its catalogs"), "{text}");
    }

    #[test]
    fn an_applied_gateway_that_cannot_become_ready_ends_the_wait_at_once() {
        let key = ObjectKey::gateway("u1", "default");
        let applied = Applied { gateways: BTreeSet::from([key]), ..base_at(20) };
        let mut broken = user("u1", 20, "False");
        broken.status.as_mut().unwrap()["servers"][1]["reason"] = json!("UnknownServer");
        let (_, ended) = after(&applied, &[broken, user("u2", 1, "True")]);
        assert!(ended.unwrap_err().to_string().contains("gateway/u1/default cannot become Ready"));
        let (_, ended) = after(&applied, &[]);
        assert!(ended.unwrap_err().to_string().contains("does not exist"));
    }
}
