use bowline_core::labels::Owner;
use notify::Event;
use notify::event::{CreateKind, Flag};

use super::*;

/// A runtime directory, and one gateway of it.
struct Ground {
    _directory: tempfile::TempDir,
    trees: Arc<Trees>,
    key: GatewayKey,
    uid: Uuid,
}

fn ground() -> Ground {
    let directory = tempfile::tempdir().unwrap();
    let owner = Owner { instance: "test".to_owned(), installation: Uuid::from_u128(1) };
    let trees = Arc::new(Trees::new(directory.path(), owner));
    std::fs::create_dir(trees.root()).unwrap();
    Ground { _directory: directory, trees, key: GatewayKey::new("u1", "default"), uid: Uuid::from_u128(7) }
}

impl Ground {
    /// Makes the tree with these directories below it.
    fn make(&self, directories: &[&str]) -> PathBuf {
        for path in [""].iter().chain(directories) {
            self.trees.ensure_directory(&self.key, self.uid, path, 0o755).unwrap();
        }
        self.trees.path(self.uid)
    }

    fn followed(&self, teller: Teller) -> Followed {
        let watches = Watches::new(self.trees.root(), teller).unwrap();
        Followed { trees: Arc::clone(&self.trees), watches, known: HashMap::new() }
    }
}

fn teller(events: usize) -> (Teller, mpsc::Receiver<Vec<PathBuf>>) {
    let (changed, news) = mpsc::channel(events);
    (Teller { changed, lost: Arc::default() }, news)
}

fn created(path: &Path) -> notify::Result<Event> {
    Ok(Event::new(EventKind::Create(CreateKind::File)).add_path(path.to_owned()))
}

#[test]
fn a_path_tells_the_tree_that_it_is_in() {
    let gateways = Path::new("/run/bowline/gateways");
    let uid = Uuid::from_u128(7);
    assert_eq!(tree_of(gateways, &gateways.join(format!("{uid}/config/gateway.json"))), Some(uid));
    assert_eq!(tree_of(gateways, &gateways.join("not-a-uid")), None);
    assert_eq!(tree_of(gateways, gateways), None);
    assert_eq!(tree_of(gateways, Path::new("/elsewhere")), None);
}

#[test]
fn an_event_that_does_not_fit_is_a_loss_and_not_forgotten() {
    let (teller, mut news) = teller(1);
    teller.tell(created(Path::new("/a")));
    assert!(!teller.lost.load(Ordering::Acquire));
    teller.tell(created(Path::new("/b")));
    assert!(teller.lost.load(Ordering::Acquire));
    assert_eq!(news.try_recv().unwrap(), [Path::new("/a")]);
}

#[test]
fn a_loss_in_the_kernel_wakes_the_reader_and_a_look_does_not() {
    let (teller, mut news) = teller(1);
    teller.tell(Ok(Event::new(EventKind::Access(notify::event::AccessKind::Any))));
    assert!(news.try_recv().is_err());
    teller.tell(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
    assert!(teller.lost.load(Ordering::Acquire));
    assert!(news.try_recv().unwrap().is_empty());
}

#[tokio::test]
async fn a_change_of_a_file_is_told_and_a_flood_in_a_sockets_directory_is_not() {
    let ground = ground();
    let tree = ground.make(&["config", "sockets", "sockets/servers", "sockets/servers/time"]);
    let (teller, mut news) = teller(16);
    let _followed = ground.followed(teller).rescan(false).await;
    std::fs::write(tree.join("sockets/servers/time/flood"), "x").unwrap();
    std::fs::write(tree.join("config/gateway.json"), "x").unwrap();
    assert_eq!(news.recv().await.unwrap(), [tree.join("config/gateway.json")]);
}

#[tokio::test]
async fn a_directory_that_was_made_anew_is_watched_again() {
    let ground = ground();
    let tree = ground.make(&["config"]);
    let (teller, mut news) = teller(PENDING);
    let mut followed = ground.followed(teller).rescan(false).await;
    std::fs::remove_dir(tree.join("config")).unwrap();
    std::fs::create_dir(tree.join("config")).unwrap();
    while news.recv().await.unwrap() != [tree.join("config")] {}
    let hints = followed.concerned(&BTreeSet::from([ground.uid]), false);
    assert_eq!(hints, [HostHint::Key(ground.key.clone())]);
    std::fs::write(tree.join("config/gateway.json"), "x").unwrap();
    while news.recv().await.unwrap() != [tree.join("config/gateway.json")] {}
}

#[tokio::test]
async fn after_a_loss_everything_is_looked_at_and_watched_anew() {
    let ground = ground();
    let tree = ground.make(&["config"]);
    let (teller, mut news) = teller(PENDING);
    let followed = ground.followed(teller).rescan(false).await;
    std::fs::remove_dir_all(&tree).unwrap();
    ground.make(&["config"]);
    let mut followed = followed.rescan(true).await;
    assert_eq!(followed.concerned(&BTreeSet::new(), true), [HostHint::All]);
    std::fs::write(tree.join("config/gateway.json"), "x").unwrap();
    while news.recv().await.unwrap() != [tree.join("config/gateway.json")] {}
}

#[tokio::test]
async fn a_tree_that_is_not_ours_concerns_nobody() {
    let ground = ground();
    ground.make(&[]);
    let mut followed = ground.followed(teller(PENDING).0).rescan(false).await;
    let uids = BTreeSet::from([ground.uid, Uuid::from_u128(8)]);
    assert_eq!(followed.concerned(&uids, false), [HostHint::Key(ground.key.clone())]);
}

#[tokio::test]
async fn a_tree_that_is_made_later_is_found_by_the_event_of_its_making() {
    let ground = ground();
    let (hints, mut told) = mpsc::channel(PENDING);
    let watching = tokio::spawn(watch(Arc::clone(&ground.trees), ground.trees.root().to_owned(), hints));
    // Whether the watching has begun is not to be seen: trees are made until one is told.
    let mut uids = 100..200;
    let hint = loop {
        let uid = uids.next().expect("one of a hundred trees is told of");
        let key = GatewayKey::new(format!("u{uid}"), "default");
        ground.trees.ensure_directory(&key, Uuid::from_u128(uid), "", 0o755).unwrap();
        if let Ok(hint) = tokio::time::timeout(Duration::from_millis(100), told.recv()).await {
            break hint;
        }
    };
    assert!(matches!(hint, Some(HostHint::Key(_))), "{hint:?}");
    watching.abort();
}

#[tokio::test]
async fn a_change_of_a_secret_file_is_told_also_where_its_directory_is_made_later() {
    let ground = ground();
    let tree = ground.make(&["secrets", "secrets/time"]);
    let (teller, mut news) = teller(PENDING);
    let mut followed = ground.followed(teller).rescan(false).await;
    std::fs::write(tree.join("secrets/time/env"), "x").unwrap();
    while news.recv().await.unwrap() != [tree.join("secrets/time/env")] {}

    ground.make(&["secrets/fetch"]);
    while news.recv().await.unwrap() != [tree.join("secrets/fetch")] {}
    followed.concerned(&BTreeSet::from([ground.uid]), false);
    std::fs::write(tree.join("secrets/fetch/env"), "x").unwrap();
    while news.recv().await.unwrap() != [tree.join("secrets/fetch/env")] {}
}
