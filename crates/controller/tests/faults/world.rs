//! A host in memory with the semantics of the real one, in which any call can be made to fail.
//!
//! It keeps the promises that `bowline-host` gives: repeated changes are done, a name that another specification
//! of ours holds is `Moved`, a bind source must exist, a network in use stays. It also watches for what must never
//! be true between two steps, however they are interrupted: two containers of one role.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use bowline_controller::{ProbeAnswer, World, WorldError};
use bowline_core::container::{ContainerSpec, NetworkMode, NetworkSpec};
use bowline_core::labels::{Identity, Role};
use bowline_core::lease::LeaseKind;
use bowline_core::object::GatewayKey;
use bowline_core::observed::{
    ContainerState, Entry, ImageFacts, ImageState, Observed, ObservedContainer, ObservedNetwork, Tree,
};
use bowline_core::step::{Content, FailureClass, Step, StepFailure};
use chrono::Utc;
use tokio::sync::Notify;
use uuid::Uuid;

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

#[derive(Debug, Default)]
struct State {
    containers: Vec<(ObservedContainer, ContainerSpec)>,
    networks: Vec<(ObservedNetwork, NetworkSpec)>,
    trees: BTreeMap<Uuid, Tree>,
    taken_names: BTreeSet<String>,
    /// Roles whose container never starts, and how that fails.
    broken: BTreeMap<Role, FailureClass>,
    strike: Option<Strike>,
    calls: usize,
    /// The calls since the last arming, in words.
    log: Vec<String>,
    /// How many containers and networks were ever made.
    made: usize,
    /// What must never have been true.
    violations: Vec<String>,
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test goes on after a panic in here")
    }

    /// Counts a call; `Some` when it is struck now.
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
}

impl World for SimWorld {
    async fn observe(&self, key: &GatewayKey, images: &BTreeSet<String>) -> Result<Observed, WorldError> {
        self.look("observe".to_owned(), |state| state.observe(key, images)).await
    }

    async fn keys(&self) -> Result<BTreeSet<GatewayKey>, WorldError> {
        self.look("list".to_owned(), |state| {
            state.containers.iter().map(|(container, _)| container.identity.key.clone()).collect()
        })
        .await
    }

    async fn execute(&self, key: &GatewayKey, step: &Step) -> Result<(), StepFailure> {
        let call = self.count(|| step.to_string());
        match self.struck(call, Moment::Before) {
            Struck::No => {}
            Struck::Crash => return self.crash().await,
            Struck::Fail(class) => {
                if class == FailureClass::NameTaken
                    && let Step::CreateContainer { name, .. } | Step::CreateNetwork { name, .. } = step
                {
                    self.lock().taken_names.insert(name.clone());
                }
                return Err(failure(class, "struck by the test"));
            }
        }
        let done = self.lock().execute(key, step);
        match self.struck(call, Moment::After) {
            Struck::No => done,
            Struck::Crash => self.crash().await,
            Struck::Fail(class) => Err(failure(class, "struck by the test after the effect")),
        }
    }

    async fn is_free(&self, kind: LeaseKind, value: i64) -> Result<bool, WorldError> {
        self.look(format!("try {kind} {value}"), |_| true).await
    }

    async fn probe(&self, _uid: Uuid, _port: u16) -> ProbeAnswer {
        ProbeAnswer::default()
    }
}

fn failure(class: FailureClass, message: &str) -> StepFailure {
    StepFailure { class, message: message.to_owned() }
}

fn moved(message: impl Into<String>) -> StepFailure {
    StepFailure { class: FailureClass::Moved, message: message.into() }
}

/// Whether the object is the wanted one from an attempt whose answer was lost.
fn is_same(seen: &Identity, wanted: &Identity) -> bool {
    (&seen.key, seen.uid, &seen.role, &seen.spec_hash)
        == (&wanted.key, wanted.uid, &wanted.role, &wanted.spec_hash)
}

