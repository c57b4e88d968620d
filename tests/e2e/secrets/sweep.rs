//! Looking everywhere for texts that must be nowhere: in what the Engine keeps and tells, in every process of the
//! machine, in the database, in files, and in what Bowline logs and prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::id;
use bowline_tests::postgres::Postgres;

use crate::support::docker;

/// A text, and the forms in which it would still be readable.
pub(crate) struct Needle(Vec<Vec<u8>>);

impl Needle {
    /// Looks for whatever begins with `text`.
    pub(crate) fn of(text: &str) -> Self {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        Self([text.to_owned(), hex, base64_beginning(text)].map(String::into_bytes).to_vec())
    }

    fn is_in(&self, content: &[u8]) -> bool {
        self.0.iter().any(|form| contains(content, form))
    }
}

/// The base64 of what begins with `text`, as far as what follows cannot change it.
fn base64_beginning(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (groups, _) = text.as_bytes().as_chunks::<3>();
    let digits = groups.iter().flat_map(|[a, b, c]| {
        let bits = u32::from_be_bytes([0, *a, *b, *c]);
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift) as usize & 63]))
    });
    digits.collect()
}

fn contains(content: &[u8], text: &[u8]) -> bool {
    let first = text[0];
    let mut rest = content;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Everything that is looked at, by a name for people, and how much of it there was.
pub(crate) struct Sweep<'a> {
    needle: &'a Needle,
    found: BTreeSet<String>,
    places: usize,
    bytes: usize,
}

impl<'a> Sweep<'a> {
    /// Looks at everything that has to do with this instance, and at every process of the machine.
    pub(crate) fn over(bowline: &Bowline, postgres: &Postgres, needle: &'a Needle) -> Self {
        let mut sweep = Sweep { needle, found: BTreeSet::new(), places: 0, bytes: 0 };
        let roles = sweep.engine(bowline);
        sweep.processes(&roles);
        sweep.look("pg_dump", postgres.dump().as_bytes());
        for folder in [postgres.folder(), bowline.state_dir(), bowline.runtime_dir()] {
            sweep.files(folder, folder);
        }
        sweep.look("the log of serve", bowline.log().as_bytes());
        sweep.words(bowline);
        sweep
    }

    /// Where it was found.
    pub(crate) fn found(&self) -> Vec<&str> {
        self.found.iter().map(String::as_str).collect()
    }

    /// How much was looked at.
    pub(crate) fn size(&self) -> String {
        format!("{} places, {} MiB", self.places, self.bytes >> 20)
    }

    fn look(&mut self, name: &str, content: &[u8]) {
        self.places += 1;
        self.bytes += content.len();
        if self.needle.is_in(content) {
            self.found.insert(name.to_owned());
        }
    }

    /// What the Engine tells of our containers and networks and keeps about them, and what they have logged. Returns
    /// the ids of the containers with what each is for.
    fn engine(&mut self, bowline: &Bowline) -> BTreeMap<String, String> {
        let (engine, instance) = (bowline.engine(), bowline.allotment().instance());
        let root = engine.get("/info")["DockerRootDir"].as_str().expect("a directory").to_owned();
        let mut roles = BTreeMap::new();
        for listed in engine.containers_of(instance) {
            let own = id(&listed).to_owned();
            let role = listed["Labels"]["dev.bowline.server"].as_str().unwrap_or("gateway").to_owned();
            self.look(&format!("the list entry of {role}"), listed.to_string().as_bytes());
            let inspected = engine.inspect_container(&own).to_string();
            self.look(&format!("docker inspect of {role}"), inspected.as_bytes());
            let logged = docker(["logs", &own]);
            self.look(&format!("docker logs of {role}"), (logged.stdout + &logged.stderr).as_bytes());
            let kept = Path::new(&root).join("containers").join(&own);
            assert!(kept.is_dir(), "{} tells of no container", kept.display());
            self.files(&kept, &kept);
            roles.insert(own, role);
        }
        for listed in engine.networks_of(instance) {
            let inspected = engine.inspect_network(id(&listed)).to_string();
            self.look("docker network inspect", inspected.as_bytes());
        }
        roles
    }

    /// Arguments and environment of every process of the machine.
    fn processes(&mut self, roles: &BTreeMap<String, String>) {
        for entry in fs::read_dir("/proc").expect("/proc").filter_map(Result::ok) {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end at any moment.
            let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
            let cgroup = String::from_utf8_lossy(&read("cgroup")).into_owned();
            let container = roles.iter().find(|(id, _)| cgroup.contains(id.as_str()));
            let whose = container.map_or_else(|| format!("process {pid}"), |(_, role)| role.clone());
            self.look(&format!("the arguments of {whose}"), &read("cmdline"));
            self.look(&format!("the environment of {whose}"), &read("environ"));
        }
    }

    /// Every regular file below a folder.
    fn files(&mut self, folder: &Path, root: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.filter_map(Result::ok) {
            let (path, kind) = (entry.path(), entry.file_type());
            let Ok(kind) = kind else { continue };
            if kind.is_dir() {
                self.files(&path, root);
            } else if kind.is_file() {
                // Postgres removes files of its own at any moment.
                let content = fs::read(&path).unwrap_or_default();
                let below = path.strip_prefix(root).expect("it is below").display().to_string();
                self.look(&format!("file {below}"), &content);
            }
        }
    }

    /// What the command line prints.
    fn words(&mut self, bowline: &Bowline) {
        let commands: [&[&str]; 14] = [
            &["events", "-A"],
            &["events", "-A", "-o", "json"],
            &["describe", "gateway/u1/default"],
            &["get", "gateways", "-A", "-o", "yaml"],
            &["get", "gateways", "-A", "-o", "json"],
            &["get", "secrets", "-A"],
            &["get", "secrets", "-A", "-o", "yaml"],
            &["get", "secrets", "-A", "-o", "json"],
            &["describe", "secret/u1/one"],
            &["secret", "list", "-A"],
            &["secret", "list", "-A", "-o", "yaml"],
            &["get", "clustercatalogs", "-o", "yaml"],
            &["tools", "u1"],
            &["logs", "u1"],
        ];
        for command in commands {
            let said = bowline.cli(command);
            self.look(
                &format!("bowline {}", command.join(" ")),
                (said.clone().ok() + &said.stderr).as_bytes(),
            );
        }
    }
}
