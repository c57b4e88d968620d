//! The spec directory in front of a real Postgres: what is in the files is what is declared.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bowline_core::object::{Kind, ObjectKey};
use tempfile::TempDir;

use super::*;
use crate::Permit;

mod force;
mod removal;
mod secrets;

/// A directory that is followed, and the API beside it.
struct Followed {
    fixture: Fixture,
    folder: TempDir,
    directory: SpecDirectory,
    permit: Option<Permit>,
}

impl Followed {
    async fn start(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("specs");
        fs::create_dir(&path).unwrap();
        let directory = SpecDirectory::new(path);
        let fixture = Fixture::following(Some(directory.clone())).await;
        let mut followed = Followed { fixture, folder, directory, permit: None };
        for (name, text) in files {
            followed.write(name, text);
        }
        followed.go_on();
        followed
    }

    /// Lets the loop work, as a start of the daemon does.
    fn go_on(&mut self) {
        self.permit = Some(self.directory.permit());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("specs").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        write(&self.path(name), text);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Makes the file one that was written last at this time.
    fn date(&self, name: &str, modified: SystemTime) {
        let file = fs::File::options().write(true).open(self.path(name)).unwrap();
        file.set_modified(modified).unwrap();
    }

    /// Makes the file one that was written long ago.
    fn age(&self, name: &str) {
        self.date(name, SystemTime::now() - Duration::from_secs(3600));
    }

    async fn specs(&self) -> Value {
        let (status, specs) = self.fixture.get("/v1/specs").await;
        assert_eq!(status, StatusCode::OK, "{specs:#}");
        specs
    }

    /// Looks until the files are in these states, no more and no less; gives what is told of them.
    async fn until(&self, states: &[(&str, &str)]) -> Value {
        let wanted: Vec<_> =
            states.iter().map(|(file, state)| ((*file).to_owned(), (*state).to_owned())).collect();
        self.until_true(|specs| files(specs) == wanted).await
    }

    async fn until_true(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let specs = self.specs().await;
            if holds(&specs) {
                return specs;
            }
            assert!(begun.elapsed() < SOON, "{specs:#}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// What is declared: key, uid, generation and holder of each object.
    async fn objects(&self) -> Vec<(String, String, i64, String)> {
        let mut objects = Vec::new();
        for kind in Kind::ALL {
            for stored in self.fixture.store.list(kind, None).await.unwrap().items {
                let meta = stored.metadata;
                if meta.deletion_timestamp.is_none() {
                    objects.push((
                        meta.key.to_string(),
                        meta.uid.to_string(),
                        meta.generation,
                        meta.managed_by,
                    ));
                }
            }
        }
        objects
    }

    async fn keys(&self) -> Vec<String> {
        self.objects().await.into_iter().map(|(key, ..)| key).collect()
    }

    /// Looks until exactly these objects are declared.
    async fn until_keys(&self, keys: &[&str]) {
        let begun = std::time::Instant::now();
        while self.keys().await != keys {
            assert!(begun.elapsed() < SOON, "{:?}\n{:#}", self.keys().await, self.specs().await);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// A file comes and goes, and its object with it: whatever was due before has been done by then.
    async fn one_removal_later(&self) {
        self.write("sentinel.yaml", &named_catalog("sentinel"));
        self.until_true(|specs| files(specs).contains(&("sentinel.yaml".to_owned(), "Applied".to_owned())))
            .await;
        self.remove("sentinel.yaml");
        let begun = std::time::Instant::now();
        while self.fixture.store.get(&ObjectKey::cluster_catalog("sentinel")).await.unwrap().is_some() {
            assert!(begun.elapsed() < SOON, "{:#}", self.specs().await);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn end(mut self) {
        self.permit = None;
        self.fixture.end().await;
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn files(specs: &Value) -> Vec<(String, String)> {
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    specs["items"].as_array().unwrap().iter().map(|item| (text(item, "file"), text(item, "state"))).collect()
}

fn message<'s>(specs: &'s Value, file: &str) -> &'s str {
    let items = specs["items"].as_array().unwrap();
    items.iter().find(|item| item["file"] == file).unwrap()["message"].as_str().unwrap_or_default()
}

fn named_catalog(name: &str) -> String {
    CATALOG.replace("name: base", &format!("name: {name}"))
}

#[tokio::test]
async fn files_refer_to_each_other_in_any_order_and_are_followed() {
    let (u1, u2) = (gateway("u1", "time"), gateway("u2", "fetch"));
    let followed = Followed::start(&[("a.yaml", &u1), ("team/u2.yml", &u2), ("z.yaml", CATALOG)]).await;
    followed.until(&[("a.yaml", "Applied"), ("team/u2.yml", "Applied"), ("z.yaml", "Applied")]).await;
    let objects = followed.objects().await;
    let holders: Vec<_> = objects.iter().map(|(key, _, _, holder)| (key.as_str(), holder.as_str())).collect();
    assert_eq!(
        holders,
        [
            ("clustercatalog/base", "file:z.yaml"),
            ("gateway/u1/default", "file:a.yaml"),
            ("gateway/u2/default", "file:team/u2.yml"),
        ]
    );

    // An editor that replaces the file; a document more; a file gone with what it alone declared.
    followed.write("a.yaml.tmp", &format!("{}\n---{}", gateway("u1", "fetch"), gateway("u3", "time")));
    fs::rename(followed.path("a.yaml.tmp"), followed.path("a.yaml")).unwrap();
    followed.remove("team/u2.yml");
    followed.until_keys(&["clustercatalog/base", "gateway/u1/default", "gateway/u3/default"]).await;
    let changed = followed.objects().await;
    assert_eq!((&changed[0], &changed[1].1, changed[1].2), (&objects[0], &objects[1].1, 2));

    // A document taken out of a file goes, the others of the file stay.
    followed.write("a.yaml", &gateway("u1", "fetch"));
    followed.age("a.yaml");
    followed.until_keys(&["clustercatalog/base", "gateway/u1/default"]).await;
    assert_eq!(followed.objects().await, changed[..2]);
    followed.end().await;
}

#[tokio::test]
async fn what_is_so_already_is_not_written_over_a_restart_either() {
    let mut followed = Followed::start(&[("base.yaml", CATALOG), ("u1.yaml", &gateway("u1", "time"))]).await;
    let told = followed.until(&[("base.yaml", "Applied"), ("u1.yaml", "Applied")]).await;
    let version = followed.fixture.store.list(Kind::Gateway, None).await.unwrap().version;
    followed.permit = None;
    followed.go_on();
    followed.one_removal_later().await;
    // The sentinel was written and removed; nothing else was.
    assert_eq!(followed.fixture.store.list(Kind::Gateway, None).await.unwrap().version, version + 2);
    assert_eq!(followed.until(&[("base.yaml", "Applied"), ("u1.yaml", "Applied")]).await, told);
    followed.end().await;
}

#[tokio::test]
async fn a_file_that_says_nothing_good_keeps_its_last_good_state_and_its_neighbours_go_on() {
    let (u1, u2, u3) = (gateway("u1", "time"), gateway("u2", "time"), gateway("u3", "time"));
    let followed =
        Followed::start(&[("base.yaml", CATALOG), ("u1.yaml", &u1), ("u2.yaml", &u2), ("u3.yaml", &u3)])
            .await;
    followed
        .until_keys(&[
            "clustercatalog/base",
            "gateway/u1/default",
            "gateway/u2/default",
            "gateway/u3/default",
        ])
        .await;
    let before = followed.objects().await;

    followed.write("u1.yaml", &u1.replace("servers", "severs"));
    followed.write("u2.yaml", &gateway("u2", "tiem"));
    followed.remove("u3.yaml");
    rustix::fs::mkfifoat(rustix::fs::CWD, followed.path("u3.yaml"), rustix::fs::Mode::RUSR).unwrap();
    followed.write("bomb.yaml", &bomb());
    // A text that Postgres would not store.
    followed.write("nul.yaml", "apiVersion: bowline.dev/v1alpha1\nkind: \"a\\0\\e[2J\"\n");
    followed.write("u4.yaml", &gateway("u4", "fetch"));
    let told = followed
        .until(&[
            ("base.yaml", "Applied"),
            ("bomb.yaml", "Invalid"),
            ("nul.yaml", "Invalid"),
            ("u1.yaml", "Invalid"),
            ("u2.yaml", "Invalid"),
            ("u3.yaml", "Unreadable"),
            ("u4.yaml", "Applied"),
        ])
        .await;
    assert!(message(&told, "u1.yaml").contains("severs"), "{told:#}");
    assert!(message(&told, "u2.yaml").contains("tiem"), "{told:#}");
    assert!(message(&told, "u3.yaml").contains("FIFO"), "{told:#}");
    assert!(message(&told, "nul.yaml").contains(r"a\u{0}\u{1b}[2J"), "{told:#}");
    assert_eq!(told["items"][3]["diagnostics"][0]["file"], "u1.yaml");
    followed.one_removal_later().await;
    assert_eq!(followed.objects().await[..4], before);
    followed.end().await;
}

/// Aliases of aliases: a few lines that would be read as a billion values.
fn bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    text
}

#[tokio::test]
async fn of_two_files_that_declare_one_object_the_first_keeps_it_and_the_second_takes_over() {
    let (both, own) = (gateway("u1", "fetch") + "---" + &gateway("u2", "time"), gateway("u1", "time"));
    let mut followed = Followed::start(&[("base.yaml", CATALOG), ("m.yaml", &own)]).await;
    followed.until(&[("base.yaml", "Applied"), ("m.yaml", "Applied")]).await;
    let before = followed.objects().await;
    followed.write("a.yaml", &both);
    let states = [("a.yaml", "Conflict"), ("base.yaml", "Applied"), ("m.yaml", "Applied")];
    let told = followed.until(&states).await;
    assert_eq!(message(&told, "a.yaml"), "gateway/u1/default is held by m.yaml");
    // Over a restart, where the second comes first in every order.
    followed.permit = None;
    followed.go_on();
    followed.one_removal_later().await;
    followed.until(&states).await;
    assert_eq!(followed.objects().await, before);

    followed.remove("m.yaml");
    followed.until(&[("a.yaml", "Applied"), ("base.yaml", "Applied")]).await;
    let after = followed.objects().await;
    let (key, uid, generation, holder) = &after[1];
    assert_eq!((key, uid), (&before[1].0, &before[1].1), "never removed");
    assert_eq!((*generation, holder.as_str()), (2, "file:a.yaml"));
    assert_eq!(after[2].0, "gateway/u2/default");
    followed.end().await;
}

#[tokio::test]
async fn files_that_exchange_their_objects_do_not_wait_for_each_other() {
    let text = |user: &str, server: &str| gateway(user, server);
    let (u1, u2, u3) = (text("u1", "time"), text("u2", "time"), text("u3", "time"));
    let followed =
        Followed::start(&[("a.yaml", &u1), ("b.yaml", &u2), ("base.yaml", CATALOG), ("c.yaml", &u3)]).await;
    let applied =
        [("a.yaml", "Applied"), ("b.yaml", "Applied"), ("base.yaml", "Applied"), ("c.yaml", "Applied")];
    followed.until(&applied).await;
    let before = followed.objects().await;
    for (file, user) in [("a.yaml", "u2"), ("b.yaml", "u3"), ("c.yaml", "u1")] {
        followed.write(file, &text(user, "fetch"));
    }
    let holds = |specs: &Value, item: usize, user: &str| {
        let item = &specs["items"][item];
        item["state"] == "Applied" && item["objects"][0]["namespace"] == user
    };
    followed
        .until_true(|specs| holds(specs, 0, "u2") && holds(specs, 1, "u3") && holds(specs, 3, "u1"))
        .await;
    let after = followed.objects().await;
    for (before, after) in before.iter().zip(&after).skip(1) {
        assert_eq!((&before.0, &before.1, before.2 + 1), (&after.0, &after.1, after.2));
    }
    let holders: Vec<_> = after.iter().map(|(_, _, _, holder)| holder.as_str()).collect();
    assert_eq!(holders, ["file:base.yaml", "file:c.yaml", "file:a.yaml", "file:b.yaml"]);
    followed.end().await;
}

#[tokio::test]
async fn a_renamed_file_changes_the_holder_and_nothing_else_even_when_it_is_wrong() {
    let (u1, u2) = (gateway("u1", "time"), gateway("u2", "time"));
    let followed = Followed::start(&[("base.yaml", CATALOG), ("u1.yaml", &u1), ("u2.yaml", &u2)]).await;
    followed.until(&[("base.yaml", "Applied"), ("u1.yaml", "Applied"), ("u2.yaml", "Applied")]).await;
    followed.write("u2.yaml", "kind: [\n");
    followed.until(&[("base.yaml", "Applied"), ("u1.yaml", "Applied"), ("u2.yaml", "Invalid")]).await;
    let before = followed.objects().await;
    for (from, to) in [("base.yaml", "z.yaml"), ("u1.yaml", "team.yaml"), ("u2.yaml", "two.yaml")] {
        fs::rename(followed.path(from), followed.path(to)).unwrap();
    }
    followed.until(&[("team.yaml", "Applied"), ("two.yaml", "Invalid"), ("z.yaml", "Applied")]).await;
    followed.one_removal_later().await;
    let after = followed.objects().await;
    let holders: Vec<_> = after.iter().map(|(_, _, _, holder)| holder.as_str()).collect();
    assert_eq!(holders, ["file:z.yaml", "file:team.yaml", "file:two.yaml"]);
    let rest = |objects: &[(String, String, i64, String)]| {
        objects
            .iter()
            .map(|(key, uid, generation, _)| (key.clone(), uid.clone(), *generation))
            .collect::<Vec<_>>()
    };
    assert_eq!(rest(&after), rest(&before));
    followed.end().await;
}
