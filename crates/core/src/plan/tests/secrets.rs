//! Secrets: a file before the container, another container for another value, and nothing of a value anywhere.

use super::*;
use crate::container::ContainerSpec;
use crate::desired::{Declared, Wanted};
use crate::rollout::{Failed, Rollout};
use crate::secret::{FILE_MODE, KeyFacts, SecretFacts, Unusable};
use crate::testing::settings;

mod files;
mod floor;

const GITHUB: &str = "mcp-server-u1.default.github";
const CHAT: &str = "mcp-server-u1.default.chat";
const FILE: &str = "secrets/github/env";

const WITH_SECRETS: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec:
  registry:
    github:
      image: 'mcp/github:1'
      disableNetwork: true
      secrets: [{ name: github.token, env: GITHUB_TOKEN }, { name: github.user, env: A_USER }]
    chat: { image: 'mcp/chat:1', disableNetwork: true, secrets: [{ name: chat.token, env: TOKEN }] }
    time: { image: 'mcp/time:1', disableNetwork: true }
---
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: { namespace: u1, name: default }
spec:
  catalogs: [base]
  servers:
  - github
  - { name: chat, secrets: [{ name: chat.token, valueFrom: { secretKeyRef: { name: work, key: chat } } }] }
  - time
  secretRefs: [{ name: work }]
";

fn facts(uid: u128, keys: &[(&str, i64)]) -> SecretFacts {
    let key =
        |(key, version): &(&str, i64)| ((*key).to_owned(), KeyFacts { version: *version, unusable: None });
    SecretFacts { uid: Uuid::from_u128(uid), keys: keys.iter().map(key).collect() }
}

/// All three servers have what they declare.
fn given() -> Declared {
    let mut declared = declare(WITH_SECRETS);
    let keys = [("github.token", 1), ("github.user", 1), ("chat", 1)];
    declared.secrets.insert("work".to_owned(), facts(9, &keys));
    declared
}

/// A gateway of which everything runs and is proven.
fn running() -> (Declared, World) {
    let declared = given();
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    world.answer(&declared, &["github", "chat", "time"]);
    assert!(engine(&world.reconcile(&declared)).is_empty());
    (declared, world)
}

fn set(declared: &mut Declared, key: &str, version: i64) {
    let keys = &mut declared.secrets.get_mut("work").unwrap().keys;
    keys.insert(key.to_owned(), KeyFacts { version, unusable: None });
}

fn wanted(world: &World, declared: &Declared, server: usize) -> Wanted {
    world.desire(declared).servers.swap_remove(server).wanted
}

fn spec(world: &World, declared: &Declared, server: usize) -> ContainerSpec {
    match wanted(world, declared, server) {
        Wanted::Container(container) => container.spec,
        other => panic!("{other:?}"),
    }
}

