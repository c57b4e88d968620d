//! Fresh create equals any chain of edits that ends in the same specification, whatever happens in between.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proptest::prelude::*;
use proptest::sample::select;

use self::life::{Cut, Life};
use super::*;
use crate::catalog::ServerEntry;
use crate::desired::{Declared, Requests};
use crate::lease::{Holder, LeaseKind, LeaseSlot};
use crate::observed::ImageFacts;
use crate::resource::{
    CatalogRef, Cpu, GatewaySpec, Memory, Mode, Profile, Resources, SecretBinding, SecretKeyRef, SecretRef,
    ServerDefaults, ServerSpec, Transport, ValueFrom,
};
use crate::secret::{KeyFacts, SecretFacts};
use crate::testing::settings;

mod damage;
mod life;

use damage::{Damage, damage};

/// Number of chains; each has up to [`EDITS`] edits.
const CHAINS: u32 = 1000;
/// How many edits a chain has.
const EDITS: RangeInclusive<usize> = 1..=12;
/// The registry keys of both catalogs; in the order in which every chain ends.
const SERVERS: [&str; 3] = ["time", "fetch", "files"];
/// The catalogs, in the order in which every chain begins.
const CATALOGS: [&str; 2] = ["base", "team"];

/// A catalog entry, as far as edits reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    /// 0 is the image that every entry has at first.
    image: u8,
    command: Option<u8>,
    /// A template that takes the server's configuration.
    env: bool,
    network: bool,
    volume: Option<bool>,
    prefix: bool,
    remote: bool,
    /// A secret that is wanted.
    secret: bool,
    /// Something that keeps any container from being made.
    broken: bool,
}

impl Entry {
    fn image(&self, server: &str) -> String {
        format!("mcp/{server}:{}", self.image)
    }

    fn document(&self, server: &str) -> serde_json::Value {
        let Entry { image: _, command, env, network, volume, prefix, remote, secret, broken } = self;
        let mut document = serde_json::json!({ "type": "server" });
        if *remote {
            document["remote"] = serde_json::json!({
                "url": format!("https://{server}.example.com/mcp"), "transport_type": "streamable-http",
            });
        } else {
            document["image"] = self.image(server).into();
            document["disableNetwork"] = (!network).into();
        }
        if let Some(command) = command {
            document["command"] = serde_json::json!([format!("--level={command}")]);
        }
        if *env {
            let value = format!("{{{{{server}.zone|or:UTC}}}}");
            document["env"] = serde_json::json!([{ "name": "ZONE", "value": value }]);
        }
        if let Some(read_only) = volume {
            let mode = if *read_only { ":ro" } else { "" };
            document["volumes"] = serde_json::json!([format!("data:/data{mode}")]);
        }
        if *prefix {
            document["prefix"] = server.into();
        }
        if *secret && !remote {
            document["secrets"] = serde_json::json!([{ "name": "key", "env": "KEY" }]);
        }
        if *broken {
            document["user"] = "0".into();
        }
        document
    }
}

/// One edit of what is declared.
#[derive(Debug, Clone)]
enum Edit {
    /// Which catalogs there are, and in which order.
    Catalogs(Vec<usize>),
    Entry(usize, usize, Entry),
    /// Which servers there are, and in which order.
    Servers(Vec<usize>),
    Enabled(usize, Option<bool>),
    Config(usize, Option<u8>),
    ServerResources(usize, Resources),
    Profile(usize, Option<Profile>),
    Tools(usize, Option<u8>),
    /// Which Secrets are looked at, by number, first one first.
    SecretRefs(Vec<usize>),
    /// From which Secret a server's own secret comes.
    Binding(usize, Option<usize>),
    /// The version of the value that a Secret has.
    Secret(usize, Option<i64>),
    DefaultResources(Resources),
    DefaultProfile(Option<Profile>),
    GatewayResources(Resources),
    GatewayImage(Option<u8>),
    Mode(Option<Mode>),
    Transport(Option<Transport>),
    Port(Option<u16>),
    Deadline(Option<u32>),
    Suspend(Option<bool>),
    /// The host turned out to use a number.
    Lease(LeaseKind),
    Tokens,
    /// Of a server, the gateway, or everything.
    Restart(usize),
    Retry(usize),
    /// The tag of a server's image names another image from now on.
    Tag(usize),
}

