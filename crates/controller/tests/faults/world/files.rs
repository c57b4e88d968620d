//! Directories and files of the simulated host, those with secrets among them.

use bowline_core::container::ContainerSpec;
use bowline_core::gateway_file::{SECRETS_DIR, SECRETS_FILE};
use bowline_core::labels::Identity;
use bowline_core::observed::Entry;
use bowline_core::secret::FILE_MODE;
use bowline_core::step::{Step, StepFailure};
use uuid::Uuid;

use super::state::{State, moved};

impl State {
    pub(super) fn has_directory(&self, uid: Uuid, path: &str) -> bool {
        let entry = self.trees.get(&uid).and_then(|tree| tree.get(path));
        matches!(entry, Some(Entry::Directory { .. }))
    }

    /// Whether everything that the container binds is there.
    pub(super) fn has_sources(&self, identity: &Identity, spec: &ContainerSpec) -> bool {
        let tree = format!("/gateways/{}/", identity.uid);
        spec.binds.iter().all(|bind| match bind.source.split_once(&tree) {
            Some((_, path)) => self.has_directory(identity.uid, path),
            // The bridge, which is no part of any gateway.
            None => true,
        })
    }

    pub(super) fn change_files(&mut self, step: &Step) -> Result<(), StepFailure> {
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
                self.contents.insert((*uid, path.clone()), content.0.clone());
            }
            Step::RemovePath { uid, path } if path.is_empty() => {
                if self.containers.iter().any(|(container, _)| container.identity.uid == *uid) {
                    self.violations.push("files were removed below a container".to_owned());
                }
                self.trees.remove(uid);
                self.secrets.retain(|(of, _), _| of != uid);
            }
            Step::RemovePath { uid, path } => {
                let below = format!("{path}/");
                if let Some(tree) = self.trees.get_mut(uid) {
                    tree.retain(|entry, _| entry != path && !entry.starts_with(&below));
                }
                self.secrets.retain(|(of, file), _| of != uid || (file != path && !file.starts_with(&below)));
            }
            other => unreachable!("no step on files: {other}"),
        }
        Ok(())
    }

    pub(super) fn write_secrets(
        &mut self,
        uid: Uuid,
        path: &str,
        revision: &str,
        values: Vec<(String, String)>,
    ) -> Result<(), StepFailure> {
        let (parent, _) = path.rsplit_once('/').unwrap_or_default();
        if !self.has_directory(uid, parent) {
            return Err(moved(format!("no parent of {path}")));
        }
        let entry = Entry::Secret { mode: FILE_MODE, revision: revision.to_owned() };
        self.trees.entry(uid).or_default().insert(path.to_owned(), entry);
        self.secrets.insert((uid, path.to_owned()), values);
        Ok(())
    }

    /// Whether the secret file is there with which the container was made.
    pub(super) fn has_secrets(&self, identity: &Identity, spec: &ContainerSpec) -> bool {
        let tree = format!("/gateways/{}/", identity.uid);
        let bound = spec.binds.iter().find(|bind| bind.target == SECRETS_DIR);
        bound.and_then(|bind| bind.source.split_once(&tree)).is_none_or(|(_, directory)| {
            self.secrets.contains_key(&(identity.uid, format!("{directory}/{SECRETS_FILE}")))
        })
    }
}
