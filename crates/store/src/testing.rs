//! A real Postgres for the tests of this crate.
//!
//! All test processes share one embedded server in the temporary directory: whoever comes first starts it, the
//! others adopt it, the last one to finish stops it. Each test has a database of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bowline_core::object::ObjectKey;
use serde_json::Value;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use crate::embedded::{Embedded, Options};
use crate::{Applied, Database, Placement, Put, PutError, Store, WriteTx};

/// The instance of every test.
pub(crate) const INSTANCE: &str = "test";

/// What a test works with.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) database: Database,
}

/// Runs `test` with a fresh database, and cleans up whether it passes or not.
pub(crate) fn with_store<F, T>(test: F)
where
    F: FnOnce(Fixture) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    runtime().block_on(async {
        let dir = shared_dir();
        let server = Embedded::start(options(&dir)).await.unwrap();
        let name = format!("t_{}", Uuid::now_v7().simple());
        let mut admin = server.database().patient().connect().await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.unwrap();
        let database = Database::from_options(server.database().patient().database(&name));
        let store = Store::open(&database, INSTANCE).await.unwrap();
        let outcome = tokio::spawn(test(Fixture { store: store.clone(), database })).await;
        store.close().await;
        sqlx::query(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
            .execute(&mut admin)
            .await
            .unwrap();
        admin.close().await.unwrap();
        server.stop().await.unwrap();
        if let Err(error) = outcome {
            std::panic::resume_unwind(error.into_panic());
        }
    });
}

/// A runtime like that of `serve`.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The options of a server in `dir`.
pub(crate) fn options(dir: &Path) -> Options {
    Options { state_dir: dir.join("state"), socket_dir: dir.join("socket"), bin_dir: None }
}

fn shared_dir() -> PathBuf {
    std::env::temp_dir().join(format!("bowline-store-tests-{}", rustix::process::geteuid()))
}

impl Fixture {
    /// A connection past the store, to look from outside.
    pub(crate) async fn outside(&self) -> PgConnection {
        self.database.patient().connect().await.unwrap()
    }

    /// Applies one object.
    pub(crate) async fn apply(&self, key: &ObjectKey, spec: &Value) -> Applied {
        let mut tx = self.store.begin_write().await.unwrap();
        let mut applied = put(&mut tx, key, spec).await.unwrap();
        let versions = tx.commit().await.unwrap();
        if let Some(version) = versions.get(&applied.object.metadata.uid) {
            applied.object.metadata.resource_version = *version;
        }
        applied
    }

    /// A gateway that is placed on a host; its uid and place.
    pub(crate) async fn placed(&self, namespace: &str) -> (Uuid, Placement) {
        let key = ObjectKey::gateway(namespace, "default");
        let uid = self.apply(&key, &serde_json::json!({})).await.object.metadata.uid;
        let host = self.store.register_host("h1").await.unwrap();
        (uid, self.store.ensure_placement(uid, host.id).await.unwrap())
    }

    /// Marks an object as deleted.
    pub(crate) async fn delete(&self, key: &ObjectKey) -> crate::Marked {
        let mut tx = self.store.begin_write().await.unwrap();
        let marked = tx.mark_deleted(key).await.unwrap();
        tx.commit().await.unwrap();
        marked
    }

    /// The transaction ids that wrote the rows of all tables: equal before and after means that nothing was
    /// written, not even the same values again.
    pub(crate) async fn writers(&self) -> Vec<String> {
        let mut outside = self.outside().await;
        let mut writers = Vec::new();
        for table in
            ["objects", "object_version", "observations", "events", "leases", "tokens", "hosts", "placements"]
        {
            // xmax too: a locked row was written to.
            let query = format!("SELECT '{table} ' || xmin || ' ' || xmax FROM {table} ORDER BY 1");
            let rows: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut outside).await.unwrap();
            writers.extend(rows);
        }
        writers
    }
}

/// Puts an object without labels.
pub(crate) async fn put(tx: &mut WriteTx, key: &ObjectKey, spec: &Value) -> Result<Applied, PutError> {
    let none = BTreeMap::new();
    let put = Put { key, spec, labels: &none, annotations: &none, managed_by: "cli", expected_version: None };
    tx.put(put).await
}
