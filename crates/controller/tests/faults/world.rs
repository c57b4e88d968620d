//! A host in memory with the semantics of the real one, in which any call can be made to fail.
//!
//! It keeps the promises that `bowline-host` gives: repeated changes are done, a name that another specification
//! of ours holds is `Moved`, a bind source must exist, a network in use stays. It also watches for what must never
//! be true between two steps, however they are interrupted: two containers of one role.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use bowline_controller::{ProbeAnswer, World, WorldError};
use bowline_core::container::{ContainerSpec, NetworkSpec};
use bowline_core::labels::Role;
use bowline_core::lease::LeaseKind;
use bowline_core::object::GatewayKey;
use bowline_core::observed::{Entry, Observed, ObservedContainer, ObservedNetwork, Tree};
use bowline_core::step::{FailureClass, Step, StepFailure};
use bowline_core::volume::ObservedVolume;
use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use uuid::Uuid;
use zeroize::Zeroizing;

pub(crate) use state::{BAD_GATEWAY, BAD_WORD};
use state::{State, failure};

mod files;
mod state;

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The world is as it was.
    Before,
    /// The world has changed, and the caller does not hear of it.
    After,
}

/// What becomes of the call that a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never returns: the process is killed there.
    Crash,
    /// It returns this failure.
    Fail(FailureClass),
}

/// One planned fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strike {
    /// Which call, from 1, counted from [`SimWorld::arm`].
    pub(crate) call: usize,
    pub(crate) moment: Moment,
    pub(crate) fault: Fault,
}

/// The host.
#[derive(Debug, Default)]
pub(crate) struct SimWorld {
    state: Mutex<State>,
    /// Told when a call hangs because the process is to be killed.
    pub(crate) crashed: Notify,
}

/// What one strike means for the call at hand.
enum Struck {
    No,
    Crash,
    Fail(FailureClass),
}

impl SimWorld {
    /// Begins to count calls anew, and strikes one of them.
    pub(crate) fn arm(&self, strike: Option<Strike>) {
        let mut state = self.lock();
        state.strike = strike;
        state.calls = 0;
        state.log.clear();
    }

    /// The calls since the last arming, in words.
    pub(crate) fn log(&self) -> Vec<String> {
        self.lock().log.clone()
    }

    /// Lets no container of this role start.
    pub(crate) fn break_role(&self, role: Role, class: FailureClass) {
        self.lock().broken.insert(role, class);
    }

    /// Lets no registry have this image, and the Engine neither; it was asked for often, the last time just now.
    pub(crate) fn lose_image(&self, image: &str) {
        self.lock().unpullable.insert(image.to_owned(), (Utc::now(), 8));
    }

    /// What must never have been true and was.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// Every container with what it was made from.
    pub(crate) fn containers(&self) -> Vec<(ObservedContainer, ContainerSpec)> {
        self.lock().containers.clone()
    }

    /// Every network with what it was made from.
    pub(crate) fn networks(&self) -> Vec<(ObservedNetwork, NetworkSpec)> {
        self.lock().networks.clone()
    }

    /// The files and directories.
    pub(crate) fn trees(&self) -> BTreeMap<Uuid, Tree> {
        self.lock().trees.clone()
    }

    /// The values in each secret file.
    pub(crate) fn secrets(&self) -> BTreeMap<(Uuid, String), Vec<(String, String)>> {
        self.lock().secrets.clone()
    }

