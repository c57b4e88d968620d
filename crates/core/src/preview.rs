//! The plan of an edit that has not been made: what `apply --dry-run` shows.
//!
//! Computed from the last observation, without touching the host. An image that nobody has looked at is taken for
//! present, so that the plan shows what the edit changes and not what the observation lacks.

use std::collections::btree_map::Entry;

use chrono::{DateTime, Utc};

use crate::desired::{Declared, Desired, Moment, Settings, desire};
use crate::observed::{ImageFacts, ImageState, Observed};
use crate::plan::{Holds, Plan, plan};
use crate::rollout::Troubles;

/// What a declaration would come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// What would be there.
    pub desired: Desired,
    /// The steps to it.
    pub plan: Plan,
    /// The images that were taken for present.
    pub assumed_images: Vec<String>,
}

/// Plans a declaration against the last observation; an empty one where there was none.
pub fn preview(
    declared: &Declared,
    mut observed: Observed,
    settings: &Settings,
    now: DateTime<Utc>,
) -> Preview {
    let mut assumed_images = Vec::new();
    for image in declared.images(settings) {
        if let Entry::Vacant(unknown) = observed.images.entry(image) {
            assumed_images.push(unknown.key().clone());
            let facts = ImageFacts {
                id: format!("sha256:not-looked-at/{}", unknown.key()),
                entrypoint: vec!["/entrypoint-of-the-image".to_owned()],
                ..ImageFacts::default()
            };
            unknown.insert(ImageState::Present(facts));
        }
    }
    let desired = desire(declared, &observed, settings, Moment { now, troubles: &Troubles::new() });
    let plan = plan(Some(&desired), &observed, &Holds::new(), now);
    Preview { desired, plan, assumed_images }
}
