//! What a fault is tried on: a real Postgres, a gateway of two servers, and a life in five acts.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bowline_controller::{Prober, Reconciler};
use bowline_core::desired::Settings;
use bowline_core::labels::Owner;
use bowline_core::lease::{LeaseKind, LeaseSlot, Ranges};
use bowline_core::object::GatewayKey;
use bowline_core::resource::{Resource, SecretObject, parse};
use bowline_core::rollout::Rollouts;
use bowline_core::schedule::Outcome;
use bowline_core::status::GatewayStatus;
use bowline_core::step::FailureClass;
use bowline_store::embedded::{Embedded, Options};
use bowline_store::{GatewayRecord, Keyring, OtherKeys, PrivateKey, Put, Store};
use chrono::Utc;
use futures::FutureExt;
use uuid::Uuid;

use crate::portrait::Portrait;
use crate::world::{BAD_GATEWAY, BAD_WORD, Fault, SimWorld, Strike};

/// The name of every gateway.
const NAME: &str = "default";
/// More runs than any disturbance needs.
const MOST_RUNS: usize = 200;
/// Between two looks at what no failure holds back.
const LOOK: Duration = Duration::from_millis(100);
/// A wait that no test sits out.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// A server with a network, one without, and one with a secret; the second catalog entry changes, the first server
/// goes, and the third comes.
const CATALOG: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec:
  registry:
    fetch: { type: server, image: 'localhost/fetch:1' }
    time: { type: server, image: 'localhost/time:1', disableNetwork: true, command: ['{{time.mode|or:good}}'] }
    late:
      type: server
      image: 'localhost/late:1'
      disableNetwork: true
      secrets: [{ name: late.token, env: LATE_TOKEN }]
    keeper: { type: server, image: 'localhost/keeper:1', disableNetwork: true, volumes: ['a:/a', 'b:/b'] }
";

/// The one key for which everything here is sealed.
const KEY: &str = "bowline-key-v1 MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// What happens to a gateway in one act, from the state in which the one before it left the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It is declared with two servers.
    Declared,
    /// One server gets other limits, one goes and one comes, which has a secret.
    Changed,
    /// The gateway gets another image, a server another profile, and one another value of its secret: all are replaced.
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
        store.register_keys(&keyring()).await.unwrap();
        apply(&store, CATALOG).await;
        let outcome = AssertUnwindSafe(test(store.clone())).catch_unwind().await;
        store.close().await;
        server.stop().await.unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The keys of every controller here.
pub(crate) fn keyring() -> Keyring {
    Keyring::from_iter(PrivateKey::from_text(KEY))
}

/// Writes every object of the text.
pub(crate) async fn apply(store: &Store, yaml: &str) {
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
            annotations: &located.resource.metadata().annotations,
            managed_by: "cli",
            expected_version: None,
        };
        tx.put(put).await.unwrap();
        if let Resource::Secret(SecretObject { values: Some(values), .. }) = &located.resource {
            tx.set_secret_values(&key, values, OtherKeys::Remove).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
}

/// One gateway on a host of its own.
pub(crate) struct Bench {
    store: Store,
    pub(crate) world: Arc<SimWorld>,
    pub(crate) host: Uuid,
    pub(crate) key: GatewayKey,
    prober: Arc<Prober>,
    reconciler: Reconciler<SimWorld>,
}

impl Bench {
    /// A gateway that nothing has happened to; `number` tells it from all others in this database.
    pub(crate) async fn new(store: &Store, number: usize) -> Self {
        let world = Arc::new(SimWorld::default());
        // A row of its own: leases are per host, so that every gateway here is given the same numbers.
        let host = store.register_host(&format!("h{number}")).await.unwrap().id;
        let key = GatewayKey::new(format!("u{number}"), NAME);
        let prober = Arc::new(Prober::default());
        let reconciler = reconciler(store, keyring(), &world, &prober, host);
        Self { store: store.clone(), world, host, key, prober, reconciler }
    }

    /// A controller that remembers nothing, as after a restart.
    pub(crate) fn restart(&mut self) {
        self.restart_with(keyring());
    }

    /// A controller with these keys that remembers nothing.
    pub(crate) fn restart_with(&mut self, keyring: Keyring) {
        self.prober = Arc::new(Prober::default());
        self.reconciler = reconciler(&self.store, keyring, &self.world, &self.prober, self.host);
    }

    /// Writes the Secret of the tenant: exactly this value.
    pub(crate) async fn set_secret(&self, key: &str, value: &str) {
        let namespace = &self.key.namespace;
        let secret = format!(
            "apiVersion: bowline.dev/v1alpha1
kind: Secret
metadata: {{ namespace: {namespace}, name: mine }}
stringData: {{ {key}: {value:?} }}"
        );
        apply(&self.store, &secret).await;
    }

    /// Writes into the database what the act asks for.
    pub(crate) async fn ask(&self, act: Act) {
        match act {
            Act::Changed => self.set_secret("late.token", "first").await,
            Act::Replaced => self.set_secret("late.token", "second").await,
            Act::Declared | Act::RolledBack | Act::Deleted => {}
        }
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
        self.declare(image, &servers).await;
    }

    /// Writes the Gateway.
    pub(crate) async fn declare(&self, image: &str, servers: &str) {
        let namespace = &self.key.namespace;
        let gateway = format!(
            "apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: {{ namespace: {namespace}, name: {NAME} }}
spec: {{ catalogs: [base], secretRefs: [{{ name: mine }}], image: '{image}', servers: {servers} }}"
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
    pub(crate) async fn failed(&self) -> Vec<String> {
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
    pub(crate) async fn leased(&self) -> usize {
        let mut count = 0;
        for kind in [LeaseKind::Port, LeaseKind::Uid, LeaseKind::Subnet] {
            count += self.store.taken(self.host, kind).await.unwrap().len();
        }
        count
    }
}

fn reconciler(
    store: &Store,
    keyring: Keyring,
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
    Reconciler::new(store.clone(), keyring, Arc::clone(world), Arc::clone(prober), settings, host)
}
