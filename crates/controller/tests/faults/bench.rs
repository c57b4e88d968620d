//! What a fault is tried on: a real Postgres, a gateway of two servers, and a life in three acts.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bowline_controller::{Prober, Reconciler};
use bowline_core::container::ContainerSpec;
use bowline_core::desired::Settings;
use bowline_core::labels::Owner;
use bowline_core::lease::{Holder, LeaseKind, LeaseSlot, Ranges, Subnet};
use bowline_core::object::GatewayKey;
use bowline_core::resource::parse;
use bowline_core::rollout::Rollouts;
use bowline_core::schedule::Outcome;
use bowline_core::status::GatewayStatus;
use bowline_core::step::FailureClass;
use bowline_store::embedded::{Embedded, Options};
use bowline_store::{GatewayRecord, Put, Store};
use chrono::Utc;
use futures::FutureExt;
use uuid::Uuid;

use crate::world::{BAD_GATEWAY, BAD_WORD, Fault, SimWorld, Strike};

/// The name of every gateway.
const NAME: &str = "default";
/// More runs than any disturbance needs.
const MOST_RUNS: usize = 200;
/// Between two looks at what no failure holds back.
const LOOK: Duration = Duration::from_millis(100);
/// A wait that no test sits out.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// A server with a network and one without; the second catalog entry changes and the first server goes.
const CATALOG: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec:
  registry:
    fetch: { type: server, image: 'localhost/fetch:1' }
    time: { type: server, image: 'localhost/time:1', disableNetwork: true, command: ['{{time.mode|or:good}}'] }
    late: { type: server, image: 'localhost/late:1', disableNetwork: true }
";

/// What happens to a gateway in one act, from the state in which the one before it left the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It is declared with two servers.
    Declared,
    /// One server gets other limits, one goes and one comes.
    Changed,
    /// The gateway gets another image and a server another profile: both are replaced.
    Replaced,
    /// The gateway gets an image that does not run and a server an argument with which it does not: both go back.
    RolledBack,
    /// It is deleted.
    Deleted,
}

impl Act {
    pub(crate) const ALL: [Act; 5] =
        [Act::Declared, Act::Changed, Act::Replaced, Act::RolledBack, Act::Deleted];
}

/// Runs `test` on a Postgres of its own, which ends with it.
pub(crate) fn with_store<F, T>(test: F)
where
    F: FnOnce(Store) -> T,
    T: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        // As root the server runs under an account of its own and must pass through.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let options = Options {
            state_dir: folder.path().join("state"),
            socket_dir: folder.path().join("socket"),
            bin_dir: None,
        };
        let server = Embedded::start(options).await.unwrap();
        let store = Store::open(&server.database(), "test").await.unwrap();
        apply(&store, CATALOG).await;
        let outcome = AssertUnwindSafe(test(store.clone())).catch_unwind().await;
        store.close().await;
        server.stop().await.unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Writes every object of the text.