    /// Lets somebody change every secret file, so that none is any more what was written.
    pub(crate) fn spoil_secrets(&self) {
        let entries = &mut self.lock().trees;
        for entry in entries.values_mut().flat_map(BTreeMap::values_mut) {
            if let Entry::Secret { revision, .. } = entry {
                revision.clear();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test goes on after a panic in here")
    }

    /// Counts a call, and returns its number.
    fn count(&self, what: impl FnOnce() -> String) -> usize {
        let mut state = self.lock();
        state.calls += 1;
        let line = what();
        state.log.push(line);
        state.calls
    }

    fn struck(&self, call: usize, moment: Moment) -> Struck {
        match self.lock().strike {
            Some(strike) if strike.call == call && strike.moment == moment => match strike.fault {
                Fault::Crash => Struck::Crash,
                Fault::Fail(class) => Struck::Fail(class),
            },
            _ => Struck::No,
        }
    }

    /// Never returns: whoever waits for `crashed` drops the run.
    async fn crash<T>(&self) -> T {
        self.crashed.notify_one();
        std::future::pending().await
    }

    /// A call that only looks.
    async fn look<T>(&self, what: String, look: impl FnOnce(&mut State) -> T) -> Result<T, WorldError> {
        let call = self.count(|| what);
        let seen = look(&mut self.lock());
        for moment in [Moment::Before, Moment::After] {
            match self.struck(call, moment) {
                Struck::No => {}
                Struck::Crash => return self.crash().await,
                Struck::Fail(class) => {
                    return Err(WorldError {
                        unavailable: class == FailureClass::Unavailable,
                        source: "struck by the test".into(),
                    });
                }
            }
        }
        Ok(seen)
    }

    /// A call that changes something; `name` is what a strike may find taken.
    async fn change(
        &self,
        what: String,
        name: Option<&str>,
        change: impl FnOnce(&mut State) -> Result<(), StepFailure>,
    ) -> Result<(), StepFailure> {
        let call = self.count(|| what);
        match self.struck(call, Moment::Before) {
            Struck::No => {}
            Struck::Crash => return self.crash().await,
            Struck::Fail(class) => {
                if let (FailureClass::NameTaken, Some(name)) = (class, name) {
                    self.lock().taken_names.insert(name.to_owned());
                }
                return Err(failure(class, "struck by the test"));
            }
        }
        let done = change(&mut self.lock());
        match self.struck(call, Moment::After) {
            Struck::No => done,
            Struck::Crash => self.crash().await,
            Struck::Fail(class) => Err(failure(class, "struck by the test after the effect")),
        }
    }
}

impl World for SimWorld {
    async fn observe(&self, key: &GatewayKey, images: &BTreeSet<String>) -> Result<Observed, WorldError> {
        self.look("observe".to_owned(), |state| state.observe(key, images)).await
    }

    async fn volumes(&self, namespace: &str) -> Result<Vec<ObservedVolume>, WorldError> {
        self.look("list volumes".to_owned(), |state| {
            let volumes = state.volumes.iter();
            volumes.filter(|volume| volume.identity.namespace == namespace).cloned().collect()
        })
        .await
    }

    fn forget_failed_pulls(&self, images: &BTreeSet<String>) {
        for (_, tried) in self.lock().unpullable.iter_mut().filter(|(image, _)| images.contains(*image)) {
            *tried = (DateTime::UNIX_EPOCH, 0);
        }
    }

    async fn execute(&self, key: &GatewayKey, step: &Step) -> Result<(), StepFailure> {
        let name = match step {
            Step::CreateContainer { name, .. } | Step::CreateNetwork { name, .. } => Some(name.as_str()),
            _ => None,
        };
        self.change(step.to_string(), name, |state| state.execute(key, step)).await
    }

    async fn write_secrets(
        &self,
        _key: &GatewayKey,
        uid: Uuid,
        path: &str,
        revision: &str,
        values: Vec<(String, Zeroizing<String>)>,
    ) -> Result<(), StepFailure> {
        let values = values.into_iter().map(|(env, value)| (env, value.to_string())).collect();
        let what = format!("write secret file {path}");
        self.change(what, None, |state| state.write_secrets(uid, path, revision, values)).await
    }

    async fn is_free(&self, kind: LeaseKind, value: i64) -> Result<bool, WorldError> {
        self.look(format!("try {kind} {value}"), |_| true).await
    }

    async fn probe(&self, uid: Uuid, _port: u16) -> ProbeAnswer {
        self.lock().probe(uid)
    }
}
