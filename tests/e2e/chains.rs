//! What is there follows from what is declared now, not from how it came to be declared: random chains of edits end
//! in the same containers, networks, files and leases as their last specification does on an instance that has never
//! seen another.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Instant;

use bowline_tests::bowline::Bowline;
use bowline_tests::figures;
use bowline_tests::image::MadeImage;
use bowline_tests::postgres::Postgres;
use bowline_tests::snapshot::Snapshot;
use bowline_tests::wait;

use crate::support::{LIGHT, PATIENCE, all_ready, catalog, entry, gateway_image, settled};

/// How many gateways are edited, each in a namespace of its own.
const CHAINS: usize = 20;
/// How often each of them is edited.
const EDITS: usize = 5;
/// What may be behind a gateway: of the catalog of all, and one of the namespace's own.
const SERVERS: [&str; 3] = ["alone", "online", "own"];

/// A generator whose whole state is a number that can be printed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).expect("a small number"))
            .expect("smaller than that")
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// One server of a gateway: its further fields, by name, as text.
#[derive(Clone)]
struct Server {
    name: &'static str,
    fields: [&'static str; 4],
}

/// One gateway as it is declared.
#[derive(Clone)]
struct Declared {
    namespace: String,
    servers: Vec<Server>,
    /// Tools of the namespace's own server.
    own_tools: &'static str,
    /// Fields of the Gateway, as text.
    fields: [&'static str; 3],
    other_image: bool,
    suspended: bool,
}

impl Declared {
    fn first(namespace: String) -> Self {
        let servers = vec![Server { name: "alone", fields: [""; 4] }];
        Self { namespace, servers, own_tools: "pid", fields: [""; 3], other_image: false, suspended: false }
    }

    fn edit(&mut self, random: &mut Random) {
        match random.below(8) {
            0 | 1 => {
                let name = random.of(&SERVERS);
                let before = self.servers.len();
                self.servers.retain(|server| server.name != name);
                if self.servers.len() == before {
                    self.servers.push(Server { name, fields: [""; 4] });
                }
            }
            2 => self.servers.reverse(),
            3 | 4 => self.edit_a_server(random),
            5 => {
                let field = random.below(3);
                self.fields[field] = match field {
                    0 => random.of(&["", "resources: { limits: { memory: 300Mi, pids: 100 } },"]),
                    1 => random.of(&[
                        "",
                        "serverDefaults: { resources: { limits: { memory: 96Mi } } },",
                        "serverDefaults: { profile: baseline },",
                    ]),
                    _ => random.of(&["", "progressDeadlineSeconds: 30,"]),
                };
            }
            6 => self.own_tools = random.of(&["pid", "env", "error"]),
            _ => match random.below(2) {
                0 => self.suspended = !self.suspended,
                _ => self.other_image = !self.other_image,
            },
        }
    }

    fn edit_a_server(&mut self, random: &mut Random) {
        if self.servers.is_empty() {
            return;
        }
        let server = random.below(self.servers.len());
        let field = random.below(4);
        self.servers[server].fields[field] = match field {
            0 => random.of(&["", ", enabled: false"]),
            1 => random.of(&[
                "",
                ", resources: { limits: { memory: 64Mi, cpu: 500m } }",
                ", resources: { requests: { cpu: 250m }, limits: { pids: 32 } }",
            ]),
            2 => random.of(&["", ", profile: baseline"]),
            _ => random.of(&["", ", tools: { allow: [echo] }", ", tools: { deny: [pid] }"]),
        };
    }