async fn apply(store: &Store, yaml: &str) {
    let parsed = parse(yaml, None);
    assert!(parsed.is_ok(), "{:?}", parsed.diagnostics);
    let mut tx = store.begin_write().await.unwrap();
    let none = BTreeMap::new();
    for located in parsed.resources {
        let (key, spec) = (located.resource.key(), located.resource.spec_json());
        let put = Put {
            key: &key,
            spec: &spec,
            labels: &none,
            annotations: &none,
            managed_by: "cli",
            expected_version: None,
        };
        tx.put(put).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// One gateway on a host of its own.
pub(crate) struct Bench {
    store: Store,
    pub(crate) world: Arc<SimWorld>,
    host: Uuid,
    key: GatewayKey,
    prober: Arc<Prober>,
    reconciler: Reconciler<SimWorld>,
}

/// Everything that is left of a gateway when its controller has come to rest, in words without what differs from
/// one life to the next (ids and the tenant's name).
pub(crate) type Portrait = Vec<String>;

impl Bench {
    /// A gateway that nothing has happened to; `number` tells it from all others in this database.
    pub(crate) async fn new(store: &Store, number: usize) -> Self {
        let world = Arc::new(SimWorld::default());
        // A row of its own: leases are per host, so that every gateway here is given the same numbers.
        let host = store.register_host(&format!("h{number}")).await.unwrap().id;
        let key = GatewayKey::new(format!("u{number}"), NAME);
        let prober = Arc::new(Prober::default());
        let reconciler = reconciler(store, &world, &prober, host);
        Self { store: store.clone(), world, host, key, prober, reconciler }
    }

    /// A controller that remembers nothing, as after a restart.
    pub(crate) fn restart(&mut self) {
        self.prober = Arc::new(Prober::default());
        self.reconciler = reconciler(&self.store, &self.world, &self.prober, self.host);
    }

    /// Writes into the database what the act asks for.
    pub(crate) async fn ask(&self, act: Act) {
        let namespace = &self.key.namespace;
        let (image, servers) = match act {
            Act::Declared => ("localhost/gateway:1", "[fetch, time]".to_owned()),
            Act::Changed => (
                "localhost/gateway:1",
                "[{ name: time, resources: { limits: { memory: 128Mi } } }, late]".to_owned(),
            ),
            Act::Replaced => ("localhost/gateway:2", "[{ name: time, profile: baseline }, late]".to_owned()),
            Act::RolledBack => (
                BAD_GATEWAY,
                format!("[{{ name: time, profile: baseline, config: {{ mode: {BAD_WORD} }} }}, late]"),
            ),
            Act::Deleted => {
                let record = self.record().await.expect("it was declared");
                let mut tx = self.store.begin_write().await.unwrap();
                tx.mark_deleted(&record.object.metadata.key).await.unwrap();
                tx.commit().await.unwrap();
                return;
            }
        };
        let gateway = format!(
            "apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: {{ namespace: {namespace}, name: {NAME} }}
spec: {{ catalogs: [base], image: '{image}', servers: {servers} }}"
        );
        apply(&self.store, &gateway).await;
    }

    /// One run; `false` when the process was killed in it.
    pub(crate) async fn run_once(&self) -> Option<Outcome> {
        tokio::select! {
            outcome = self.reconciler.run(&self.key) => Some(outcome),
            () = self.world.crashed.notified() => None,
        }
    }

    /// Runs as the queue would until nothing is left to do and the gateway has nothing new to tell. The controller is
    /// started anew where it was killed, and where it would wait for minutes because only another specification can
    /// help.
    pub(crate) async fn settle(&mut self) {
        let mut settled = 0;
        for _ in 0..MOST_RUNS {
            let outcome = self.run_once().await;
            settled = if outcome == Some(Outcome::Settled) { settled + 1 } else { 0 };
            if settled == 2 {
                return;
            }
            match (outcome, self.held().await) {
                (None, _) => self.restart(),
                (Some(Outcome::Again(wait)), held) if wait.max(held.unwrap_or_default()) > LONG_WAIT => {
                    self.restart();
                }
                (Some(Outcome::Again(wait)), Some(_)) => tokio::time::sleep(wait).await,
                // A trial is looked at now and then; nothing here takes so long.
                (Some(Outcome::Again(wait)), None) => tokio::time::sleep(wait.min(LOOK)).await,
                (Some(Outcome::Settled | Outcome::Failed), _) => {}
            }
            self.prober.probe_due(&*self.world).await;
        }
        panic!("{} does not come to rest: {:#?}", self.key, self.world.log());
    }

    /// How long the status says that what failed is held back.
    async fn held(&self) -> Option<Duration> {
        let status: GatewayStatus = serde_json::from_value(self.record().await?.object.status?).unwrap();
        (status.next_attempt_time? - Utc::now()).to_std().ok()
    }

    /// Asks for another try, as a user would, where a refusal of the Engine was taken for the revision's fault.
    async fn retry(&mut self, act: Act, strike: Option<Strike>) {
        let refused = strike.is_some_and(|strike| strike.fault == Fault::Fail(FailureClass::Refused));
        if refused && act == Act::Replaced && !self.failed().await.is_empty() {
            let uid = self.record().await.expect("it is declared").object.metadata.uid;
            self.store.request_retry(uid, "*").await.unwrap();
            self.settle().await;
        }
    }

    /// The units in whose place an earlier revision runs.
    async fn failed(&self) -> Vec<String> {
        let Some(rollouts) = self.record().await.and_then(|record| record.rollouts) else {
            return Vec::new();
        };
        let rollouts: Rollouts = serde_json::from_value(rollouts).unwrap();
        rollouts
            .iter()
            .filter(|(_, rollout)| rollout.failed.is_some())
            .map(|(unit, _)| unit.to_string())
            .collect()
    }

    /// Plays the acts up to `act` undisturbed and then that one with `strike`, and lets everything come to rest.
    pub(crate) async fn play(&mut self, act: Act, strike: Option<Strike>) -> Portrait {
        for earlier in Act::ALL.into_iter().take_while(|earlier| *earlier != act) {
            self.ask(earlier).await;
            self.world.arm(None);
            self.settle().await;
        }
        self.ask(act).await;
        self.world.arm(strike);
        self.settle().await;
        self.retry(act, strike).await;
        let calls = self.world.log();
        assert!(
            strike.is_none_or(|strike| strike.call <= calls.len()),
            "{act:?}: {strike:?} was not met: {calls:#?}"
        );
        assert_eq!(self.run_once().await, Some(Outcome::Settled), "it was at rest");
        assert_eq!(self.world.log()[calls.len()..], ["observe"], "a run with nothing to do only looks");
        self.portrait().await
    }

    /// What the database has of the gateway.
    pub(crate) async fn record(&self) -> Option<GatewayRecord> {
        self.store.load_gateway(&self.key).await.unwrap()
    }

    /// The status that was written last.
    pub(crate) async fn status(&self) -> GatewayStatus {
        let record = self.record().await.expect("it is declared");
        serde_json::from_value(record.object.status.expect("a status")).unwrap()
    }

    /// The leases that the gateway holds, by slot.
    pub(crate) async fn leases(&self) -> BTreeMap<LeaseSlot, i64> {
        self.record().await.map(|record| record.leases).unwrap_or_default()
    }

    /// How many values are leased on this host, whoever holds them.
    async fn leased(&self) -> usize {
        let mut count = 0;
        for kind in [LeaseKind::Port, LeaseKind::Uid, LeaseKind::Subnet] {
            count += self.store.taken(self.host, kind).await.unwrap().len();
        }
        count
    }

    /// What is left, and that it is sound by itself.
    pub(crate) async fn portrait(&self) -> Portrait {
        assert_eq!(self.world.violations(), Vec::<String>::new(), "{:#?}", self.world.log());
        let leases = self.leases().await;
        assert_eq!(self.leased().await, leases.len(), "a lease without a holder");
        let failed = self.failed().await.into_iter().map(|unit| format!("failed {unit}"));
        let leased =
            leases.iter().map(|(slot, value)| format!("lease {} {} {value}", slot.kind, slot.holder));
        let mut lines: Vec<String> = leased.chain(failed).collect();
        for (seen, spec) in self.world.containers() {
            // Limits are what they are now, wherever they came from.
            let spec = ContainerSpec { limits: seen.live.limits, ..spec };
            let (name, networks) = (&seen.name, seen.live.networks.len());
            lines.push(format!("container {name} {:?} {} {networks} {spec:?}", seen.state, seen.restarts));
        }
        for (seen, spec) in self.world.networks() {
            lines.push(format!("network {} {spec:?}", seen.name));
        }
        for (uid, tree) in self.world.trees() {
            // Two files carry uid and times; their presence is compared, and whether they are true is checked by
            // the plan that found nothing to do.
            let told = |path: &str| !matches!(path, "recovery.json" | "config/gateway.json");
            for (path, entry) in tree {
                let shown = if told(&path) { format!("{entry:?}") } else { String::new() };
                lines.push(format!("path {uid}/{path} {shown}"));
            }
        }
        if let Some(record) = self.record().await {
            lines = lines
                .iter()
                .map(|line| line.replace(&record.object.metadata.uid.to_string(), "UID"))
                .collect();
        }
        let namespace = &self.key.namespace;
        for line in &mut lines {
            *line = line.replace(&format!("-{namespace}"), "-TENANT");
        }
        lines.sort();
        lines
    }
}

impl Bench {
    /// The portrait without what a collision on the host may change: the port, the subnet and names.
    pub(crate) async fn without_places(&self, portrait: &Portrait) -> Portrait {
        let Some(record) = self.record().await else { return portrait.clone() };
        let digits = record.object.metadata.uid.simple().to_string();
        let leased = |kind| record.leases.get(&LeaseSlot::new(kind, Holder::Gateway)).copied();
        let mut places = vec![(format!("_default_{}", &digits[24..]), "")];
        // The first of each range is what an undisturbed gateway has.
        for port in [Some(20000), leased(LeaseKind::Port)].into_iter().flatten() {
            places.push((port.to_string(), "PORT"));
        }
        let first = i64::from(u32::from(std::net::Ipv4Addr::new(10, 213, 0, 0)));
        for subnet in [Some(first), leased(LeaseKind::Subnet)].into_iter().flatten() {
            places.push((subnet.to_string(), "SUBNET"));
            places.extend(Subnet::from_lease(subnet).map(|subnet| (subnet.0.to_string(), "SUBNET")));
        }
        let replaced = |line: &String| {
            places.iter().fold(line.clone(), |line, (from, to)| line.replace(from.as_str(), to))
        };
        let mut lines: Vec<_> = portrait.iter().map(replaced).collect();
        lines.sort();
        lines
    }
}

fn reconciler(
    store: &Store,
    world: &Arc<SimWorld>,
    prober: &Arc<Prober>,
    host: Uuid,
) -> Reconciler<SimWorld> {
    let settings = Settings {
        owner: Owner { instance: "default".to_owned(), installation: store.installation() },
        host: "h".to_owned(),
        runtime_dir: "/run/bowline".to_owned(),
        bridge_dir: "/var/lib/bowline/bridge/0123456789abcdef".to_owned(),
        gateway_image: "localhost/gateway:1".to_owned(),
        publish_address: "127.0.0.1".parse().unwrap(),
        allow_private_remotes: false,
        ranges: Ranges {
            ports: "20000-20099".parse().unwrap(),
            uids: "1900000000-1900000099".parse().unwrap(),
            subnets: "10.213.0.0/16".parse().unwrap(),
        },
    };
    Reconciler::new(store.clone(), Arc::clone(world), Arc::clone(prober), settings, host)
}
