//! The life of one gateway: what is declared, a world, a controller that may be cut off, and a gateway that
//! answers for what runs.

use super::*;
use crate::container::Limits;
use crate::desired::{Layer, RECOVERY_FILE};
use crate::gateway_file::{ServerError, ServerExit, ServerPhase, ServerReport};
use crate::labels::Role;
use crate::report::MISSES;
use crate::resource::CatalogSpec;
use crate::rollout::Trouble;

/// More passes than any chain needs to come to rest.
const MOST_PASSES: usize = 25;

/// Where a run ends early.
#[derive(Debug, Clone)]
pub(super) enum Cut {
    /// Nowhere.
    No,
    /// The controller is killed after this many steps.
    Killed(usize),
    /// This step fails, at the first or any later try; its unit does no more, the others go on.
    Fails { step: usize, refused: bool },
    /// What begins with this unit is held back.
    Held(usize),
}

pub(super) fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        2 => Just(Cut::No),
        3 => (0..24_usize).prop_map(Cut::Killed),
        2 => (0..24_usize, any::<bool>()).prop_map(|(step, refused)| Cut::Fails { step, refused }),
        1 => (0..SERVERS.len() + 2).prop_map(Cut::Held),
    ]
}

#[derive(Debug)]
pub(super) struct Life {
    pub(super) declared: Declared,
    pub(super) world: World,
    /// The catalogs by name, whether the gateway names them or not.
    pub(super) catalogs: Vec<(String, CatalogSpec)>,
    /// What differs from the first entries, by catalog and server.
    pub(super) entries: BTreeMap<(usize, usize), Entry>,
    /// Revisions of configuration and tokens that the running gateway has read.
    read: (String, i64),
    /// What the failures that are remembered speak of.
    revision: String,
    /// How many blows there were.
    pub(super) struck: usize,
    /// How many tags moved.
    moved: usize,
}

impl Life {
    /// A gateway of all servers and catalogs, of which nothing is made yet.
    pub(super) fn new() -> Self {
        let text = format!(
            "
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: {{ namespace: u1, name: default }}
spec: {{ catalogs: [{}], servers: [{}] }}
",
            CATALOGS.join(", "),
            SERVERS.join(", ")
        );
        let registry = || {
            let entry =
                |server: &str| ServerEntry::from_json(&super::Entry::default().document(server)).unwrap();
            SERVERS.iter().map(|server| ((*server).to_owned(), entry(server))).collect()
        };
        let catalog = || CatalogSpec { registry: registry() };
        Life {
            declared: declare(&text),
            world: World::default(),
            catalogs: CATALOGS.iter().map(|name| ((*name).to_owned(), catalog())).collect(),
            entries: BTreeMap::new(),
            read: (String::new(), 0),
            revision: String::new(),
            struck: 0,
            moved: 0,
        }
    }

    /// The same declaration in a world in which nothing was ever made.
    pub(super) fn fresh(&self) -> Self {
        let mut world = World::default();
        world.observed.images = self.world.observed.images.clone();
        Life {
            declared: Declared { pins: Default::default(), ..self.declared.clone() },
            world,
            catalogs: self.catalogs.clone(),
            entries: self.entries.clone(),
            read: (String::new(), 0),
            revision: String::new(),
            struck: 0,
            moved: 0,
        }
    }

    /// What the store does before a run: catalogs are looked up, leases given, the Engine asked for every image.
    fn load(&mut self) {
        let Declared { spec, catalogs, .. } = &mut self.declared;
        let found = |name: &str| self.catalogs.iter().find(|(known, _)| known == name);
        *catalogs = spec
            .catalogs
            .iter()
            .filter_map(|reference| {
                let CatalogRef::Cluster(name) = reference else { return None };
                let spec = found(name)?.1.clone();
                Some(Layer { reference: reference.clone(), resource_version: 1, spec })
            })
            .collect();
        crate::testing::lease(&mut self.declared);
        for name in self.declared.images(&settings()) {
            let facts = image(&name);
            self.world.observed.images.entry(name).or_insert(ImageState::Present(facts));
        }
    }