fn revision(world: &World, path: &str) -> Option<String> {
    match world.observed.trees[&Uuid::from_u128(42)].get(path) {
        Some(Entry::Secret { mode: FILE_MODE, revision }) => Some(revision.clone()),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_secret_file_is_there_before_the_container_that_reads_it() {
    let declared = given();
    let mut world = World::with_images(&declared);
    let plan = world.reconcile(&declared);
    let of_github: Vec<_> = texts(&plan).into_iter().filter(|step| step.contains("github")).collect();
    assert_eq!(
        of_github,
        [
            "make directory sockets/servers/github (mode 0777)",
            "make directory secrets/github (mode 0755)",
            "write secret file secrets/github/env (2 values)",
            "create container mcp-server-u1.default.github",
            "start container mcp-server-u1.default.github",
        ]
    );
    let step = plan.steps.iter().find(|planned| matches!(planned.step, Step::WriteSecrets { .. })).unwrap();
    assert_eq!(step.unit, Unit::Server("github".to_owned()), "what cannot be opened is its trouble alone");
    assert!(world.plan(&declared).is_empty());
}

#[test]
fn a_server_reads_its_own_file_and_no_other_container_sees_it() {
    let declared = given();
    let world = World::with_images(&declared);
    let github = spec(&world, &declared, 0);
    let tree = settings().tree(Uuid::from_u128(42));
    let secrets: Vec<_> = github.binds.iter().filter(|bind| bind.source.contains("secrets")).collect();
    assert_eq!(secrets.len(), 1);
    assert_eq!(
        (secrets[0].source.as_str(), secrets[0].target.as_str(), secrets[0].read_only),
        (format!("{tree}/secrets/github").as_str(), "/run/bowline-secrets", true)
    );
    assert_eq!(
        github.command,
        ["--socket", "/run/bowline/mcp.sock", "--env-file", "/run/bowline-secrets/env", "--", "serve"]
    );
    assert!(!github.env.contains_key("GITHUB_TOKEN"));
    let (chat, time) = (spec(&world, &declared, 1), spec(&world, &declared, 2));
    assert!(chat.binds.iter().all(|bind| !bind.source.contains("github")));
    assert!(time.binds.iter().all(|bind| !bind.source.contains("secrets")) && time.secrets.is_empty());
    let gateway = world.desire(&declared).gateway_target().unwrap().spec.clone();
    assert!(gateway.binds.iter().all(|bind| !bind.source.contains("secrets")));
}

#[test]
fn a_server_without_secrets_has_the_digest_that_it_had_before_there_were_any() {
    let declared = given();
    let world = World::with_images(&declared);
    let time = spec(&world, &declared, 2);
    let json = serde_json::to_string(&time).unwrap();
    assert!(!json.contains("secrets"), "{json}");
    let Wanted::Container(container) = wanted(&world, &declared, 2) else { panic!("no container") };
    assert!(!serde_json::to_string(&container).unwrap().contains("secrets"));
}

#[test]
fn another_value_makes_exactly_the_servers_anew_that_use_it() {
    let (mut declared, mut world) = running();
    let (chat, time) =
        (world.container(CHAT).id.clone(), world.container("mcp-server-u1.default.time").id.clone());
    let (gateway, before) = (world.container("mcp-gateway-u1").id.clone(), revision(&world, FILE));
    set(&mut declared, "github.token", 2);
    let steps = texts(&world.plan(&declared));
    assert_eq!(steps[0], "write secret file secrets/github/env (2 values)", "{steps:?}");
    assert!(steps[1].starts_with("create container mcp-server-u1.default.github__"), "{steps:?}");
    world.reconcile(&declared);
    assert_ne!(revision(&world, FILE), before);
    world.answer(&declared, &["github", "chat", "time"]);
    world.reconcile(&declared);
    assert_eq!(world.container(CHAT).id, chat);
    assert_eq!(world.container("mcp-server-u1.default.time").id, time);
    assert_eq!(world.container("mcp-gateway-u1").id, gateway);
    assert!(world.plan(&declared).is_empty());
    // The same versions again, in a Secret with more in it: nothing.
    set(&mut declared, "something.else", 1);
    assert!(world.plan(&declared).is_empty());
}

#[test]
fn a_secret_that_is_made_again_is_another_one() {
    let (mut declared, world) = running();
    declared.secrets.get_mut("work").unwrap().uid = Uuid::from_u128(10);
    let creates = |step: &&String| step.starts_with("create container");
    assert_eq!(engine(&world.plan(&declared)).iter().filter(creates).count(), 2, "github and chat");
}

#[test]
fn two_servers_share_one_secret_and_each_gets_its_own_line_only() {
    let declared = given();
    let desired = World::with_images(&declared).desire(&declared);
    let lines = |path: &str| {
        let file = desired.secret_files.iter().find(|file| file.path == path).unwrap();
        let line =
            |source: &crate::secret::SecretSource| format!("{}={}/{}", source.env, source.secret, source.key);
        file.sources.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(lines(FILE), ["A_USER=work/github.user", "GITHUB_TOKEN=work/github.token"]);
    assert_eq!(lines("secrets/chat/env"), ["TOKEN=work/chat"]);
    assert_eq!(desired.secret_files.len(), 2);
}

#[test]
fn a_secret_without_value_holds_up_its_own_server_and_says_what_to_do() {
    let mut declared = declare(WITH_SECRETS);
    declared.secrets.insert("work".to_owned(), facts(9, &[("github.token", 1), ("chat", 1)]));
    let mut world = World::with_images(&declared);
    let steps = texts(&world.reconcile(&declared));
    assert!(steps.iter().all(|step| !step.contains("github")), "{steps:?}");
    assert!(steps.contains(&format!("start container {CHAT}")), "{steps:?}");
    assert_eq!(
        wanted(&world, &declared, 0),
        Wanted::MissingSecret {
            message: "the Secret `work` has no key `github.user`; `bowline secret set -n u1 work github.user` sets it"
                .to_owned()
        }
    );
    set(&mut declared, "github.user", 1);
    let steps = engine(&world.reconcile(&declared));
    assert_eq!(steps, [format!("create container {GITHUB}"), format!("start container {GITHUB}")]);
}

#[test]
fn a_secret_that_nobody_gives_says_where_to_give_it() {
    let text = WITH_SECRETS.replace("  secretRefs: [{ name: work }]\n", "");
    let declared = declare(&text);
    let world = World::with_images(&declared);
    let Wanted::MissingSecret { message } = wanted(&world, &declared, 0) else { panic!("it is missing") };
    assert!(message.contains("`github.token`") && message.contains("`secretRefs`"), "{message}");
    let Wanted::MissingSecret { message } = wanted(&world, &declared, 1) else { panic!("it is missing") };
    assert_eq!(
        message,
        "the Secret `work` has no key `chat` for its secret `chat.token`; `bowline secret set -n u1 work chat` sets it"
    );
}

#[test]
fn a_key_that_is_taken_away_ends_its_servers_and_takes_the_file_with_it() {
    let (mut declared, mut world) = running();
    declared.secrets.get_mut("work").unwrap().keys.remove("github.user");
    let plan = world.reconcile(&declared);
    let steps = engine(&plan);
    assert_eq!(
        steps,
        [
            format!("let container {GITHUB} not restart"),
            format!("stop container {GITHUB}"),
            format!("remove container {GITHUB}"),
        ]
    );
    let removal =
        plan.steps.iter().find(|planned| planned.step.to_string() == "remove secrets/github").unwrap();
    assert_eq!(removal.unit, Unit::Server("github".to_owned()), "another server's trouble does not keep it");
    assert_eq!(revision(&world, FILE), None);
    assert!(revision(&world, "secrets/chat/env").is_some());
    assert!(world.rollouts.servers.get("github").is_none_or(|rollout| rollout.proven.is_none()));
}

#[test]
fn a_value_that_cannot_be_delivered_is_that_servers_failure() {
    let cases = [
        (Unusable::LineBreak, "SecretUnusable", "base64"),
        (Unusable::Unreadable("no key 0123 is on this host".to_owned()), "SecretUnreadable", "no key 0123"),
    ];
    for (why, expected, says) in cases {
        let (mut declared, mut world) = running();
        let keys = &mut declared.secrets.get_mut("work").unwrap().keys;
        keys.insert("github.token".to_owned(), KeyFacts { version: 2, unusable: Some(why) });
        let Wanted::Never { reason, message } = wanted(&world, &declared, 0) else { panic!("it cannot run") };
        assert_eq!(reason, expected);
        assert!(
            message.contains("`github.token` of the Secret `work`") && message.contains(says),
            "{message}"
        );
        world.reconcile(&declared);
        assert!(world.observed.containers.iter().all(|seen| seen.name != GITHUB));
        assert_eq!(revision(&world, FILE), None);
    }
}

/// The server's declared revision failed, and the one before is the way back.
fn rolled_back() -> (Declared, World) {
    let (mut declared, mut world) = running();
    set(&mut declared, "github.token", 2);
    world.reconcile(&declared);
    let hash = match wanted(&world, &declared, 0) {
        Wanted::Container(container) => container.identity.spec_hash,
        other => panic!("{other:?}"),
    };
    let rollout = world.rollouts.servers.get_mut("github").unwrap();
    let failed = Failed {
        spec_hash: hash,
        retry: 0,
        reason: "ServerFailed".to_owned(),
        message: "it ended".to_owned(),
        at: at(0),
        answered: std::collections::BTreeSet::new(),
    };
    *rollout = Rollout { proven: rollout.proven.clone(), trial: None, failed: Some(failed) };
    (declared, world)
}

#[test]
fn the_way_back_has_todays_values_because_yesterdays_are_gone() {
    let (declared, mut world) = rolled_back();
    let desired = world.desire(&declared);
    let instead = desired.servers[0].instead.clone().expect("the one before runs");
    let versions: Vec<_> =
        instead.secrets.iter().map(|source| (source.key.as_str(), source.version)).collect();
    assert_eq!(versions, [("github.user", 1), ("github.token", 2)]);
    world.reconcile(&declared);
    world.answer(&declared, &["github", "chat", "time"]);
    world.reconcile(&declared);
    assert_eq!(world.container(GITHUB).state, ContainerState::Running);
    assert!(world.plan(&declared).is_empty(), "{}", world.plan(&declared));
}

#[test]
fn there_is_no_way_back_to_a_secret_that_is_gone() {
    let (mut declared, world) = rolled_back();
    let entry = serde_json::json!({ "image": "mcp/github:1", "disableNetwork": true });
    let entry = crate::catalog::ServerEntry::from_json(&entry).unwrap();
    declared.catalogs[0].spec.registry.insert("github".to_owned(), entry);
    assert!(declared.secret_needs().contains("work"));
    declared.secrets.clear();
    let desired = world.desire(&declared);
    assert_eq!(desired.servers[0].instead, None);
    let record = desired.rollouts.servers.get("github");
    assert!(record.is_none_or(|rollout| rollout.proven.is_none()));
}

#[test]
fn the_recovery_file_names_secrets_and_versions_only() {
    let (declared, world) = running();
    let desired = world.desire(&declared);
    let recovery = desired.files.iter().find(|file| file.path == "recovery.json").unwrap();
    let read: crate::desired::Recovery = serde_json::from_str(&recovery.content.0).unwrap();
    let proven = read.rollouts.servers["github"].proven.as_ref().unwrap();
    assert_eq!(proven.container.secrets.len(), 2, "what is adopted can be made again");
}

#[test]
fn secrets_that_are_needed_are_those_that_are_named() {
    let mut declared = declare(WITH_SECRETS);
    declared.spec.servers[1].secrets[0].value_from.secret_key_ref.name = "other".to_owned();
    let names = |declared: &Declared| declared.secret_needs().into_iter().collect::<Vec<_>>();
    assert_eq!(names(&declared), ["other", "work"]);
    declared.spec.servers[1].enabled = Some(false);
    assert_eq!(names(&declared), ["work"]);
    assert!(declare(TWO_SERVERS).secret_needs().is_empty());
}

#[test]
fn another_version_is_another_revision_of_what_is_declared() {
    let mut declared = given();
    let before = declared.revision();
    set(&mut declared, "chat", 2);
    assert_ne!(declared.revision(), before, "what failed for one value says nothing of another");
}
