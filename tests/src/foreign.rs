//! Objects that look like Bowline's and are not: whatever Bowline does, they must stay exactly as they are.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::allot::Allotment;
use crate::engine::{Engine, INSTANCE_LABEL};

const INSTALLATION_LABEL: &str = "dev.bowline.installation";
/// Another installation than any that a database has: a well-formed id that nobody draws.
const ANOTHER_INSTALLATION: &str = "00000000-0000-7000-8000-000000000000";

/// The foreign objects on one engine and in some folders; they are removed, by id, when this is dropped.
#[derive(Debug)]
pub struct Foreigners {
    engine: Engine,
    containers: Vec<String>,
    networks: Vec<String>,
    folders: Vec<PathBuf>,
}

/// Everything that can be seen of the foreigners, for comparison with `==`.
#[derive(Debug, PartialEq)]
pub struct Portrait {
    /// The complete inspect of every container and network, by id; `null` for one that is gone.
    pub objects: BTreeMap<String, Value>,
    /// Every file and folder.
    pub files: BTreeMap<PathBuf, Entry>,
}

/// What can be seen of a file or folder.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    mode: u32,
    owner: (u32, u32),
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Empty for a folder.
    content: Vec<u8>,
}

impl Foreigners {
    /// Makes 40 near misses of the objects that this instance would make: 28 containers and 8 networks on the
    /// engine, and one folder with a file in each of up to four `roots`. `namespaces` are the users whose objects'
    /// names they resemble.
    ///
    /// # Panics
    /// With fewer than four roots, when the 40 are not reached.
    #[must_use]
    pub fn make(engine: &Engine, allotment: &Allotment, namespaces: [&str; 2], roots: [&Path; 4]) -> Self {
        let instance = allotment.instance();
        let mut all = Self {
            engine: engine.clone(),
            containers: Vec::new(),
            networks: Vec::new(),
            folders: Vec::new(),
        };
        let labels = near_miss_labels(instance);
        let names = near_miss_names(instance, namespaces);
        assert_eq!((labels.len(), names.len()), (12, 8));

        // Names without labels, and once more with the labels of Docker Compose.
        for (number, name) in names.iter().enumerate() {
            all.containers.push(engine.create_container(name, &BTreeMap::new()));
            let compose = BTreeMap::from([("com.docker.compose.project".to_owned(), "bowline".to_owned())]);
            all.containers.push(engine.create_container(&format!("{name}-{number}"), &compose));
        }
        // Labels that are almost ours.
        for (number, labels) in labels.iter().enumerate() {
            all.containers.push(engine.create_container(&format!("near-{instance}-{number}"), labels));
        }
        for (number, labels) in labels.iter().take(8).enumerate() {
            let subnet = allotment.foreign_subnet(u8::try_from(number).expect("eight"));
            let name = format!("mcp-net-{}.{number}_{instance}", namespaces[0]);
            all.networks.push(engine.create_network(&name, &subnet, labels));
        }
        for root in roots {
            let folder = root.join(format!("{instance}-near"));
            fs::create_dir_all(&folder).expect("a foreign folder");
            fs::write(folder.join("gateway.json"), "not Bowline's").expect("a foreign file");
            all.folders.push(folder);
        }
        assert_eq!(all.containers.len() + all.networks.len() + all.folders.len(), 40);
        all
    }

    /// What can be seen of all of them now.
    #[must_use]
    pub fn portrait(&self) -> Portrait {
        let containers = self.containers.iter().map(|id| (id, format!("/containers/{id}/json")));
        let networks = self.networks.iter().map(|id| (id, format!("/networks/{id}")));
        let objects = containers
            .chain(networks)
            .map(|(id, target)| {
                let reply = self.engine.call("GET", &target, b"");
                (id.clone(), if reply.status == 200 { reply.body } else { Value::Null })
            })
            .collect();
        let mut files = BTreeMap::new();
        for folder in &self.folders {
            for path in [folder.clone(), folder.join("gateway.json")] {
                if let Ok(found) = fs::metadata(&path) {
                    let entry = Entry {
                        mode: found.mode(),
                        owner: (found.uid(), found.gid()),
                        modified: (found.mtime(), found.mtime_nsec()),
                        content: fs::read(&path).unwrap_or_default(),
                    };
                    files.insert(path, entry);
                }
            }
        }
        Portrait { objects, files }
    }
}

impl Drop for Foreigners {
    fn drop(&mut self) {
        // Each may be gone already where a test has just found that it was touched.
        for id in &self.containers {
            self.engine.call("DELETE", &format!("/containers/{id}?force=true"), b"");
        }
        for id in &self.networks {
            self.engine.call("DELETE", &format!("/networks/{id}"), b"");
        }
        for folder in &self.folders {
            // A test that failed may have lost it; there is nothing to do about it here.
            let _gone = fs::remove_dir_all(folder);
        }
    }
}

/// Names as Bowline gives them, for users that this instance has no gateway of under these very names.
fn near_miss_names(instance: &str, [one, two]: [&str; 2]) -> Vec<String> {
    vec![
        format!("mcp-gateway-{one}_{instance}x"),
        format!("mcp-gateway-{one}.other_{instance}"),
        format!("mcp-gateway-{one}-{instance}"),
        format!("mcp-gateway-{two}.x_{instance}"),
        format!("mcp-server-{one}.other.time_{instance}"),
        format!("mcp-server-{two}.default.time-{instance}"),
        format!("xmcp-gateway-{one}_{instance}"),
        format!("mcp_gateway_{two}_{instance}"),
    ]
}

/// Labels of which each set lacks just what would make it ours.
fn near_miss_labels(instance: &str) -> Vec<BTreeMap<String, String>> {
    let set =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let ours = INSTANCE_LABEL;
    vec![
        // Our instance, another installation: a second database on the same engine.
        set(&[(ours, instance), (INSTALLATION_LABEL, ANOTHER_INSTALLATION)]),
        set(&[
            (ours, instance),
            (INSTALLATION_LABEL, ANOTHER_INSTALLATION),
            ("dev.bowline.role", "gateway"),
            ("dev.bowline.namespace", "u1"),
            ("dev.bowline.gateway", "default"),
            ("dev.bowline.spec-hash", "0"),
        ]),
        set(&[(ours, instance), (INSTALLATION_LABEL, "")]),
        // Another instance.
        set(&[(ours, &format!("{instance}x")), (INSTALLATION_LABEL, ANOTHER_INSTALLATION)]),
        set(&[(ours, &instance.to_uppercase()), ("dev.bowline.role", "gateway")]),
        set(&[(ours, &format!("{instance} "))]),
        set(&[(ours, "")]),
        set(&[(ours, "default"), (INSTALLATION_LABEL, ANOTHER_INSTALLATION)]),
        // Another key.
        set(&[("dev.bowline.instances", instance)]),
        set(&[("dev-bowline-instance", instance)]),
        set(&[("x.dev.bowline.instance", instance), ("dev.bowline.role", "server")]),
        set(&[("dev.bowline", instance)]),
    ]
}
