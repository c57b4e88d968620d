//! Removal of whatever is at a name, with all below it, following no link.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Removes the entry `name` of `parent` and all below it; one that is not there is removed.
///
/// No recursion: a container could nest directories deeper than we have stack or file descriptors. A directory
/// that is not empty is moved up beside the topmost one's children and emptied in its turn.
pub(crate) fn remove_entry(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    if remove_simple(parent, &name)? {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = fs::openat(parent, &name, flags, Mode::empty())?;
    let mut full: Vec<CString> = Vec::new();
    for entry in entries(top.as_fd())? {
        if !remove_simple(top.as_fd(), &entry)? {
            full.push(entry);
        }
    }
    let mut moved = 0_u64;
    while let Some(name) = full.pop() {
        let directory = fs::openat(&top, &name, flags, Mode::empty())?;
        for entry in entries(directory.as_fd())? {
            if !remove_simple(directory.as_fd(), &entry)? {
                full.push(move_up(directory.as_fd(), &entry, top.as_fd(), &mut moved)?);
            }
        }
        fs::unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(fs::unlinkat(parent, &name, AtFlags::REMOVEDIR)?)
}

/// Removes what is no directory, and empty directories; `false` for a directory that is not empty.
fn remove_simple(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(errno.into()),
    }
    match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn move_up(from: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, moved: &mut u64) -> io::Result<CString> {
    loop {
        *moved += 1;
        let new = CString::new(format!(".moved.{moved}"))?;
        match fs::renameat_with(from, name, top, &new, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(new),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// All names in a directory, whatever their bytes.
fn entries(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut all = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            all.push(name.to_owned());
        }
    }
    Ok(all)
}