    fn text(&self, other_image: &str) -> String {
        let Self { namespace, servers, own_tools, fields, other_image: other, suspended } = self;
        let own =
            entry(LIGHT, &format!("disableNetwork: true, prefix: own, command: [--tools, {own_tools}]"));
        let servers: Vec<_> = servers
            .iter()
            .map(|Server { name, fields }| format!("{{ name: {name}{} }}", fields.concat()))
            .collect();
        let image = if *other { format!("image: '{other_image}',") } else { String::new() };
        format!(
            "---\napiVersion: bowline.dev/v1alpha1\nkind: Catalog\nmetadata: {{ namespace: {namespace}, name: own }}\n\
             spec: {{ registry: {{ own: {own} }} }}\n\
             ---\napiVersion: bowline.dev/v1alpha1\nkind: Gateway\n\
             metadata: {{ namespace: {namespace}, name: default }}\n\
             spec: {{ suspend: {suspended}, {} {image} catalogs: [base, {{ kind: Catalog, name: own }}], \
             servers: [{}] }}\n",
            fields.concat(),
            servers.join(", ")
        )
    }
}

fn base() -> String {
    catalog(&[
        ("alone", entry(LIGHT, "disableNetwork: true, prefix: alone, command: [--tools, 'echo,pid']")),
        ("online", entry(LIGHT, "prefix: online, command: [--tools, 'echo,env']")),
    ])
}

/// An instance with an empty Postgres. Fields are dropped in this order.
struct Rig {
    bowline: Bowline,
    postgres: Postgres,
}

impl Rig {
    fn start() -> Self {
        let postgres = Postgres::start();
        let mut bowline = Bowline::new().on(&postgres).with("concurrency", "4");
        bowline.start();
        Self { bowline, postgres }
    }

    fn apply(&self, all: &[Declared], image: &str) {
        let texts: String = all.iter().map(|one| one.text(image)).collect();
        self.bowline.apply(&(base() + &texts));
    }

    fn settled(&self, all: &[Declared]) {
        let namespaces: Vec<_> = all.iter().map(|one| one.namespace.as_str()).collect();
        all_ready(&self.bowline, &namespaces);
        namespaces.iter().for_each(|namespace| settled(&self.bowline, namespace));
    }

    fn picture(&self) -> Snapshot {
        Snapshot::take(&self.bowline, &self.postgres).of_specification()
    }
}

/// `BOWLINE_SEED`, or any number.
fn seed() -> u64 {
    match std::env::var("BOWLINE_SEED") {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => RandomState::new().build_hasher().finish(),
    }
}

#[test]
fn a_chain_of_edits_ends_as_its_last_specification_begins() {
    let seed = seed();
    figures::note("chains", &format!("seed {seed}"));
    let begin = Instant::now();
    let mut random = Random(seed);
    let image = MadeImage::from(&gateway_image(), "");
    let edited = Rig::start();
    let mut all: Vec<_> = (1..=CHAINS).map(|number| Declared::first(format!("c{number}"))).collect();
    edited.apply(&all, image.reference());
    edited.settled(&all);
    for round in 0..EDITS {
        all.iter_mut().for_each(|one| one.edit(&mut random));
        edited.apply(&all, image.reference());
        // Now and then an edit meets what the one before has not finished.
        if round % 2 == 1 {
            let ready: Vec<_> = all.iter().filter(|one| !one.suspended).cloned().collect();
            edited.settled(&ready);
        }
    }
    // What is suspended depends on what ran before, by design.
    all.iter_mut().for_each(|one| one.suspended = false);
    edited.apply(&all, image.reference());
    edited.settled(&all);
    let after_edits = edited.picture();
    let chains = begin.elapsed().as_secs_f64();

    let fresh = Rig::start();
    fresh.apply(&all, image.reference());
    fresh.settled(&all);
    let expected = fresh.picture();
    let mut difference = expected.difference(&after_edits);
    // What is given back or cleared away last is so a moment after the status.
    wait::reached(PATIENCE, || {
        difference = expected.difference(&edited.picture());
        difference.is_empty()
    });
    assert!(difference.is_empty(), "seed {seed}; - fresh, + after the edits:\n{difference}");
    figures::note(
        "chains",
        &format!(
            "{CHAINS} chains of {} edits end as a fresh create ({} objects); {chains:.0} s for the chains, {:.0} s in all",
            EDITS + 1,
            expected.len(),
            begin.elapsed().as_secs_f64()
        ),
    );
}
