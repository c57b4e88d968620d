//! What there is on the simulated host, and what each step does to it.

use std::collections::{BTreeMap, BTreeSet};

use bowline_controller::ProbeAnswer;
use bowline_core::container::{ContainerSpec, NetworkMode, NetworkSpec};
use bowline_core::gateway_file::{
    GATEWAY_FILE, GatewayFile, GatewayState, ServerPhase, ServerReport, TOKENS_FILE, TokensFile,
};
use bowline_core::labels::{Identity, Role};
use bowline_core::object::GatewayKey;
use bowline_core::observed::{
    ContainerState, ImageFacts, ImageState, Live, Observed, ObservedContainer, ObservedNetwork, Tree,
};
use bowline_core::step::{Content, FailureClass, Step, StepFailure};
use bowline_core::volume::ObservedVolume;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Strike;

/// The image of a gateway that never runs.
pub(crate) const BAD_GATEWAY: &str = "localhost/gateway:bad";
/// An argument with which no server runs.
pub(crate) const BAD_WORD: &str = "bad";

/// Everything that there is, and the record of what was done.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) containers: Vec<(ObservedContainer, ContainerSpec)>,
    pub(super) networks: Vec<(ObservedNetwork, NetworkSpec)>,
    pub(super) volumes: Vec<ObservedVolume>,
    pub(super) trees: BTreeMap<Uuid, Tree>,
    /// Contents of the files in the trees.
    pub(super) contents: BTreeMap<(Uuid, String), String>,
    /// The values in the secret files, by tree and path.
    pub(super) secrets: BTreeMap<(Uuid, String), Vec<(String, String)>>,
    /// What each gateway has read of its files: its configuration, and the revision of its tokens.
    read: BTreeMap<Uuid, (GatewayFile, i64)>,
    pub(super) taken_names: BTreeSet<String>,
    /// Roles whose container never starts, and how that fails.
    pub(super) broken: BTreeMap<Role, FailureClass>,
    /// Images that no registry has: when they were asked for last, and how often.
    pub(super) unpullable: BTreeMap<String, (DateTime<Utc>, u32)>,
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

pub(super) fn moved(message: impl Into<String>) -> StepFailure {
    StepFailure { class: FailureClass::Moved, message: message.into() }
}

/// Whether the object is the wanted one from an attempt whose answer was lost.
fn is_same(seen: &Identity, wanted: &Identity) -> bool {
    (&seen.key, seen.uid, &seen.role, &seen.spec_hash)
        == (&wanted.key, wanted.uid, &wanted.role, &wanted.spec_hash)
}

/// Whether the container has processes, or will by itself.
fn is_up(container: &ObservedContainer) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Restarting)
}

/// The id of an image.
fn image_id(name: &str) -> String {
    if name.starts_with("sha256:") {
        name.to_owned()
    } else {
        format!("sha256:{}", Content(name.to_owned()).sha256())
    }
}

/// Whether the container's program ends as soon as it is started.
fn is_bad(spec: &ContainerSpec) -> bool {
    spec.image == image_id(BAD_GATEWAY) || spec.command.iter().any(|word| word == BAD_WORD)
}

impl State {
    pub(super) fn observe(&self, key: &GatewayKey, images: &BTreeSet<String>) -> Observed {
        let image = |name: &String| {
            if let Some((at, failures)) = self.unpullable.get(name) {
                let message = "no registry has it".to_owned();
                return (name.clone(), ImageState::Failed { message, at: *at, failures: *failures });
            }
            let id = image_id(name);
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
            volumes: Vec::new(),
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

    pub(super) fn execute(&mut self, key: &GatewayKey, step: &Step) -> Result<(), StepFailure> {
        match step {
            Step::PullImage { reference } => {
                if let Some((at, failures)) = self.unpullable.get_mut(reference) {
                    (*at, *failures) = (Utc::now(), *failures + 1);
                }
                Ok(())
            }
            Step::ReloadGateway { uid } => {
                self.read_files(*uid);
                Ok(())
            }
            Step::EnsureDirectory { .. } | Step::WriteFile { .. } | Step::RemovePath { .. } => {
                self.change_files(step)
            }
            Step::WriteSecrets { .. } => Err(failure(FailureClass::Refused, "written without its values")),
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
            Step::CreateVolume { name, identity } => {
                match self.volumes.iter().find(|volume| volume.name == *name) {
                    Some(there) if !there.identity.is_same(identity) => {
                        self.taken_names.insert(name.clone());
                        return Err(failure(FailureClass::NameTaken, "somebody else's volume"));
                    }
                    Some(_) => {}
                    None => {
                        self.volumes.push(ObservedVolume { name: name.clone(), identity: identity.clone() });
                    }
                }
                Ok(())
            }
            Step::CreateContainer { name, identity, spec } => {
                let is_there = |name: &str| self.volumes.iter().any(|volume| volume.name == name);
                if let Some(missing) = spec.volumes.iter().find(|mount| !is_there(&mount.name)) {
                    return Err(moved(format!("no volume {}", missing.name)));
                }
                if identity.key != *key {
                    return Err(failure(FailureClass::Refused, "another gateway's labels"));
                }
                self.create_container(name, identity, spec)
            }
            Step::StartContainer { id, .. } => self.start(id),
            Step::RenameContainer { id, to, .. } => self.rename(id, to),
            Step::UpdateContainer { id, limits, .. } => {
                let (container, _) = self.container(id)?;
                container.live.memory_swap = limits.memory;
                container.live.limits = limits.clone();
                Ok(())
            }
            Step::ConnectNetwork { id, network, .. } => {
                let own = self.networks.iter().find(|(seen, _)| seen.name == *network);
                let own = own.map(|(seen, _)| seen.id.clone()).ok_or_else(|| moved("no such network"))?;
                self.container(id)?.0.live.networks.insert(own);
                Ok(())
            }
            Step::DisconnectNetwork { id, network, .. } => {
                self.container(id)?.0.live.networks.remove(network);
                Ok(())
            }
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
                    && is_up(container)
                {
                    container.state = ContainerState::Exited { code: 0 };
                    container.finished_at = Some(Utc::now());
                }
                Ok(())
            }
            Step::RemoveContainer { id, .. } => {
                if self.container(id).is_ok_and(|(container, _)| is_up(container)) {
                    return Err(moved(format!("{id} runs")));
                }
                self.containers.retain(|(container, _)| container.id != *id);
                Ok(())
            }
        }
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
            live: Live { memory_swap: spec.limits.memory, limits: spec.limits.clone(), ..Live::default() },
        };
        self.containers.push((container, spec.clone()));
        Ok(())
    }

