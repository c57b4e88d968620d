//! What there is on the simulated host, and what each step does to it.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::container::{ContainerSpec, NetworkMode, NetworkSpec};
use bowline_core::labels::{Identity, Role};
use bowline_core::object::GatewayKey;
use bowline_core::observed::{
    ContainerState, Entry, ImageFacts, ImageState, Observed, ObservedContainer, ObservedNetwork, Tree,
};
use bowline_core::step::{Content, FailureClass, Step, StepFailure};
use chrono::Utc;
use uuid::Uuid;

use super::Strike;

/// Everything that there is, and the record of what was done.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) containers: Vec<(ObservedContainer, ContainerSpec)>,
    pub(super) networks: Vec<(ObservedNetwork, NetworkSpec)>,
    pub(super) trees: BTreeMap<Uuid, Tree>,
    pub(super) taken_names: BTreeSet<String>,
    /// Roles whose container never starts, and how that fails.
    pub(super) broken: BTreeMap<Role, FailureClass>,
    pub(super) strike: Option<Strike>,
    pub(super) calls: usize,
    /// The calls since the last arming, in words.
    pub(super) log: Vec<String>,
    /// How many containers and networks were ever made.
    pub(super) made: usize,
    /// What must never have been true.
    pub(super) violations: Vec<String>,
}

pub(super) fn failure(class: FailureClass, message: &str) -> StepFailure {
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
    pub(super) fn observe(&self, key: &GatewayKey, images: &BTreeSet<String>) -> Observed {
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

    pub(super) fn execute(&mut self, key: &GatewayKey, step: &Step) -> Result<(), StepFailure> {
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
