use std::fs;
use std::time::Duration;

use notify::event::{AccessKind, DataChange, Flag, MetadataKind, RenameMode};
use tokio::time::timeout;

use super::super::scan::scan;
use super::*;

const SOON: Duration = Duration::from_secs(20);

fn event(kind: EventKind, path: &str) -> Event {
    Event::new(kind).add_path(path.into())
}

#[test]
fn only_what_may_change_what_is_declared_is_news() {
    let root = Path::new("/etc/specs");
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
    let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
    let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    let mode = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
    let moved = EventKind::Modify(ModifyKind::Name(RenameMode::From));
    for (kind, path, is_news) in [
        (written, "/etc/specs/a.yaml", true),
        (data, "/etc/specs/team/a.yml", true),
        (mode, "/etc/specs/a.json", true),
        (EventKind::Create(CreateKind::File), "/etc/specs/a.yaml", true),
        (EventKind::Remove(RemoveKind::File), "/etc/specs/a.yaml", true),
        (EventKind::Create(CreateKind::Folder), "/etc/specs/team", true),
        (EventKind::Remove(RemoveKind::Folder), "/etc/specs/team", true),
        (EventKind::Remove(RemoveKind::Folder), "/etc/specs", true),
        (moved, "/etc/specs/team", true),
        (moved, "/etc/specs", true),
        // What reading causes.
        (opened, "/etc/specs/a.yaml", false),
        (read, "/etc/specs/a.yaml", false),
        // What an editor writes beside, and what is beside the directory.
        (data, "/etc/specs/.a.yaml.swp", false),
        (written, "/etc/specs/notes.txt", false),
        (written, "/etc/a.yaml", false),
        (moved, "/etc/others", false),
        (EventKind::Create(CreateKind::Folder), "/etc/specs2", false),
    ] {
        assert_eq!(concerns(&event(kind, path), root), is_news, "{kind:?} {path}");
    }
}

#[test]
fn when_events_were_lost_everything_is_news_and_the_watch_is_renewed() {
    let (root, watched) = (Path::new("/etc/specs"), BTreeSet::from(["/etc/specs".into()]));
    let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
    for kind in [EventKind::Other, opened] {
        let lost = event(kind, "/elsewhere").set_flag(Flag::Rescan);
        assert!(concerns(&lost, root) && may_end(&lost, &watched), "{kind:?}");
    }
    assert!(!may_end(&event(opened, "/etc/specs"), &watched));
    assert!(!may_end(&event(EventKind::Remove(RemoveKind::File), "/etc/specs/a.yaml"), &watched));
    assert!(may_end(&event(EventKind::Remove(RemoveKind::Folder), "/etc/specs"), &watched));
}

#[tokio::test]
async fn a_directory_that_was_made_anew_is_watched_again_although_it_looks_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (root, team) = (folder.path().join("specs"), folder.path().join("specs/team"));
    fs::create_dir_all(&team).unwrap();
    let (mut watch, mut news) = Watch::new(&root);
    let directories = scan(&root).unwrap().directories;
    assert_eq!(watch.cover(&directories), Cover::Anew);
    assert_eq!(watch.cover(&directories), Cover::Same);

    fs::remove_dir(&team).unwrap();
    fs::create_dir(&team).unwrap();
    // The inode may be the same or another one; a scan that cannot tell is the case here.
    while !watch.ended.load(Ordering::Acquire) {
        timeout(SOON, news.changed()).await.expect("news in time").unwrap();
    }
    assert_eq!(watch.cover(&directories), Cover::Anew);
    news.borrow_and_update();
    fs::write(team.join("a.yaml"), "a: 1").unwrap();
    timeout(SOON, news.changed()).await.expect("it is watched").unwrap();
    assert_eq!(watch.cover(&directories), Cover::Same);
}

#[tokio::test]
async fn a_parent_that_cannot_be_watched_is_not_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let directories = scan(folder.path()).unwrap().directories;
    let (mut watch, mut news) = Watch::new(&folder.path().join("missing").join("specs"));
    assert_eq!(watch.cover(&directories), Cover::Anew);
    // What can be watched is.
    fs::remove_dir(folder.path()).unwrap();
    timeout(SOON, news.changed()).await.expect("news in time").unwrap();
}