impl State {
    fn observe(&self, key: &GatewayKey, images: &BTreeSet<String>) -> Observed {
        let image = |name: &String| {
            let digest = Content(name.clone()).sha256();
            let id = if name.starts_with("sha256:") { name.clone() } else { format!("sha256:{digest}") };
            let facts = ImageFacts { id, command: vec!["serve".to_owned()], ..ImageFacts::default() };
            (name.clone(), ImageState::Present(facts))
        };
        Observed {
            containers: self
                .containers
                .iter()
                .map(|(container, _)| container.clone())
                .filter(|container| container.identity.key == *key)
                .collect(),
            networks: self
                .networks
                .iter()
                .map(|(network, _)| network.clone())
                .filter(|network| network.identity.key == *key)
                .collect(),
            trees: self.trees.clone(),
            images: images.iter().map(image).collect(),
            taken_names: self.taken_names.clone(),
            probe: None,
        }
    }

    fn container(&mut self, id: &str) -> Result<&mut (ObservedContainer, ContainerSpec), StepFailure> {
        self.containers
            .iter_mut()
            .find(|(container, _)| container.id == id || container.name == id)
            .ok_or_else(|| moved(format!("no container {id}")))
    }

    fn has_directory(&self, uid: Uuid, path: &str) -> bool {
        let entry = self.trees.get(&uid).and_then(|tree| tree.get(path));
        matches!(entry, Some(Entry::Directory { .. }))
    }

    /// Whether everything that the container binds is there.
    fn has_sources(&self, identity: &Identity, spec: &ContainerSpec) -> bool {
        let tree = format!("/gateways/{}/", identity.uid);
        spec.binds.iter().all(|bind| match bind.source.split_once(&tree) {
            Some((_, path)) => self.has_directory(identity.uid, path),
            // The bridge, which is no part of any gateway.
            None => true,
        })
    }

    fn execute(&mut self, key: &GatewayKey, step: &Step) -> Result<(), StepFailure> {
        match step {
            Step::PullImage { .. } | Step::ReloadGateway { .. } => Ok(()),
            Step::EnsureDirectory { .. } | Step::WriteFile { .. } | Step::RemovePath { .. } => {
                self.change_files(step)
            }
            Step::CreateNetwork { name, identity, spec } => {
                if identity.key != *key {
                    return Err(failure(FailureClass::Refused, "another gateway's labels"));
                }
                self.create_network(name, identity, spec)
            }
            Step::RemoveNetwork { id, name } => {
                let uses = |spec: &ContainerSpec| spec.network == NetworkMode::Named(name.clone());
                if self
                    .containers
                    .iter()
                    .any(|(seen, spec)| seen.state == ContainerState::Running && uses(spec))
                {
                    return Err(moved(format!("{name} is in use")));
                }
                self.networks.retain(|(network, _)| network.id != *id);
                Ok(())
            }
            Step::CreateContainer { name, identity, spec } => {
                if identity.key != *key {
                    return Err(failure(FailureClass::Refused, "another gateway's labels"));
                }
                self.create_container(name, identity, spec)
            }
            Step::StartContainer { id, .. } => self.start(id),
            Step::UnpauseContainer { id, .. } => {
                self.container(id)?.0.state = ContainerState::Running;
                Ok(())
            }
            Step::SetRestart { id, restart, .. } => {
                self.container(id)?.0.restarts = *restart;
                Ok(())
            }
            Step::StopContainer { id, .. } => {
                if let Ok((container, _)) = self.container(id)
                    && container.state == ContainerState::Running
                {
                    container.state = ContainerState::Exited { code: 0 };
                    container.finished_at = Some(Utc::now());
                }
                Ok(())
            }
            Step::RemoveContainer { id, .. } => {
                if self.container(id).is_ok_and(|(container, _)| container.state == ContainerState::Running) {
                    return Err(moved(format!("{id} runs")));
                }
                self.containers.retain(|(container, _)| container.id != *id);
                Ok(())
            }
        }
    }