    /// One run of the controller.
    pub(super) fn run(&mut self, cut: &Cut) {
        self.load();
        // As the controller does: what failed for one revision, or on the way forward, is forgotten with it.
        let revision = format!("{} {}", self.declared.revision(), self.world.rollouts.revision());
        if revision != self.revision {
            self.world.troubles.clear();
            self.revision = revision;
        }
        let desired = self.world.desire(&self.declared);
        let mut holds = Holds::new();
        if let Cut::Held(number) = cut {
            let unit = match SERVERS.get(*number) {
                Some(server) => Unit::Server((*server).to_owned()),
                None if *number == SERVERS.len() => Unit::Gateway,
                None => Unit::Shared,
            };
            holds.insert(unit, at(self.world.now + 1));
        }
        let plan = plan(Some(&desired), &self.world.observed, &holds, at(self.world.now));
        crate::floor::check(&plan, &self.declared.key(), &settings()).unwrap();
        self.world.rollouts = desired.rollouts.clone();
        self.declared.pins = desired.pins.clone();
        let mut failed = BTreeSet::new();
        let mut done = BTreeSet::new();
        for (number, Planned { unit, step }) in plan.steps.iter().enumerate() {
            match cut {
                Cut::Killed(steps) if number >= *steps => return,
                Cut::Fails { step, refused } if number == *step => {
                    let trouble = self.world.troubles.entry(unit.clone()).or_insert(Trouble {
                        count: 0,
                        refused: false,
                        message: "struck".to_owned(),
                    });
                    (trouble.count, trouble.refused) = (trouble.count + 1, *refused);
                    failed.insert(unit);
                }
                _ => {}
            }
            let blocked = failed.contains(unit)
                || failed.contains(&Unit::Shared)
                || (*unit == Unit::Cleanup && !failed.is_empty());
            if !blocked {
                self.world.execute(step);
                done.insert(unit);
                let starts = *unit == Unit::Gateway && matches!(step, Step::StartContainer { .. });
                if starts || matches!(step, Step::ReloadGateway { .. }) {
                    self.read = (desired.config_revision.clone(), desired.tokens_revision);
                }
                // What is known of a container that was just started is nothing.
                self.look();
            }
        }
        self.world.troubles.retain(|unit, _| failed.contains(unit) || !done.contains(unit));
    }

    /// What the prober learns of what runs now.
    pub(super) fn look(&mut self) {
        let running = |role: &Role| {
            let mut containers = self.world.observed.containers.iter();
            containers.find(|seen| seen.state == ContainerState::Running && seen.identity.role == *role)
        };
        let Some(gateway) = running(&Role::Gateway) else {
            self.world.observed.probe = None;
            return;
        };
        let is_bad = |name: &str, id: &str| image(&format!("{name}:{BAD}")).id == id;
        let servers = self.declared.spec.servers.iter().map(|server| {
            let container = running(&Role::Server(server.name.clone()));
            let bad = container.filter(|seen| is_bad(&format!("mcp/{}", server.name), &seen.image));
            ServerReport {
                name: server.name.clone(),
                phase: match (container, bad) {
                    (None, _) => ServerPhase::Starting,
                    (Some(_), None) => ServerPhase::Running,
                    (Some(_), Some(_)) => ServerPhase::Failed,
                },
                tools: 0,
                tools_digest: None,
                server_info: None,
                restarts: 0,
                last_error: bad.map(|_| ServerError {
                    message: "it never answers".to_owned(),
                    exit: Some(ServerExit { code: Some(1), signal: None, stderr: Vec::new() }),
                    at: at(self.world.now),
                }),
            }
        });
        let state = GatewayState {
            version: "1".to_owned(),
            config_revision: self.read.0.clone(),
            tokens_revision: self.read.1,
            servers: servers.collect(),
        };
        let healthy = !is_bad("bowline/gateway", &gateway.image);
        self.world.observed.probe =
            Some(Probe { healthy, misses: if healthy { 0 } else { MISSES }, state: Some(state) });
    }