/// What happens after an edit.
#[derive(Debug, Clone)]
enum Happening {
    /// A run that is cut off, or is not.
    Run(Cut),
    /// A run and the gateway's answer to it.
    Answered,
    Damage(Damage),
    /// Seconds.
    Time(i64),
}

/// Servers whose image has this number never answer, and a gateway of it neither.
const BAD: u8 = 3;

fn entry() -> impl Strategy<Value = Entry> {
    let volume = proptest::option::weighted(0.3, any::<bool>());
    let command = proptest::option::of(0..2_u8);
    let rare = || proptest::bool::weighted(0.1);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), rare(), rare());
    (0..=BAD, command, volume, flags).prop_map(
        |(image, command, volume, (env, network, prefix, secret, remote, broken))| Entry {
            image,
            command,
            env,
            network,
            volume,
            prefix,
            remote,
            secret,
            broken,
        },
    )
}

fn resources() -> impl Strategy<Value = Resources> {
    let option = |range| proptest::option::of(range);
    let requests = (option(1..4_u32), option(1..4_u32));
    (requests, option(1..4_u32), option(1..4_u32), option(1..4_u32)).prop_map(
        |(requests, cpu, memory, pids)| {
            let mut resources = Resources::default();
            resources.requests.cpu = requests.0.map(|n| Cpu::from_millis(n * 100));
            resources.requests.memory = requests.1.map(|n| Memory::from_mib(u64::from(n)));
            resources.limits.cpu = cpu.map(|n| Cpu::from_millis(n * 500));
            resources.limits.memory = memory.map(|n| Memory::from_mib(u64::from(n) * 64));
            resources.limits.pids = pids.map(|n| n * 10);
            resources
        },
    )
}

fn edit() -> impl Strategy<Value = Edit> {
    let server = || 0..SERVERS.len();
    let profile = || proptest::option::of(select(&[Profile::Baseline, Profile::Restricted][..]));
    let some_of = |count: usize| {
        proptest::sample::subsequence((0..count).collect::<Vec<_>>(), 0..=count).prop_shuffle()
    };
    let flag = || proptest::option::of(any::<bool>());
    prop_oneof![
        1 => some_of(CATALOGS.len()).prop_map(Edit::Catalogs),
        4 => (0..CATALOGS.len(), server(), entry()).prop_map(|(layer, server, entry)| Edit::Entry(layer, server, entry)),
        2 => some_of(SERVERS.len()).prop_map(Edit::Servers),
        1 => (server(), flag()).prop_map(|(server, enabled)| Edit::Enabled(server, enabled)),
        2 => (server(), proptest::option::of(0..3_u8)).prop_map(|(server, zone)| Edit::Config(server, zone)),
        1 => (server(), resources()).prop_map(|(server, resources)| Edit::ServerResources(server, resources)),
        1 => (server(), profile()).prop_map(|(server, profile)| Edit::Profile(server, profile)),
        1 => (server(), proptest::option::of(0..3_u8)).prop_map(|(server, tools)| Edit::Tools(server, tools)),
        1 => some_of(2).prop_map(Edit::SecretRefs),
        1 => (server(), proptest::option::of(0..2_usize)).prop_map(|(server, of)| Edit::Binding(server, of)),
        4 => (0..2_usize, proptest::option::weighted(0.8, 1..4_i64)).prop_map(|(of, version)| Edit::Secret(of, version)),
        1 => resources().prop_map(Edit::DefaultResources),
        1 => profile().prop_map(Edit::DefaultProfile),
        1 => resources().prop_map(Edit::GatewayResources),
        2 => proptest::option::of(1..=BAD).prop_map(Edit::GatewayImage),
        1 => proptest::option::of(Just(Mode::Static)).prop_map(Edit::Mode),
        1 => proptest::option::of(Just(Transport::StreamableHttp)).prop_map(Edit::Transport),
        1 => proptest::option::of(30_000..30_003_u16).prop_map(Edit::Port),
        1 => proptest::option::of(select(&[30, 90][..])).prop_map(Edit::Deadline),
        1 => flag().prop_map(Edit::Suspend),
        1 => select(&[LeaseKind::Port, LeaseKind::Uid, LeaseKind::Subnet][..]).prop_map(Edit::Lease),
        1 => Just(Edit::Tokens),
        1 => (0..SERVERS.len() + 2).prop_map(Edit::Restart),
        1 => (0..SERVERS.len() + 2).prop_map(Edit::Retry),
        1 => server().prop_map(Edit::Tag),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => life::cut().prop_map(Happening::Run),
        2 => Just(Happening::Answered),
        1 => damage().prop_map(Happening::Damage),
        1 => (1..100_i64).prop_map(Happening::Time),
    ]
}

