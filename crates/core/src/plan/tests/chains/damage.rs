//! What somebody or something does to the world behind our back.

use proptest::prelude::*;

use super::life::Life;
use crate::observed::{ContainerState, Entry, ImageState};

/// One blow. Numbers choose among what is there.
#[derive(Debug, Clone)]
pub(super) enum Damage {
    /// To a container.
    Container(usize, Blow),
    /// The network goes; whoever runs was detached before.
    Network,
    /// All files go, as at a reboot.
    Files,
    /// A file or directory goes, with what is below it.
    Path(usize),
    /// A file is written over.
    Content(usize),
    /// Something of somebody else's appears among the files.
    Leftover,
    /// An image goes, as by `docker rmi -f`.
    Image(usize),
}

/// What is done to one container.
#[derive(Debug, Clone, Copy)]
pub(super) enum Blow {
    Kill,
    Remove,
    Pause,
    Rename,
    Break,
    Memory,
    Swap,
    CpuShares,
    NoCpuLimit,
    Pids,
    Detach,
    Attach,
    NoRestart,
    Copy,
}

pub(super) fn damage() -> impl Strategy<Value = Damage> {
    let blow = proptest::sample::select(
        &[
            Blow::Kill,
            Blow::Remove,
            Blow::Pause,
            Blow::Rename,
            Blow::Break,
            Blow::Memory,
            Blow::Swap,
            Blow::CpuShares,
            Blow::NoCpuLimit,
            Blow::Pids,
            Blow::Detach,
            Blow::Attach,
            Blow::NoRestart,
            Blow::Copy,
        ][..],
    );
    prop_oneof![
        8 => (0..6_usize, blow).prop_map(|(number, blow)| Damage::Container(number, blow)),
        1 => Just(Damage::Network),
        1 => Just(Damage::Files),
        2 => (0..20_usize).prop_map(Damage::Path),
        1 => (0..20_usize).prop_map(Damage::Content),
        1 => Just(Damage::Leftover),
        1 => (0..8_usize).prop_map(Damage::Image),
    ]
}

/// Whether the container has a process.
fn is_up(state: ContainerState) -> bool {
    matches!(state, ContainerState::Running | ContainerState::Paused | ContainerState::Restarting)
}

impl Life {
    pub(super) fn damage(&mut self, damage: &Damage) {
        match damage {
            Damage::Container(number, blow) => self.strike(*number, *blow),
            Damage::Network => {
                let observed = &mut self.world.observed;
                for container in observed.containers.iter_mut().filter(|c| is_up(c.state)) {
                    container.live.networks.clear();
                }
                observed.networks.clear();
            }
            Damage::Files => self.world.observed.trees.clear(),
            Damage::Path(number) => {
                for tree in self.world.observed.trees.values_mut().filter(|tree| !tree.is_empty()) {
                    let path = tree.keys().nth(number % tree.len()).cloned().unwrap_or_default();
                    let below = format!("{path}/");
                    tree.retain(|other, _| *other != path && !path.is_empty() && !other.starts_with(&below));
                }
            }
            Damage::Content(number) => {
                for tree in self.world.observed.trees.values_mut() {
                    let is_file =
                        |entry: &&mut Entry| matches!(entry, Entry::File { .. } | Entry::Secret { .. });
                    match tree.values_mut().filter(is_file).nth(number % 5) {
                        Some(Entry::Secret { revision, .. }) => revision.clear(),
                        Some(file) => *file = Entry::File { mode: 0o600, sha256: String::new() },
                        None => {}
                    }
                }
            }
            Damage::Leftover => {
                for tree in self.world.observed.trees.values_mut() {
                    tree.insert("theirs".to_owned(), Entry::Other);
                    if tree.contains_key("config") {
                        tree.insert("config/tokens.json".to_owned(), Entry::Directory { mode: 0o755 });
                    }
                }
            }
            Damage::Image(number) => {
                let images = &mut self.world.observed.images;
                if let Some(state) = images.values_mut().nth(*number) {
                    *state = ImageState::Absent;
                }
            }
        }
    }

    fn strike(&mut self, number: usize, blow: Blow) {
        let now = self.world.now;
        let containers = &mut self.world.observed.containers;
        if containers.is_empty() {
            return;
        }
        self.struck += 1;
        let number = number % containers.len();
        let container = &mut containers[number];
        let live = &mut container.live;
        match blow {
            Blow::Kill if is_up(container.state) => {
                container.state = ContainerState::Exited { code: 137 };
                container.finished_at = Some(crate::testing::at(now));
            }
            Blow::Pause if container.state == ContainerState::Running => {
                container.state = ContainerState::Paused;
            }
            Blow::Kill | Blow::Pause => {}
            Blow::Remove => {
                containers.remove(number);
            }
            Blow::Rename => container.name = format!("theirs-{}", self.struck),
            Blow::Break => container.state = ContainerState::Dead,
            Blow::Memory => live.limits.memory = 6 << 20,
            Blow::Swap => live.memory_swap = -1,
            Blow::CpuShares => live.limits.cpu_shares = Some(2),
            Blow::NoCpuLimit => live.limits.nano_cpus = None,
            Blow::Pids => live.limits.pids = 1,
            Blow::Detach => live.networks.clear(),
            // Docker tells of a network that a stopped container will join, too.
            Blow::Attach => {
                live.networks.insert("theirs".to_owned());
            }
            Blow::NoRestart => container.restarts = false,
            Blow::Copy => {
                let mut copy = container.clone();
                (copy.id, copy.name) = (format!("copy-{}", self.struck), format!("copy-{}", self.struck));
                copy.state = ContainerState::Created;
                copy.live.networks.clear();
                containers.push(copy);
            }
        }
    }
}
