//! Directories and files, and the gateway's reading of them.

use super::{Planner, Unit};
use crate::desired::{Desired, DesiredSecretFile, SECRETS, below_secrets, secrets, server_directory};
use crate::labels::Role;
use crate::observed::{ContainerState, Entry, Tree};
use crate::secret::FILE_MODE;
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
                Some(Entry::File { .. } | Entry::Secret { .. } | Entry::Socket | Entry::Other) => {
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
                Some(Entry::Directory { .. } | Entry::Secret { .. } | Entry::Socket | Entry::Other) => {
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

    /// Makes a server's secret file what it shall be, as a step of the server: a value that cannot be opened is its
    /// own trouble. Called before its container is made or started.
    pub(super) fn ensure_secret_file(&mut self, desired: &Desired, role: &Role) {
        let Some(path) = secrets::path(role) else { return };
        let Some(file) = desired.secret_files.iter().find(|file| file.path == path) else { return };
        let (uid, unit) = (desired.uid, Unit::of(role));
        match self.observed.trees.get(&uid).and_then(|tree| tree.get(&path)) {
            Some(Entry::Secret { mode: FILE_MODE, revision }) if *revision == file.revision => return,
            Some(Entry::Secret { .. } | Entry::File { .. }) | None => {}
            Some(Entry::Directory { .. } | Entry::Socket | Entry::Other) => {
                self.push(&unit, Step::RemovePath { uid, path: path.clone() });
            }
        }
        let DesiredSecretFile { path: _, revision, sources } = file.clone();
        self.push(&unit, Step::WriteSecrets { uid, path, revision, sources });
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
                    || desired.files.iter().any(|file| file.path == *path)
                    || desired.secret_files.iter().any(|file| file.path == *path);
                let own_socket = *entry == Entry::Socket
                    && desired.directories.iter().any(|(directory, mode)| {
                        *mode == 0o777 && path.rsplit_once('/').is_some_and(|(parent, _)| parent == directory)
                    });
                let within = removed
                    .iter()
                    .any(|above| path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/')));
                // What is in the directory of all secrets goes piece by piece, and the directory itself last.
                if declared || own_socket || within || path.is_empty() || path == SECRETS {
                    continue;
                }
                removed.push(path);
                let unit = self.server_of_secret(desired, path).unwrap_or(Unit::Cleanup);
                self.push(&unit, Step::RemovePath { uid: *uid, path: path.clone() });
            }
            let is_declared = desired.directories.iter().any(|(directory, _)| directory == SECRETS);
            if tree.contains_key(SECRETS) && !is_declared {
                self.push(&Unit::Cleanup, Step::RemovePath { uid: *uid, path: SECRETS.to_owned() });
            }
        }
    }

    /// The server whose secrets are at this path. They go with its own steps, after those of its container: the
    /// trouble of another server is no reason to leave them lying. Everything else that nobody needs waits for a run
    /// without any trouble.
    fn server_of_secret(&self, desired: &Desired, path: &str) -> Option<Unit> {
        let directory = below_secrets(path)?.split('/').next()?;
        let there = self.observed.containers.iter().filter_map(|seen| match &seen.identity.role {
            Role::Server(server) => Some(server.as_str()),
            Role::Gateway | Role::Network => None,
        });
        let declared = desired.servers.iter().map(|server| server.name.as_str());
        let name = declared.chain(there).find(|server| server_directory(server) == directory);
        // Of one that is neither declared nor there the directory is all that names it.
        Some(Unit::Server(name.unwrap_or(directory).to_owned()))
    }
}