    fn change_files(&mut self, step: &Step) -> Result<(), StepFailure> {
        match step {
            Step::EnsureDirectory { uid, path, mode } => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                if !path.is_empty() && !self.has_directory(*uid, parent) {
                    return Err(moved(format!("no parent of {path}")));
                }
                self.trees.entry(*uid).or_default().insert(path.clone(), Entry::Directory { mode: *mode });
            }
            Step::WriteFile { uid, path, mode, content } => {
                let tree = self.trees.get_mut(uid).ok_or_else(|| moved("no tree"))?;
                tree.insert(path.clone(), Entry::File { mode: *mode, sha256: content.sha256() });
            }
            Step::RemovePath { uid, path } if path.is_empty() => {
                if self.containers.iter().any(|(container, _)| container.identity.uid == *uid) {
                    self.violations.push("files were removed below a container".to_owned());
                }
                self.trees.remove(uid);
            }
            Step::RemovePath { uid, path } => {
                let below = format!("{path}/");
                if let Some(tree) = self.trees.get_mut(uid) {
                    tree.retain(|entry, _| entry != path && !entry.starts_with(&below));
                }
            }
            other => unreachable!("no step on files: {other}"),
        }
        Ok(())
    }

    fn create_network(
        &mut self,
        name: &str,
        identity: &Identity,
        spec: &NetworkSpec,
    ) -> Result<(), StepFailure> {
        if self.taken_names.contains(name) {
            return Err(failure(FailureClass::NameTaken, "somebody else's"));
        }
        if let Some((holder, _)) = self.networks.iter().find(|(network, _)| network.name == name) {
            return if is_same(&holder.identity, identity) { Ok(()) } else { Err(moved("another of ours")) };
        }
        if self.networks.iter().any(|(_, other)| other.subnet == spec.subnet) {
            return Err(failure(FailureClass::SubnetTaken, "overlaps"));
        }
        self.made += 1;
        let id = format!("n{}", self.made);
        let network = ObservedNetwork { id, name: name.to_owned(), identity: identity.clone() };
        self.networks.push((network, spec.clone()));
        Ok(())
    }

    fn create_container(
        &mut self,
        name: &str,
        identity: &Identity,
        spec: &ContainerSpec,
    ) -> Result<(), StepFailure> {
        if self.taken_names.contains(name) {
            return Err(failure(FailureClass::NameTaken, "somebody else's"));
        }
        if let Some((holder, _)) = self.containers.iter().find(|(container, _)| container.name == name) {
            return if is_same(&holder.identity, identity) { Ok(()) } else { Err(moved("another of ours")) };
        }
        if !self.has_sources(identity, spec) {
            return Err(moved("a bind source is missing"));
        }
        let twin = |seen: &Identity| (seen.uid, &seen.role) == (identity.uid, &identity.role);
        if self.containers.iter().any(|(container, _)| twin(&container.identity)) {
            self.violations.push(format!("a second container of {:?}", identity.role));
        }
        self.made += 1;
        let container = ObservedContainer {
            id: format!("c{}", self.made),
            name: name.to_owned(),
            identity: identity.clone(),
            image: spec.image.clone(),
            state: ContainerState::Created,
            restarts: true,
            restart_count: 0,
            started_at: None,
            finished_at: None,
            error: String::new(),
        };
        self.containers.push((container, spec.clone()));
        Ok(())
    }

    fn start(&mut self, id: &str) -> Result<(), StepFailure> {
        let networks: Vec<_> = self.networks.iter().map(|(network, _)| network.name.clone()).collect();
        let (container, spec) = self.container(id)?.clone();
        if let Some(class) = self.broken.get(&container.identity.role) {
            return Err(failure(*class, "it never starts"));
        }
        if !self.has_sources(&container.identity, &spec) {
            return Err(moved("a bind source is missing"));
        }
        if let NetworkMode::Named(network) = &spec.network
            && !networks.contains(network)
        {
            return Err(moved(format!("no network {network}")));
        }
        let port = spec.publish.as_ref().map(|publish| publish.host_port);
        let taken = self.containers.iter().any(|(other, theirs)| {
            other.state == ContainerState::Running
                && other.id != container.id
                && port.is_some()
                && theirs.publish.as_ref().map(|publish| publish.host_port) == port
        });
        if taken {
            return Err(failure(FailureClass::PortTaken, "in use"));
        }
        let (container, _) = self.container(id)?;
        if container.state != ContainerState::Running {
            container.state = ContainerState::Running;
            container.started_at = Some(Utc::now());
        }
        Ok(())
    }
}
