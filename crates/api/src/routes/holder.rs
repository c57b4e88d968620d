//! Who may write and remove an object that a file of the spec directory declares: that file, and whoever insists.

use std::collections::BTreeMap;

use bowline_core::object::{ObjectKey, Stored};
use bowline_store::FILE_MANAGER;

/// Objects that a file may take from other files, which declare them no longer, and the path of each such file.
pub(crate) type TakesOver = BTreeMap<ObjectKey, String>;

/// The path of the file that holds the object, if one does.
pub(super) fn file_of(managed_by: &str) -> Option<&str> {
    managed_by.strip_prefix(FILE_MANAGER)
}

/// The file that keeps the writer `managed_by` from writing `stored`, if one does. An object that no file holds may
/// be written by anybody: a file in the directory is how somebody takes it there. One that is being deleted keeps
/// its writers away by itself.
pub(super) fn holder_against<'s>(
    managed_by: &str,
    takes_over: Option<&TakesOver>,
    stored: &'s Stored,
) -> Option<&'s str> {
    let holder = file_of(&stored.metadata.managed_by)?;
    let key = &stored.metadata.key;
    let is_free = takes_over.and_then(|takes_over| takes_over.get(key)).is_some_and(|path| path == holder);
    let is_ours = stored.metadata.managed_by == managed_by;
    (!is_free && !is_ours && stored.metadata.deletion_timestamp.is_none()).then_some(holder)
}
