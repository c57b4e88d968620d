//! Giving what is in a volume to the uid that will run on it.
//!
//! The root directory says how far that is. It belongs to the new uid and the group of root before anything else is
//! touched, and to the new uid and its own group when all else does: no leased uid has another group, so that a walk
//! that was cut off is seen and done again, whoever the volume is given to then.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::models::ContainerInspectResponse;
use bowline_core::lease::Range;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::blocking;
use crate::files::open_absolute;

/// Directories below each other in a volume that are walked: each holds a descriptor open.
pub(super) const MAX_DEPTH: u32 = 256;

/// Who will run on a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recipient {
    /// The uid, which is the gid, too.
    pub(super) uid: u32,
    /// Whether the uid is a leased one (profile `restricted`), to which every volume is given. The image's own user
    /// (profile `baseline`) finds a volume as Docker makes it, and is given only what a leased uid had before.
    pub(super) is_leased: bool,
}

impl Recipient {
    /// Who runs in a container, when that is a number.
    pub(super) fn of(container: &ContainerInspectResponse) -> Option<Self> {
        let user = container.config.as_ref().and_then(|config| config.user.as_deref()).unwrap_or_default();
        let uid = match user.split(':').next().unwrap_or_default() {
            "" | "root" => 0,
            uid => uid.parse().ok()?,
        };
        // What distinguishes the profiles on the Engine: only a leased uid gets a read-only root.
        let read_only = container.host_config.as_ref().and_then(|config| config.readonly_rootfs);
        Some(Recipient { uid, is_leased: read_only == Some(true) })
    }
}

/// The walks through volumes, one at a time in each. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Walks {
    turns: Mutex<BTreeMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    stop: DropGuard,
}

impl Default for Walks {
    fn default() -> Self {
        Walks { turns: Mutex::default(), stop: CancellationToken::new().drop_guard() }
    }
}

impl Walks {
    /// Gives the volume with this directory, and all that is in it. A walk goes on when nobody waits for it any more, and
    /// whoever comes next waits for its end: one that takes longer than its caller's patience is not begun again and
    /// again.
    ///
    /// # Errors
    /// When something in it could not be given.
    pub(super) async fn give(&self, root: &Path, to: Recipient, leased: Range) -> io::Result<()> {
        let turn = self.turn(root).lock_owned().await;
        let (root, stop) = (root.to_owned(), self.stop.token().clone());
        blocking(move || {
            let _turn = turn;
            give(&root, to, leased, &stop)
        })
        .await
    }

    /// Whoever has locked it walks through the volume.
    pub(super) fn turn(&self, root: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Only here others get theirs, so that nobody has one that is forgotten.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(root.to_owned()).or_default())
    }
}

/// Gives a directory and all that is in it, itself last. Nothing is done when it is given already, and when it is not
/// to be given.
pub(super) fn give(root: &Path, to: Recipient, leased: Range, stop: &CancellationToken) -> io::Result<()> {
    let directory = open_absolute(root)?;
    let there = fs::fstat(&directory)?;
    let Recipient { uid, is_leased } = to;
    let was_leased = (leased.first..=leased.last).contains(&i64::from(there.st_uid));
    if (there.st_uid, there.st_gid) == (uid, uid) || !(is_leased || was_leased) {
        return Ok(());
    }
    let on_the_way = if is_leased { uid } else { there.st_uid };
    fs::fchown(&directory, Some(Uid::from_raw(on_the_way)), Some(Gid::ROOT))?;
    Walk { uid, device: there.st_dev, stop }.give_below(directory.as_fd(), MAX_DEPTH)?;
    // An image's own directory, which a new volume begins as, may not be writable for its owner.
    fs::fchmod(&directory, Mode::from_raw_mode(there.st_mode & 0o777) | Mode::RWXU)?;
    fs::fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))?;
    Ok(())
}

/// One walk.
struct Walk<'a> {
    uid: u32,
    /// The file system that it stays on.
    device: u64,
    stop: &'a CancellationToken,
}

impl Walk<'_> {
    fn give_below(&self, directory: BorrowedFd<'_>, depth: u32) -> io::Result<()> {
        if depth == 0 {
            return Err(io::Error::other(format!("directories lie more than {MAX_DEPTH} deep")));
        }
        let mut names: Vec<CString> = Vec::new();
        for entry in fs::Dir::read_from(directory)? {
            let name = entry?.file_name().to_owned();
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                names.push(name);
            }
        }
        for name in names {
            if self.stop.is_cancelled() {
                return Err(io::Error::other("`bowline serve` ends; it goes on after the next start"));
            }
            let there = fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if there.st_dev != self.device {
                continue;
            }
            if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = fs::openat(directory, &name, flags, Mode::empty())?;
                self.give_below(below.as_fd(), depth - 1)?;
            }
            let (uid, gid) = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.uid)));
            fs::chownat(directory, &name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}