    /// Runs until nothing is left to do or to wait for.
    pub(super) fn settle(&mut self) {
        for _ in 0..MOST_PASSES {
            // Past every rest, within every deadline.
            self.world.now += 12;
            self.look();
            let before = (self.world.rollouts.clone(), self.declared.pins.clone());
            self.run(&Cut::No);
            self.look();
            let rests = self.world.plan(&self.declared).is_empty();
            let waits = self.world.rollouts.iter().any(|(_, rollout)| rollout.trial.is_some());
            if rests && !waits && before == (self.world.rollouts.clone(), self.declared.pins.clone()) {
                return;
            }
        }
        panic!("it does not come to rest: {}\n{:#?}", self.world.plan(&self.declared), self.portrait());
    }

    /// The host uses the first number of this kind that is leased.
    pub(super) fn move_lease(&mut self, kind: LeaseKind) {
        let leases = &mut self.declared.leases;
        let fixed = kind == LeaseKind::Port && self.declared.spec.port.is_some();
        let Some((slot, value)) = leases.iter().find(|(slot, _)| slot.kind == kind) else { return };
        if !fixed {
            let (slot, value) = (slot.clone(), *value);
            let ranges = settings().ranges;
            let taken: BTreeSet<i64> =
                leases.iter().filter(|(of, _)| of.kind == kind).map(|(_, v)| *v).collect();
            let none = BTreeSet::new();
            let next = ranges.next_free(kind, &taken, &none, &none, None).unwrap_or(value);
            leases.insert(slot, next);
        }
    }

    /// Another image takes the tag of a server's first image; it answers as well as the one before.
    pub(super) fn move_tag(&mut self, server: &str) {
        self.moved += 1;
        let facts = image(&format!("{server}-{}", self.moved));
        let images = &mut self.world.observed.images;
        images.insert(facts.id.clone(), ImageState::Present(facts.clone()));
        images.insert(format!("mcp/{server}:0"), ImageState::Present(facts));
    }

    /// All that is there, without what tells one life from another: ids, times, and who made it when.
    pub(super) fn portrait(&self) -> BTreeSet<String> {
        let observed = &self.world.observed;
        let network = |id: &String| {
            let found = observed.networks.iter().find(|network| network.id == *id);
            found.map_or_else(|| id.clone(), |network| network.name.clone())
        };
        let mut lines: BTreeSet<String> = observed
            .containers
            .iter()
            .map(|seen| {
                let Limits { memory, nano_cpus, cpu_shares, pids } = &seen.live.limits;
                let shares = cpu_shares.filter(|shares| *shares != Limits::DEFAULT_CPU_SHARES);
                let limits = (memory, seen.live.memory_swap, nano_cpus.unwrap_or_default(), shares, pids);
                let networks: Vec<_> = seen.live.networks.iter().map(network).collect();
                let (identity, image) = (&seen.identity, &seen.image);
                let made = (&identity.role, &identity.spec_hash, identity.uid, identity.epoch, image);
                format!("{} {made:?} {:?} {} {limits:?} {networks:?}", seen.name, seen.state, seen.restarts)
            })
            .collect();
        let networks = observed.networks.iter();
        lines.extend(networks.map(|network| format!("{} {}", network.name, network.identity.spec_hash)));
        for (uid, tree) in &observed.trees {
            // The recovery file tells which generation proved what; that it is true, the last plan has checked.
            let told =
                |path: &str, entry| if path == RECOVERY_FILE { String::new() } else { format!("{entry:?}") };
            lines.extend(tree.iter().map(|(path, entry)| format!("{uid}/{path} {}", told(path, entry))));
        }
        for (unit, rollout) in self.world.rollouts.iter() {
            let proven = rollout.proven.as_ref().map(|proven| &proven.container.spec);
            lines.insert(format!("{unit} {proven:?} {:?} {:?}", rollout.trial, rollout.failed));
        }
        lines
    }
}