    fn start(&mut self, id: &str) -> Result<(), StepFailure> {
        let (container, spec) = self.container(id)?.clone();
        if let Some(class) = self.broken.get(&container.identity.role) {
            return Err(failure(*class, "it never starts"));
        }
        if !self.has_sources(&container.identity, &spec) {
            return Err(moved("a bind source is missing"));
        }
        if !self.has_secrets(&container.identity, &spec) {
            self.violations.push(format!("{:?} was started without its secrets", container.identity.role));
        }
        let mut joined = BTreeSet::new();
        if let NetworkMode::Named(name) = &spec.network {
            let own = self.networks.iter().find(|(network, _)| network.name == *name);
            let (own, _) = own.ok_or_else(|| moved(format!("no network {name}")))?;
            joined.insert(own.id.clone());
        }
        let twin = |seen: &ObservedContainer| {
            is_up(seen)
                && seen.id != container.id
                && (seen.identity.uid, &seen.identity.role)
                    == (container.identity.uid, &container.identity.role)
        };
        if self.containers.iter().any(|(seen, _)| twin(seen)) {
            self.violations.push(format!("a second running container of {:?}", container.identity.role));
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
        let (container, spec) = self.container(id)?;
        if !is_up(container) {
            container.started_at = Some(Utc::now());
            container.live.networks = joined;
            // Docker has started a bad one again and again by the time that anybody looks.
            (container.state, container.restart_count) = match is_bad(spec) {
                true => (ContainerState::Restarting, 2),
                false => (ContainerState::Running, 0),
            };
            if container.identity.role == Role::Gateway {
                let uid = container.identity.uid;
                self.read_files(uid);
            }
        }
        Ok(())
    }

    fn read_files(&mut self, uid: Uuid) {
        let text = |name| self.contents.get(&(uid, format!("config/{name}")));
        let (Some(gateway), Some(tokens)) = (text(GATEWAY_FILE), text(TOKENS_FILE)) else { return };
        let gateway: GatewayFile = serde_json::from_str(gateway).unwrap();
        let tokens: TokensFile = serde_json::from_str(tokens).unwrap();
        self.read.insert(uid, (gateway, tokens.revision));
    }

    /// What a gateway tells: its servers answer when their containers run.
    pub(super) fn probe(&self, uid: Uuid) -> ProbeAnswer {
        let runs = |role: &Role| {
            self.containers.iter().any(|(seen, _)| {
                seen.identity.uid == uid
                    && seen.identity.role == *role
                    && seen.state == ContainerState::Running
            })
        };
        let Some((file, tokens_revision)) = self.read.get(&uid).filter(|_| runs(&Role::Gateway)) else {
            return ProbeAnswer::default();
        };
        let servers = file.servers.iter().map(|server| ServerReport {
            name: server.name.clone(),
            phase: match runs(&Role::Server(server.name.clone())) {
                true => ServerPhase::Running,
                false => ServerPhase::Starting,
            },
            tools: 1,
            tools_digest: None,
            server_info: None,
            restarts: 0,
            last_error: None,
        });
        let state = GatewayState {
            version: "1".to_owned(),
            config_revision: file.revision.clone(),
            tokens_revision: *tokens_revision,
            servers: servers.collect(),
        };
        ProbeAnswer { healthy: true, state: Some(state) }
    }

    fn rename(&mut self, id: &str, to: &str) -> Result<(), StepFailure> {
        if self.taken_names.contains(to) {
            return Err(failure(FailureClass::NameTaken, "somebody else's"));
        }
        // From an attempt whose answer was lost.
        if self.container(id).is_err() && self.container(to).is_ok() {
            return Ok(());
        }
        let own = self.container(id)?.0.id.clone();
        if self.containers.iter().any(|(seen, _)| seen.name == to && seen.id != own) {
            return Err(moved("another of ours"));
        }
        to.clone_into(&mut self.container(id)?.0.name);
        Ok(())
    }
}
