//! A pass with nothing to do does nothing, counted from outside: by the proxy in front of the Engine, and by
//! Postgres itself.

use std::time::Duration;

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::Engine;
use bowline_tests::figures;
use bowline_tests::postgres::Postgres;
use bowline_tests::proxy::RecordingProxy;
use bowline_tests::wait;

use crate::support::{LIGHT, all_ready, catalog, entry, gateway};

/// Listings to watch: a resync every second makes three (of everything, and of each gateway), so that they take half
/// a minute, and two of the cheap lists that come every ten seconds are among them.
const LISTINGS: usize = 90;

/// Rows written per table, dead ones included, in words.
fn written(postgres: &Postgres) -> String {
    postgres.query(
        "select relname, n_tup_ins, n_tup_upd, n_tup_del, n_dead_tup \
         from pg_stat_user_tables order by relname",
    )
}

/// The next transaction id: every transaction that writes takes one, whatever becomes of it. Exact, where the
/// statistics are what the sessions have handed in so far.
fn next_transaction(postgres: &Postgres) -> String {
    postgres.query("select pg_snapshot_xmax(pg_current_snapshot())")
}

#[test]
fn a_pass_with_nothing_to_do_changes_nothing_on_the_engine_and_writes_nothing() {
    let (postgres, proxy) = (Postgres::start(), RecordingProxy::start(Engine::local().socket()));
    // Vacuum takes transaction ids of its own.
    assert_eq!(postgres.query("alter system set autovacuum = off"), "");
    assert_eq!(postgres.query("select pg_reload_conf()"), "t");
    let mut bowline = Bowline::new().on(&postgres).through(&proxy.socket()).with("resync", "1s");
    bowline.start();
    let mut yaml = catalog(&[("alone", entry(LIGHT, "disableNetwork: true")), ("online", entry(LIGHT, ""))]);
    for user in ["u1", "u2"] {
        yaml.push_str(&gateway(user, &["alone", "online"]));
    }
    bowline.apply(&yaml);
    all_ready(&bowline, &["u1", "u2"]);

    let listings = || proxy.calls().iter().filter(|call| call.target.starts_with("/containers/json")).count();
    let watch = |count: usize| {
        proxy.forget();
        let limit = Duration::from_secs(300);
        wait::until_true("the Engine is listed", limit, || listings() >= count);
    };
    // Ready is said before the last look, and a session hands its statistics in when it has been idle for ten
    // seconds: wait for such a stretch in which nothing shows, once.
    wait::until_true("nothing is left to do", Duration::from_secs(240), || {
        let before = (next_transaction(&postgres), written(&postgres));
        watch(LISTINGS / 2);
        (next_transaction(&postgres), written(&postgres)) == before
    });

    let before = (next_transaction(&postgres), written(&postgres));
    watch(LISTINGS);
    let (looks, changes) = (proxy.calls().len(), proxy.mutations());
    let after = (next_transaction(&postgres), written(&postgres));
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(after, before);
    figures::note(
        "quiet",
        &format!(
            "{LISTINGS} listings of two gateways at rest: {looks} looks at the Engine, 0 changes, 0 writing transactions"
        ),
    );

    // The instrument is no stopped clock: one written row is seen in both.
    assert_eq!(postgres.query("update installation set created_at = created_at returning 1"), "1");
    wait::until_true("the statistics show it", Duration::from_secs(90), || written(&postgres) != before.1);
    assert_ne!(next_transaction(&postgres), before.0);
}