/// Where `bowline restart` and `retry` count: a server, the gateway, or everything.
fn request(declared: &mut Declared, number: usize) -> &mut Requests {
    let key = match SERVERS.get(number) {
        Some(server) => format!("server:{server}"),
        None if number == SERVERS.len() => "gateway".to_owned(),
        None => "*".to_owned(),
    };
    declared.requests.entry(key).or_default()
}

/// Name of a Secret.
fn secret(number: usize) -> String {
    format!("secret-{number}")
}

/// The image of this name; an id names itself.
fn image(name: &str) -> ImageFacts {
    let digest = crate::step::Content(name.to_owned()).sha256();
    let id = if name.starts_with("sha256:") { name.to_owned() } else { format!("sha256:{digest}") };
    let command = vec!["serve".to_owned()];
    ImageFacts { id, command, ..ImageFacts::default() }
}

/// A field that is not named here is one that no chain edits.
fn every_field_is_edited(spec: &GatewaySpec) {
    let GatewaySpec {
        catalogs: _,
        servers: _,
        server_defaults: ServerDefaults { resources: _, profile: _ },
        secret_refs: _,
        mode: _,
        transport: _,
        resources: _,
        image: _,
        port: _,
        progress_deadline_seconds: _,
        suspend: _,
    } = spec;
    for ServerSpec { name: _, enabled: _, config: _, resources: _, profile: _, tools: _, secrets: _ } in
        &spec.servers
    {}
}

impl Life {
    fn edit(&mut self, edit: Edit) {
        let declared = &mut self.declared;
        declared.metadata.generation += 1;
        let spec = &mut declared.spec;
        let of = |server: usize| SERVERS[server];
        match edit {
            Edit::Catalogs(order) => {
                spec.catalogs = order.iter().map(|n| CatalogRef::Cluster(CATALOGS[*n].to_owned())).collect();
            }
            Edit::Entry(layer, server, entry) => {
                let document = entry.document(of(server));
                let registry = &mut self.catalogs[layer].1.registry;
                registry.insert(of(server).to_owned(), ServerEntry::from_json(&document).unwrap());
                self.entries.insert((layer, server), entry);
            }
            Edit::Servers(order) => {
                let before = std::mem::take(&mut spec.servers);
                let find = |name: &str| before.iter().find(|server| server.name == name).cloned();
                let new = |name: &str| ServerSpec { name: name.to_owned(), ..ServerSpec::default() };
                spec.servers = order.iter().map(|n| find(of(*n)).unwrap_or_else(|| new(of(*n)))).collect();
            }
            Edit::Enabled(server, enabled) => self.server(of(server), |spec| spec.enabled = enabled),
            Edit::Config(server, zone) => self.server(of(server), |spec| {
                spec.config.clear();
                spec.config.extend(zone.map(|zone| ("zone".to_owned(), format!("Z{zone}").into())));
            }),
            Edit::ServerResources(server, resources) => {
                self.server(of(server), |spec| spec.resources = resources);
            }
            Edit::Profile(server, profile) => self.server(of(server), |spec| spec.profile = profile),
            Edit::Tools(server, tools) => self.server(of(server), |spec| {
                spec.tools.allow = tools.map(|n| vec![format!("tool{n}*").parse().unwrap()]);
            }),
            Edit::SecretRefs(of) => {
                spec.secret_refs = of.into_iter().map(|n| SecretRef { name: secret(n) }).collect();
            }
            Edit::Binding(server, of) => self.server(SERVERS[server], |spec| {
                let secret_key_ref = |n| SecretKeyRef { name: secret(n), key: "key".to_owned() };
                let bind = |n| SecretBinding {
                    name: "key".to_owned(),
                    value_from: ValueFrom { secret_key_ref: secret_key_ref(n) },
                };
                spec.secrets = of.map(bind).into_iter().collect();
            }),
            Edit::Secret(of, version) => {
                declared.metadata.generation -= 1;
                let key = |version| ("key".to_owned(), KeyFacts { version, unusable: None });
                let uid = Uuid::from_u128(1 + of as u128);
                let facts = SecretFacts { uid, keys: version.map(key).into_iter().collect() };
                declared.secrets.insert(secret(of), facts);
            }
            Edit::DefaultResources(resources) => spec.server_defaults.resources = resources,
            Edit::DefaultProfile(profile) => spec.server_defaults.profile = profile,
            Edit::GatewayResources(resources) => spec.resources = resources,
            Edit::GatewayImage(image) => {
                spec.image = image.map(|n| format!("bowline/gateway:{n}").parse().unwrap());
            }
            Edit::Mode(mode) => spec.mode = mode,
            Edit::Transport(transport) => spec.transport = transport,
            Edit::Port(port) => {
                spec.port = port;
                let slot = LeaseSlot::new(LeaseKind::Port, Holder::Gateway);
                declared.leases.remove(&slot);
                declared.leases.extend(port.map(|port| (slot, i64::from(port))));
            }
            Edit::Deadline(seconds) => spec.progress_deadline_seconds = seconds,
            Edit::Suspend(suspend) => spec.suspend = suspend,
            Edit::Lease(kind) => {
                declared.metadata.generation -= 1;
                self.move_lease(kind);
            }
            Edit::Tokens => {
                declared.metadata.generation -= 1;
                declared.tokens_revision += 1;
            }
            Edit::Restart(number) => request(declared, number).restart += 1,
            Edit::Retry(number) => request(declared, number).retry += 1,
            Edit::Tag(server) => {
                declared.metadata.generation -= 1;
                self.move_tag(of(server));
            }
        }
    }

