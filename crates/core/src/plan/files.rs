//! Directories and files, and the gateway's reading of them.

use super::{Planner, Unit};
use crate::desired::Desired;
use crate::labels::Role;
use crate::observed::{ContainerState, Entry, Tree};
use crate::step::Step;

impl Planner<'_> {
    /// Makes directories and files that are missing or differ, and lets a running gateway read them.
    pub(super) fn ensure_files(&mut self, desired: &Desired) {
        let uid = desired.uid;
        let empty = Tree::new();
        let tree = self.observed.trees.get(&uid).unwrap_or(&empty);
        for (path, mode) in &desired.directories {
            match tree.get(path) {
                Some(Entry::Directory { mode: seen }) if seen == mode => continue,
                Some(Entry::Directory { .. }) | None => {}
                Some(Entry::File { .. } | Entry::Socket | Entry::Other) => {
                    self.push(&Unit::Shared, Step::RemovePath { uid, path: path.clone() });
                }
            }
            self.push(&Unit::Shared, Step::EnsureDirectory { uid, path: path.clone(), mode: *mode });
        }
        for file in &desired.files {
            match tree.get(&file.path) {
                Some(Entry::File { mode, sha256 })
                    if *mode == file.mode && *sha256 == file.content.sha256() =>
                {
                    continue;
                }
                Some(Entry::File { .. }) | None => {}
                Some(Entry::Directory { .. } | Entry::Socket | Entry::Other) => {
                    self.push(&Unit::Shared, Step::RemovePath { uid, path: file.path.clone() });
                }
            }
            self.push(
                &Unit::Shared,
                Step::WriteFile {
                    uid,
                    path: file.path.clone(),
                    mode: file.mode,
                    content: file.content.clone(),
                },
            );
        }
    }

    /// Asks a gateway that answers and tells an older revision to read its files again. Judged by what it tells,
    /// not by whether a file was just written: a crash between the two must not leave it behind.
    ///
    /// Only the container that shall run is asked, after all else: one that is being replaced reads them no more, and
    /// may be of a version that cannot. What it refuses holds up nothing but the next asking.
    pub(super) fn reload_if_stale(&mut self, desired: &Desired) {
        if self.is_held(&Unit::Reload) {
            return;
        }
        let target = desired.gateway_target().map(|target| &target.identity.spec_hash);
        let changes = self.plan.steps.iter().any(|planned| {
            planned.unit == Unit::Gateway && matches!(planned.step, Step::StopContainer { .. })
        });
        let runs = !changes
            && self.observed.containers.iter().any(|seen| {
                seen.identity.uid == desired.uid
                    && seen.identity.role == Role::Gateway
                    && seen.state == ContainerState::Running
                    && target.is_none_or(|target| *target == seen.identity.spec_hash)
            });
        let stale =
            self.observed.probe.as_ref().and_then(|probe| probe.state.as_ref()).is_some_and(|state| {
                state.config_revision != desired.config_revision
                    || state.tokens_revision != desired.tokens_revision
            });
        if runs && stale && !desired.suspended {
            self.push(&Unit::Reload, Step::ReloadGateway { uid: desired.uid });
        }
    }

    /// Removes what is in the trees and not declared: leftovers of a write that was cut off, directories of
    /// servers that are gone, trees of another uid. Sockets in a declared directory are the gateway's own.
    pub(super) fn remove_leftover_paths(&mut self, desired: &Desired) {
        let observed = self.observed;
        for (uid, tree) in &observed.trees {
            if *uid != desired.uid {
                self.push(&Unit::Cleanup, Step::RemovePath { uid: *uid, path: String::new() });
                continue;
            }
            let mut removed: Vec<&str> = Vec::new();
            for (path, entry) in tree {
                let declared = desired.directories.iter().any(|(directory, _)| directory == path)
                    || desired.files.iter().any(|file| file.path == *path);
                let own_socket = *entry == Entry::Socket
                    && desired.directories.iter().any(|(directory, mode)| {
                        *mode == 0o777 && path.rsplit_once('/').is_some_and(|(parent, _)| parent == directory)
                    });
                let within = removed
                    .iter()
                    .any(|above| path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/')));
                if declared || own_socket || within || path.is_empty() {
                    continue;
                }
                removed.push(path);
                self.push(&Unit::Cleanup, Step::RemovePath { uid: *uid, path: path.clone() });
            }
        }
    }
}
