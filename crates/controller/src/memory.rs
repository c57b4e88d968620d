//! What the controller remembers of a gateway between runs: failures and their holds, and which values of Secrets can
//! be opened. Hints, not progress: a controller that forgets them only tries sooner.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bowline_core::lease::LeaseKind;
use bowline_core::object::GatewayKey;
use bowline_core::plan::{Holds, Unit};
use bowline_core::report::Failures;
use bowline_core::rollout::{Trouble, Troubles};
use bowline_core::step::{FailureClass, StepFailure};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// First hold after a failed step.
const FIRST_HOLD: Duration = Duration::from_secs(1);
/// First hold where only looking again is needed.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// Longest hold, and the hold after what only another specification can cure.
const LONGEST_HOLD: Duration = Duration::from_secs(300);
/// How long a number that the host was found to use is not proposed again.
const QUARANTINE: Duration = Duration::from_secs(600);

/// Failures of one revision of one gateway, by unit.
#[derive(Debug, Default)]
struct Failing {
    revision: String,
    units: BTreeMap<Unit, Failure>,
}

#[derive(Debug)]
struct Failure {
    count: u32,
    until: DateTime<Utc>,
    message: String,
    refused: bool,
}

/// Values of Secrets that were opened once, by uid of the Secret, key and effective version.
pub(crate) type Readable = BTreeSet<(Uuid, String, i64)>;

/// The memory of one controller.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    failing: Mutex<HashMap<GatewayKey, Failing>>,
    /// Gateways whose last run found the Engine away.
    away: Mutex<HashSet<GatewayKey>>,
    quarantine: Mutex<HashMap<(LeaseKind, i64), DateTime<Utc>>>,
    /// What each gateway's servers can be given.
    readable: Mutex<HashMap<GatewayKey, Readable>>,
}