    fn server(&mut self, name: &str, change: impl FnOnce(&mut ServerSpec)) {
        if let Some(server) = self.declared.spec.servers.iter_mut().find(|server| server.name == name) {
            change(server);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Run(cut) => self.run(&cut),
            Happening::Answered => {
                self.run(&Cut::No);
                self.look();
            }
            Happening::Damage(damage) => self.damage(&damage),
            Happening::Time(seconds) => self.world.now += seconds,
        }
    }

    /// Makes what is declared something that answers, because of what does not the one before would go on running,
    /// and gives it another chance.
    fn make_good(&mut self) {
        let bad = self.entries.iter().filter(|(_, entry)| entry.broken || entry.image == BAD);
        let bad: Vec<_> = bad.map(|(place, entry)| (*place, entry.clone())).collect();
        for ((layer, server), entry) in bad {
            self.edit(Edit::Entry(layer, server, Entry { broken: false, image: 0, ..entry }));
        }
        if self.declared.spec.image.as_ref().is_some_and(|image| image.to_string().ends_with("3")) {
            self.edit(Edit::GatewayImage(Some(1)));
        }
        // A suspended gateway keeps stopped what was made and makes nothing: what is there differs by history.
        self.edit(Edit::Suspend(None));
        // Trials whose time ran out while nobody looked end now; from here on nothing may fail.
        self.look();
        self.run(&Cut::No);
        self.edit(Edit::Retry(SERVERS.len() + 1));
    }
}

/// `PROPTEST_CASES` makes it more chains, never fewer.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(CHAINS), max_shrink_iters: 2000, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_chain_of_edits_damage_and_crashes_ends_like_a_fresh_create(
        chain in proptest::collection::vec((edit(), proptest::collection::vec(happening(), 0..4)), EDITS)
    ) {
        let mut life = Life::new();
        for (edit, happenings) in chain {
            life.world.now += 7;
            life.edit(edit);
            happenings.into_iter().for_each(|happening| life.happen(happening));
        }
        every_field_is_edited(&life.declared.spec);
        life.make_good();
        life.settle();
        let mut fresh = life.fresh();
        fresh.settle();
        let (ended, expected) = (life.portrait(), fresh.portrait());
        let only = |here: &BTreeSet<String>, there| here.difference(there).cloned().collect::<Vec<_>>();
        prop_assert_eq!(only(&ended, &expected), only(&expected, &ended));
    }
}
