//! The plan of an edit that has not been made: what `apply --dry-run` shows.
//!
//! Computed from the last observation, without touching the host. What is not known is assumed to be in order
//! (an image that nobody has looked at is present, a lease not yet given is the next free one), so that the plan
//! shows what the edit changes and not what the observation lacks.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::desired::{Declared, Settings, desire};
use crate::observed::{ImageFacts, ImageState, Observed};
use crate::plan::{Holds, Plan, plan};

/// The image id of an image that nobody has looked at.
const UNKNOWN_IMAGE: &str = "sha256:not-looked-at";

/// Plans a declaration against the last observation (`None` when there was none).
pub fn preview(
    declared: &Declared,
    observed: Option<&Observed>,
    settings: &Settings,
    now: DateTime<Utc>,
) -> Plan {
    let mut declared = declared.clone();
    let mut observed = observed.cloned().unwrap_or_default();
    assume_leases(&mut declared, settings);
    for image in declared.images(settings) {
        observed.images.entry(image).or_insert_with(|| {
            ImageState::Present(ImageFacts {
                id: UNKNOWN_IMAGE.to_owned(),
                command: vec!["(the image's own command)".to_owned()],
                ..ImageFacts::default()
            })
        });
    }
    let desired = desire(&declared, &observed, settings);
    plan(Some(&desired), &observed, &Holds::new(), now)
}

/// Gives the missing leases out of the whole range: the values are shown in no step's text but a subnet's.
fn assume_leases(declared: &mut Declared, settings: &Settings) {
    for slot in declared.lease_needs() {
        if declared.leases.contains_key(&slot) {
            continue;
        }
        let taken: BTreeSet<i64> = declared
            .leases
            .iter()
            .filter(|(held, _)| held.kind == slot.kind)
            .map(|(_, value)| *value)
            .collect();
        let none = BTreeSet::new();
        if let Some(value) = settings.ranges.next_free(slot.kind, &taken, &none, &none, None) {
            declared.leases.insert(slot, value);
        }
    }
}
