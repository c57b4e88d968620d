//! Damage of every kind is noticed and put right, in place where Docker can: once with the Engine's events, and once
//! without a word of them, where the cheap list and the resync find out.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use bowline_tests::figures;
use bowline_tests::snapshot::Snapshot;
use bowline_tests::wait;
use serde_json::{Value, json};

use self::rig::{Mode, Rig, declaration};
use crate::support::{PATIENCE, condition, docker, members, server_state, settled, starts};

mod rig;

/// What is done to a file: what it is then, and how it is done.
type FileDamage = (&'static str, fn(&Path));

const FILE_DAMAGE: [FileDamage; 5] = [
    ("edited", |path| fs::write(path, "{}").expect("a file")),
    ("deleted", |path| fs::remove_file(path).expect("a file")),
    ("replaced", |path| {
        let other = path.with_extension("new");
        fs::write(&other, "{}").expect("a file");
        fs::rename(&other, path).expect("a file");
    }),
    ("a directory", |path| {
        fs::remove_file(path).expect("a file");
        fs::create_dir(path).expect("a directory");
        fs::write(path.join("inside"), "x").expect("a file");
    }),
    ("a symlink", |path| {
        fs::remove_file(path).expect("a file");
        symlink("/etc/hostname", path).expect("a link");
    }),
];

/// What is done to containers and their network: the row, what is started anew because of it, and how it is done.
type Row = (&'static str, &'static [&'static str], fn(&Rig));

const ROWS: [Row; 17] = [
    ("rm -f of a server", &["light"], |rig| rig.act("light", "DELETE", "?force=true", &Value::Null)),
    ("rm -f of the gateway", &["gateway"], |rig| rig.act("gateway", "DELETE", "?force=true", &Value::Null)),
    ("stop of a server", &["light"], |rig| rig.act("light", "POST", "/stop?t=2", &Value::Null)),
    ("stop of the gateway", &["gateway"], |rig| rig.act("gateway", "POST", "/stop?t=2", &Value::Null)),
    ("kill of a server", &["clock"], |rig| rig.act("clock", "POST", "/kill", &Value::Null)),
    ("kill of the gateway", &["gateway"], |rig| rig.act("gateway", "POST", "/kill", &Value::Null)),
    ("pause of a server", &[], |rig| rig.act("light", "POST", "/pause", &Value::Null)),
    ("pause of the gateway", &[], |rig| rig.act("gateway", "POST", "/pause", &Value::Null)),
    ("update --memory of a server", &[], |rig| {
        rig.act("light", "POST", "/update", &json!({ "Memory": 32 << 20, "MemorySwap": 64 << 20 }));
    }),
    ("update --restart=no of the gateway", &[], |rig| {
        rig.act("gateway", "POST", "/update", &json!({ "RestartPolicy": { "Name": "no" } }));
    }),
    ("rename of a server", &[], |rig| rig.rename("light")),
    ("rename of the gateway", &[], |rig| rig.rename("gateway")),
    ("network disconnect of a server", &[], |rig| rig.disconnect("clock")),
    ("network disconnect of the gateway", &[], |rig| rig.disconnect("gateway")),
    ("network removed", &[], |rig| {
        let target = format!("/networks/{}", rig.network());
        // They may be put back before it can be removed.
        wait::until_true("the network is removed", PATIENCE, || {
            rig.disconnect("clock");
            rig.disconnect("gateway");
            rig.bowline.engine().call("DELETE", &target, b"").status == 204
        });
    }),
    ("process 1 ended from within", &["clock"], |rig| {
        docker(["exec", &rig.id("clock"), "sh", "-c", "kill -TERM 1"]).ok();
    }),
    ("process 1 killed from the host", &["light"], |rig| {
        let pid = members(&rig.bowline, "u1")["light"]["State"]["Pid"].to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill").success());
    }),
];

/// The whole table: rows with the seconds that they took.
fn table(mode: Mode) -> Vec<(String, f64)> {
    let rig = Rig::start(mode);
    let mut table = Vec::new();
    for (row, restarted, damage) in ROWS {
        rig.quiet();
        table.push((row.to_owned(), rig.heals(row, restarted, damage)));
    }
    for file in ["config/gateway.json", "config/tokens.json", "recovery.json"] {
        for (damage, act) in FILE_DAMAGE {
            let row = format!("{file} {damage}");
            let seconds = rig.heals(&row, &[], |rig| act(&rig.path(file)));
            table.push((row, seconds));
        }
    }
    table.push(("full tmpfs, from its being freed".to_owned(), full_tmpfs(&rig)));
    table.push(("image removed, from its being back".to_owned(), image_removed(&rig)));
    table.push(("paused by annotation, from its removal".to_owned(), paused(&rig)));
    asked_for(&rig);
    table
}

/// No room to put a file right: it goes on answering, says why, and is whole again as soon as there is room.
fn full_tmpfs(rig: &Rig) -> f64 {
    rig.heals("full tmpfs", &[], |rig| {
        let filler = rig.runtime.fill("filler");
        fs::remove_file(rig.path("config/gateway.json")).expect("a file");
        // What became free by that.
        let rest = rig.runtime.fill("rest");
        wait::until_true("the trouble is told", PATIENCE, || {
            let object = rig.bowline.object("gateway", "u1", "default");
            let (status, reason) = condition(&object, "Progressing");
            (status.as_str(), reason.as_str()) == ("True", "BackOff")
        });
        assert!(rig.answers(), "a running gateway needs no file");
        fs::remove_file(filler).expect("the filler");
        fs::remove_file(rest).expect("the rest");
    })
}

/// The image of a server is gone for good while its container goes on; when that goes, too, it is told, and is cured
/// by the image's return alone.
fn image_removed(rig: &Rig) -> f64 {
    let saved = tempfile::NamedTempFile::new().expect("a file");
    let saved = saved.path().to_str().expect("a path").to_owned();
    let reference = rig.image.reference();
    rig.heals("image removed", &["light"], |rig| {
        docker(["image", "save", "--output", &saved, reference]).ok();
        let before = starts(&rig.bowline, "u1");
        docker(["image", "rm", "--force", reference]).ok();
        // The next look at everything changes nothing.
        fs::write(rig.path("config/tokens.json"), "{}").expect("a file");
        wait::until_true("the file is put right", PATIENCE, || {
            rig.declared.difference(&Snapshot::take(&rig.bowline, &rig.postgres)).is_empty()
        });
        assert_eq!(starts(&rig.bowline, "u1"), before, "the container goes on");
        rig.pause();
        let image = members(&rig.bowline, "u1")["light"]["Image"].as_str().expect("an image").to_owned();
        rig.act("light", "DELETE", "?force=true", &Value::Null);
        docker(["image", "rm", "--force", &image]).ok();
        rig.unpause();
        wait::until_true("the missing image is told", PATIENCE, || {
            let object = rig.bowline.object("gateway", "u1", "default");
            server_state(&object, "light") == ("Failed".to_owned(), "ImageMissing".to_owned())
        });
        docker(["image", "load", "--quiet", "--input", &saved]).ok();
    })
}

/// While somebody debugs, damage is seen and left alone.
fn paused(rig: &Rig) -> f64 {
    rig.heals("paused", &["light"], |rig| {
        rig.pause();
        let stopped = rig.id("light");
        rig.act("light", "POST", "/stop?t=2", &Value::Null);
        fs::write(rig.path("config/gateway.json"), "{}").expect("a file");
        wait::until_true("the damage is told", PATIENCE, || {
            server_state(&rig.bowline.object("gateway", "u1", "default"), "light").0 != "Running"
        });
        let inspect = rig.bowline.engine().inspect_container(&stopped);
        assert_eq!(inspect["State"]["Running"], false, "it is left alone");
        assert_eq!(fs::read_to_string(rig.path("config/gateway.json")).expect("the file"), "{}");
        assert_eq!(rig.progressing(), ("Unknown".to_owned(), "Paused".to_owned()));
        rig.unpause();
    })
}

/// What is asked for is no damage: a restart and a suspension change what was asked for, and nothing else.
fn asked_for(rig: &Rig) {
    let bowline = &rig.bowline;
    let before = starts(bowline, "u1");
    for (role, words) in [
        ("light", vec!["restart", "server", "u1", "light", "--wait"]),
        ("gateway", vec!["restart", "gateway", "u1", "--wait"]),
    ] {
        let before = starts(bowline, "u1");
        bowline.cli(words).ok();
        settled(bowline, "u1");
        assert_eq!(rig.started_since(&before), BTreeSet::from([role]), "restart of {role}");
        assert!(rig.answers(), "after the restart of {role}");
    }
    assert_eq!(rig.started_since(&before), BTreeSet::from(["gateway", "light"]));

    bowline.apply(&declaration().replace("spec: {", "spec: { suspend: true,"));
    let stopped = || members(bowline, "u1").values().all(|seen| seen["State"]["Running"] == false);
    wait::until_true("every container is stopped", PATIENCE, stopped);
    // Somebody starts one by hand: it stays suspended.
    let begin = Instant::now();
    let inspect = || bowline.engine().inspect_container(&rig.id("light"));
    let ended = inspect()["State"]["FinishedAt"].clone();
    rig.act("light", "POST", "/start", &Value::Null);
    wait::until_true("it is stopped again", PATIENCE, || {
        let state = &inspect()["State"];
        state["Running"] == false && state["FinishedAt"] != ended
    });
    figures::note(
        "damage",
        &format!("start of a suspended server: stopped after {:.1} s", begin.elapsed().as_secs_f64()),
    );
    bowline.apply(&declaration());
    settled(bowline, "u1");
    wait::until_true("tools answer", PATIENCE, || rig.answers());
    // The record for a lost database tells of what was asked for; everything else is as it was declared first.
    let difference = rig.declared.difference(&Snapshot::take(bowline, &rig.postgres));
    let other: Vec<_> = difference.lines().filter(|line| !line.starts_with(['-', '+'])).collect();
    assert!(other.iter().all(|object| object.ends_with("recovery.json")), "{difference}");
}

#[test]
fn every_damage_is_put_right_with_the_events_and_without_them() {
    let [events, cut] = [Mode::Events, Mode::Cut]
        .map(|mode| thread::spawn(move || table(mode)))
        .map(thread::JoinHandle::join);
    // Both have cleaned up behind themselves before the first says what went wrong.
    let [events, cut] =
        [events, cut].map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    for ((row, with), (_, without)) in events.iter().zip(&cut) {
        figures::note("damage", &format!("{row}: healed after {with:.1} s (events) / {without:.1} s (cut)"));
    }
}
