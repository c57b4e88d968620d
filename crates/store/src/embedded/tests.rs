use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use bowline_core::object::ObjectKey;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::*;
use crate::testing::{Fixture, INSTANCE, options};
use crate::{Hint, HostLocking, Scope, Store};

/// Names the directory for the process that is to be killed.
const PARENT_DIR: &str = "BOWLINE_TEST_PARENT_DIR";

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn pid(server: &Embedded) -> u32 {
    process::postmaster(&server.layout.data).unwrap()
}

/// Resolves when the server has ended.
async fn gone(data: &Path) {
    while process::postmaster(data).is_some() {
        tokio::task::yield_now().await;
    }
}

async fn open(server: &Embedded) -> Fixture {
    let database = server.database();
    Fixture { store: Store::open(&database, INSTANCE).await.unwrap(), database }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_kept_between_runs_and_a_stopped_server_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let server = Embedded::start(options(dir.path())).await.unwrap();
    let key = ObjectKey::gateway("u1", "default");
    let fixture = open(&server).await;
    let written = fixture.apply(&key, &json!({"a": 1})).await.object;
    fixture.store.close().await;
    let (first, data, socket) = (pid(&server), server.layout.data.clone(), server.socket_dir().to_owned());
    assert_eq!(server.stop().await.unwrap(), Stopped::Now);
    // The last thing that a server does is to remove its pid file; its process ends a moment later.
    while process::works_in(first, &data) {
        tokio::task::yield_now().await;
    }
    assert!(!data.join("postmaster.pid").exists() && !socket.exists());

    let server = Embedded::start(options(dir.path())).await.unwrap();
    assert!(!server.adopted());
    let fixture = open(&server).await;
    assert_eq!(fixture.store.get(&key).await.unwrap(), Some(written));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_near_the_socket_and_no_port_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let server = Embedded::start(options(dir.path())).await.unwrap();
    let found = std::fs::metadata(server.socket_dir()).unwrap();
    assert_eq!((found.mode() & 0o777, found.uid()), (0o700, server.account.uid));
    let data = std::fs::metadata(&server.layout.data).unwrap();
    assert_eq!((data.mode() & 0o777, data.uid()), (0o700, server.account.uid));
    let mut connection = server.database().patient().connect().await.unwrap();
    for (setting, value) in
        [("listen_addresses", ""), ("fsync", "on"), ("client_connection_check_interval", "2s")]
    {
        let shown: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(shown, value, "{setting}");
    }
    let rules: Vec<String> = sqlx::query_scalar("SELECT type || ' ' || auth_method FROM pg_hba_file_rules")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(rules, ["local peer"]);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_left_behind_by_a_killed_parent_is_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::tests::the_parent_that_is_killed", "--ignored", "--nocapture"])
        .env(PARENT_DIR, dir.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let started: u32 = loop {
        let line = lines.next_line().await.unwrap().expect("the parent says the server's pid");
        if let Some((_, pid)) = line.split_once("server pid ") {
            break pid.trim().parse().unwrap();
        }
    };
    parent.kill().await.unwrap();

    let server = Embedded::start(options(dir.path())).await.unwrap();
    assert!(server.adopted());
    assert_eq!(pid(&server), started);
    server.database().patient().connect().await.unwrap();
    assert_eq!(server.stop().await.unwrap(), Stopped::Now);
}

#[tokio::test]
#[ignore = "started, and killed, by the test above"]
async fn the_parent_that_is_killed() {
    let Some(dir) = std::env::var_os(PARENT_DIR) else {
        return;
    };
    let server = Embedded::start(options(Path::new(&dir))).await.unwrap();
    {
        use std::io::Write;
        let mut out = std::io::stdout();
        writeln!(out, "server pid {}", pid(&server)).unwrap();
        out.flush().unwrap();
    }
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_file_that_names_somebody_else_is_seen_through() {
    let dir = tempfile::tempdir().unwrap();
    let server = Embedded::start(options(dir.path())).await.unwrap();
    let (layout, account) = (server.layout.clone(), server.account.clone());
    server.stop().await.unwrap();
    // A living process of the server's own account: Postgres by itself would refuse to start.
    let mut stranger = account.command(Path::new("sleep")).arg("600").kill_on_drop(true).spawn().unwrap();
    let stale =
        format!("{}\n{}\n1\n5432\n/nowhere\n\n1 1\nready\n", stranger.id().unwrap(), layout.data.display());
    let pid_file = layout.data.join("postmaster.pid");
    std::fs::write(&pid_file, stale).unwrap();
    std::fs::set_permissions(&pid_file, std::fs::Permissions::from_mode(0o644)).unwrap();

    let server = Embedded::start(options(dir.path())).await.unwrap();
    assert!(!server.adopted());
    assert_ne!(pid(&server), stranger.id().unwrap());
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
    server.stop().await.unwrap();
    stranger.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_share_the_server_and_the_last_one_stops_it() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) =
        tokio::try_join!(Embedded::start(options(dir.path())), Embedded::start(options(dir.path()))).unwrap();
    assert_ne!(one.adopted(), two.adopted());
    assert_eq!(pid(&one), pid(&two));
    assert_eq!(one.stop().await.unwrap(), Stopped::StillUsed);
    two.database().patient().connect().await.unwrap();
    assert_eq!(two.stop().await.unwrap(), Stopped::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_a_server_that_is_killed_and_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Embedded::start(options(dir.path())).await.unwrap();
    let fixture = open(&server).await;
    let key = ObjectKey::gateway("u1", "default");
    let written = fixture.apply(&key, &json!({})).await.object;
    let mut listener = fixture.store.watch(Scope::Desired);
    assert_eq!(listener.next().await, Hint::All);
    let HostLocking::Locked(mut lock) = fixture.store.try_lock_host("h1").await.unwrap() else {
        panic!("nobody else is here")
    };
    assert!(!server.ensure_running().await.unwrap());

    kill(pid(&server), Signal::KILL);
    gone(&server.layout.data).await;
    let lost = timeout(Duration::from_secs(20), lock.lost()).await;
    assert!(lost.is_ok(), "a lock does not outlive its server");
    let error = fixture.store.get(&key).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert!(!error.is_terminal());

    assert!(server.ensure_running().await.unwrap());
    assert_eq!(fixture.store.get(&key).await.unwrap(), Some(written));
    let hint = timeout(Duration::from_secs(20), listener.next()).await;
    assert_eq!(hint.expect("the listener connects again"), Hint::All);
    fixture.apply(&key, &json!({"a": 1})).await;
    assert!(matches!(listener.next().await, Hint::Uid(_)));
    fixture.store.close().await;
    drop((lock, listener));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_making_was_interrupted_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let half = dir.path().join("state/postgres/data.new");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("PG_VERSION"), "15\n").unwrap();
    let server = Embedded::start(options(dir.path())).await.unwrap();
    assert!(!half.exists());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_path_that_is_too_long_is_replaced_by_a_short_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut long = options(dir.path());
    long.socket_dir = dir.path().join("x".repeat(100));
    let server = Embedded::start(long.clone()).await.unwrap();
    assert_ne!(server.socket_dir(), long.socket_dir);
    let short = server.socket_dir().to_owned();
    server.database().patient().connect().await.unwrap();
    server.stop().await.unwrap();
    assert!(!short.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_the_account_cannot_reach_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let account = Account::of_server().await.unwrap();
    if !account.foreign {
        // Only root runs the server as somebody else; there is nothing to be unreachable otherwise.
        return;
    }
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let inner = dir.path().join("inner");
    let error = Embedded::start(options(&inner)).await.unwrap_err();
    let obstacle = dir.path().display().to_string();
    assert!(matches!(error, EmbeddedError::Unreachable { .. }), "{error}");
    assert!(error.to_string().ends_with(&format!("because it may not pass {obstacle}")), "{error}");
    assert_eq!(error.hint().unwrap(), format!("chmod o+x {obstacle}, or choose another --state-dir"));
}