impl Memory {
    /// The holds and failure texts of a revision; an edit clears what an older one left (Q14).
    pub(crate) fn recall(&self, key: &GatewayKey, revision: &str) -> (Holds, Failures) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match failing.get(key) {
            None => (Holds::new(), Failures::new()),
            Some(entry) if entry.revision != revision => {
                failing.remove(key);
                (Holds::new(), Failures::new())
            }
            Some(entry) => (
                entry.units.iter().map(|(unit, failure)| (unit.clone(), failure.until)).collect(),
                entry.units.iter().map(|(unit, failure)| (unit.clone(), failure.message.clone())).collect(),
            ),
        }
    }

    /// The failures of a revision, as the record of replacements wants to know them.
    pub(crate) fn troubles(&self, key: &GatewayKey, revision: &str) -> Troubles {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = failing.get(key).filter(|entry| entry.revision == revision);
        let units = entry.map(|entry| entry.units.iter()).into_iter().flatten();
        let trouble = |failure: &Failure| Trouble {
            count: failure.count,
            refused: failure.refused,
            message: failure.message.clone(),
        };
        units.map(|(unit, failure)| (unit.clone(), trouble(failure))).collect()
    }

    /// Counts a failure and holds the unit: `min(first·2ⁿ⁻¹, max) × [½, 1]`.
    pub(crate) fn failed(
        &self,
        key: &GatewayKey,
        revision: &str,
        unit: Unit,
        failure: &StepFailure,
        now: DateTime<Utc>,
    ) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = failing.entry(key.clone()).or_default();
        if entry.revision != revision {
            *entry = Failing { revision: revision.to_owned(), units: BTreeMap::new() };
        }
        let count = entry.units.get(&unit).map_or(0, |failure| failure.count).saturating_add(1);
        let first = match failure.class {
            FailureClass::Refused => LONGEST_HOLD,
            FailureClass::Failed => FIRST_HOLD,
            FailureClass::Unavailable
            | FailureClass::Moved
            | FailureClass::NameTaken
            | FailureClass::PortTaken
            | FailureClass::SubnetTaken => FIRST_LOOK,
        };
        let full = first.saturating_mul(1 << (count - 1).min(20)).min(LONGEST_HOLD);
        let until = now + full.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        entry.units.insert(
            unit,
            Failure {
                count,
                until,
                message: failure.message.clone(),
                refused: failure.class == FailureClass::Refused,
            },
        );
    }

    /// Forgets the failures of a unit that has succeeded or has nothing to do.
    pub(crate) fn succeeded(&self, key: &GatewayKey, unit: &Unit) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = failing.get_mut(key) {
            entry.units.remove(unit);
            if entry.units.is_empty() {
                failing.remove(key);
            }
        }
    }

    /// Notes that the Engine was away for a run; whether it was for the run before, too.
    pub(crate) fn away(&self, key: &GatewayKey) -> bool {
        !self.away.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone())
    }

    /// Notes that a run found the Engine.
    pub(crate) fn back(&self, key: &GatewayKey) {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Forgets a gateway that is gone.
    pub(crate) fn forget(&self, key: &GatewayKey) {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.put_readable(key, Readable::new());
    }

    /// Whether all of these values could be opened before.
    pub(crate) fn has_read(&self, key: &GatewayKey, values: &Readable) -> bool {
        let readable = self.readable.lock().unwrap_or_else(PoisonError::into_inner);
        values.is_empty() || readable.get(key).is_some_and(|known| values.is_subset(known))
    }

    /// Remembers the values that could be opened, and forgets those from before.
    pub(crate) fn put_readable(&self, key: &GatewayKey, values: Readable) {
        let mut readable = self.readable.lock().unwrap_or_else(PoisonError::into_inner);
        if values.is_empty() {
            readable.remove(key);
        } else {
            readable.insert(key.clone(), values);
        }
    }

    /// Notes that the host itself uses a number.
    pub(crate) fn quarantine(&self, kind: LeaseKind, value: i64, now: DateTime<Utc>) {
        let mut quarantine = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        quarantine.insert((kind, value), now + QUARANTINE);
    }

    /// The numbers of a kind that the host was found to use.
    pub(crate) fn quarantined(&self, kind: LeaseKind, now: DateTime<Utc>) -> Vec<i64> {
        let mut quarantine = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        quarantine.retain(|_, until| *until > now);
        quarantine.keys().filter(|(of, _)| *of == kind).map(|(_, value)| *value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(class: FailureClass) -> StepFailure {
        StepFailure { class, message: "no".to_owned() }
    }

    #[test]
    fn holds_grow_with_each_failure_and_an_edit_clears_them() {
        let memory = Memory::default();
        let (key, now) = (GatewayKey::new("u1", "default"), Utc::now());
        let hold = || {
            memory.failed(&key, "first", Unit::Gateway, &failure(FailureClass::Failed), now);
            let (holds, _) = memory.recall(&key, "first");
            (holds[&Unit::Gateway] - now).to_std().unwrap().as_secs_f64()
        };
        for full in [1.0, 2.0, 4.0, 8.0] {
            let held = hold();
            assert!((full / 2.0..=full).contains(&held), "{held} is not within half of {full}");
        }
        assert_eq!(memory.recall(&key, "second"), (Holds::new(), Failures::new()));
    }

    #[test]
    fn a_refused_specification_is_held_longest_and_a_success_forgets() {
        let memory = Memory::default();
        let (key, now) = (GatewayKey::new("u1", "default"), Utc::now());
        memory.failed(&key, "first", Unit::Gateway, &failure(FailureClass::Refused), now);
        let (holds, failures) = memory.recall(&key, "first");
        assert!(holds[&Unit::Gateway] - now >= chrono::Duration::seconds(150));
        assert_eq!(failures[&Unit::Gateway], "no");
        memory.succeeded(&key, &Unit::Gateway);
        assert_eq!(memory.recall(&key, "first"), (Holds::new(), Failures::new()));
    }

    #[test]
    fn a_quarantine_ends() {
        let memory = Memory::default();
        let now = Utc::now();
        memory.quarantine(LeaseKind::Port, 20000, now);
        assert_eq!(memory.quarantined(LeaseKind::Port, now), [20000]);
        assert!(memory.quarantined(LeaseKind::Uid, now).is_empty());
        assert!(memory.quarantined(LeaseKind::Port, now + QUARANTINE).is_empty());
    }
}
