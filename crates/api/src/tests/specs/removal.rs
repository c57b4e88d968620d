//! What goes, what stays, and what waits for somebody's word.

use std::time::SystemTime;

use bowline_store::SpecDirectoryRow;

use super::*;

fn gateways(range: std::ops::Range<usize>) -> Vec<(String, String)> {
    range.map(|number| (format!("u{number:02}.yaml"), gateway(&format!("u{number:02}"), "time"))).collect()
}

#[tokio::test]
async fn ten_files_emptied_at_once_remove_nothing_and_neither_does_one() {
    let users = gateways(0..10);
    let mut all: Vec<_> = users.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    all.push(("base.yaml", CATALOG));
    let followed = Followed::start(&all).await;
    followed
        .until_true(|specs| files(specs).iter().filter(|(_, state)| state == "Applied").count() == 11)
        .await;
    let before = followed.objects().await;
    for (index, (name, _)) in users.iter().enumerate() {
        followed.write(name, ["", "# nothing yet\n", "---\n"][index % 3]);
    }
    followed
        .until_true(|specs| files(specs).iter().filter(|(_, state)| state == "Empty").count() == 10)
        .await;
    followed.one_removal_later().await;
    assert_eq!(followed.objects().await, before);
    // One that gets its text back is as before; one that goes for good takes its object along.
    followed.write(&users[0].0, &users[0].1);
    followed.remove(&users[1].0);
    followed.until_true(|specs| files(specs).iter().filter(|(_, state)| state == "Empty").count() == 8).await;
    let mut fewer = before.clone();
    fewer.remove(2);
    let keys: Vec<_> = fewer.iter().map(|(key, ..)| key.as_str()).collect();
    followed.until_keys(&keys).await;
    assert_eq!(followed.objects().await, fewer);
    followed.end().await;
}

#[tokio::test]
async fn a_great_removal_is_held_until_exactly_that_is_confirmed() {
    let users = gateways(0..10);
    let mut all: Vec<_> = users.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    all.push(("base.yaml", CATALOG));
    let mut followed = Followed::start(&all).await;
    followed
        .until_true(|specs| files(specs).iter().filter(|(_, state)| state == "Applied").count() == 11)
        .await;
    let before = followed.objects().await;
    (0..5).for_each(|user| followed.remove(&users[user].0));
    let first =
        followed.until_true(|specs| specs["held"]["objects"].as_array().is_some_and(|o| o.len() == 5)).await;
    assert_eq!(files(&first).iter().filter(|(_, state)| state == "Missing").count(), 5);
    assert_eq!(first["held"]["objects"][0]["file"], "u00.yaml");
    let is_told = |specs: &Value| message(specs, "u00.yaml").starts_with("the removal of 1 objects is held");
    assert_eq!(message(&followed.until_true(is_told).await, "u09.yaml"), "");
    // What goes while something is held is held with it, over a restart too.
    followed.remove(&users[5].0);
    followed.permit = None;
    followed.go_on();
    let second =
        followed.until_true(|specs| specs["held"]["objects"].as_array().is_some_and(|o| o.len() == 6)).await;
    assert_eq!(followed.objects().await, before);

    let confirm = async |id: &Value| {
        followed.fixture.exchange(Method::POST, "/v1/specs/confirm", json!({ "id": id })).await
    };
    let (status, _) = confirm(&first["held"]["id"]).await;
    assert_eq!(status, StatusCode::CONFLICT, "that is not what is held now");
    // What is declared again is not removed, whatever was confirmed.
    followed.write(&users[0].0, &users[0].1);
    let third =
        followed.until_true(|specs| specs["held"]["objects"].as_array().is_some_and(|o| o.len() == 5)).await;
    assert_ne!(third["held"]["id"], second["held"]["id"]);
    let (status, confirmed) = confirm(&third["held"]["id"]).await;
    assert_eq!(
        (status, confirmed["objects"].as_array().unwrap().len()),
        (StatusCode::OK, 5),
        "{confirmed:#}"
    );
    let left = [0, 6, 7, 8, 9].map(|user| format!("gateway/u{user:02}/default"));
    let mut left: Vec<_> = left.iter().map(String::as_str).collect();
    left.insert(0, "clustercatalog/base");
    followed.until_keys(&left).await;
    let (status, _) = confirm(&third["held"]["id"]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    followed.end().await;
}

#[tokio::test]
async fn a_directory_that_is_missing_removes_nothing_and_comes_back() {
    let followed = Followed::start(&[("base.yaml", CATALOG), ("u1.yaml", &gateway("u1", "time"))]).await;
    followed.until(&[("base.yaml", "Applied"), ("u1.yaml", "Applied")]).await;
    let before = followed.objects().await;
    let (specs, away) = (followed.path(""), followed.folder.path().join("away"));
    fs::rename(&specs, &away).unwrap();
    let told = followed.until_true(|specs| specs["directory"]["error"].is_string()).await;
    assert!(told["directory"]["error"].as_str().unwrap().contains("No such file"), "{told:#}");
    assert_eq!(followed.objects().await, before);
    fs::rename(&away, &specs).unwrap();
    followed.until_true(|specs| specs["directory"]["error"].is_null()).await;
    // It is another watch than the first; what happens now is seen, too.
    followed.one_removal_later().await;
    assert_eq!(followed.objects().await, before);
    followed.end().await;
}

#[tokio::test]
async fn a_catalog_in_use_stays_although_its_file_is_gone_until_nobody_uses_it() {
    let followed = Followed::start(&[("base.yaml", CATALOG)]).await;
    followed.until(&[("base.yaml", "Applied")]).await;
    followed.fixture.apply(&[&gateway("u1", "time")]).await;
    followed.remove("base.yaml");
    let told = followed.until(&[("base.yaml", "Refused")]).await;
    assert!(message(&told, "base.yaml").contains("is used by gateway/u1/default"), "{told:#}");
    let (status, _) = followed.fixture.delete("/v1/namespaces/u1/gateways/default").await;
    assert_eq!(status, StatusCode::OK);
    followed.directory.look();
    followed.until_keys(&[]).await;
    followed.until(&[]).await;
    followed.end().await;
}

#[tokio::test]
async fn what_another_file_declares_stays_although_that_file_cannot_have_it_yet() {
    let followed = Followed::start(&[("base.yaml", CATALOG), ("m.yaml", &gateway("u1", "time"))]).await;
    followed.until(&[("base.yaml", "Applied"), ("m.yaml", "Applied")]).await;
    let before = followed.objects().await;
    let both = |server: &str| gateway("u1", "fetch") + "---" + &gateway("u2", server);
    followed.write("a.yaml", &both("tiem"));
    followed.until(&[("a.yaml", "Conflict"), ("base.yaml", "Applied"), ("m.yaml", "Applied")]).await;
    followed.remove("m.yaml");
    let states = [("a.yaml", "Invalid"), ("base.yaml", "Applied"), ("m.yaml", "Missing")];
    let told = followed.until(&states).await;
    assert!(message(&told, "m.yaml").contains("other files declare"), "{told:#}");
    followed.one_removal_later().await;
    assert_eq!(followed.objects().await, before);

    followed.write("a.yaml", &both("time"));
    followed.until(&[("a.yaml", "Applied"), ("base.yaml", "Applied")]).await;
    let after = followed.objects().await;
    assert_eq!((&after[1].1, after[1].3.as_str()), (&before[1].1, "file:a.yaml"), "never removed");
    followed.end().await;
}

#[tokio::test]
async fn what_is_missing_from_a_file_goes_only_when_the_file_has_been_at_rest() {
    let (u1, u2) = (gateway("u1", "time"), gateway("u2", "time"));
    let both = format!("{u1}---{u2}");
    let followed = Followed::start(&[("base.yaml", CATALOG), ("a.yaml", &both)]).await;
    followed.until(&[("a.yaml", "Applied"), ("base.yaml", "Applied")]).await;
    let before = followed.objects().await;
    // Cut short, by a clock that is a little ahead, so that the rest lasts for longer than the test takes.
    followed.write("a.yaml", &u1);
    followed.date("a.yaml", SystemTime::now() + Duration::from_secs(9));
    followed.one_removal_later().await;
    assert_eq!(followed.objects().await, before);
    // What was only half-written is whole again.
    followed.write("a.yaml", &both);
    followed.age("a.yaml");
    followed.one_removal_later().await;
    assert_eq!(followed.objects().await, before);

    followed.write("a.yaml", &u1);
    followed.age("a.yaml");
    followed.until_keys(&["clustercatalog/base", "gateway/u1/default"]).await;
    followed.end().await;
}

#[tokio::test]
async fn a_directory_behind_a_link_or_a_name_of_no_path_is_not_taken_for_gone() {
    let followed = Followed::start(&[("base.yaml", CATALOG), ("team/u1.yaml", &gateway("u1", "time"))]).await;
    followed.until(&[("base.yaml", "Applied"), ("team/u1.yaml", "Applied")]).await;
    let before = followed.objects().await;
    let (team, away) = (followed.path("team"), followed.folder.path().join("away"));
    fs::rename(&team, &away).unwrap();
    std::os::unix::fs::symlink(&away, &team).unwrap();
    let told = followed.until(&[("base.yaml", "Applied"), ("team/u1.yaml", "Unreadable")]).await;
    assert!(message(&told, "team/u1.yaml").contains("symbolic link"), "{told:#}");
    followed.one_removal_later().await;
    assert_eq!(followed.objects().await, before);

    fs::remove_file(&team).unwrap();
    fs::rename(&away, followed.path("te\nam")).unwrap();
    let states = [("base.yaml", "Applied"), ("team/u1.yaml", "Unreadable"), ("te\u{fffd}am", "Unreadable")];
    followed.until(&states).await;
    // No removal can show that time has passed: nothing is removed while such a directory is there.
    let begun = std::time::Instant::now();
    for round in 0.. {
        followed.write("base.yaml", &CATALOG.replace("title: Time", &format!("title: Time {round}")));
        let generation = round + before[0].2 + 1;
        while followed.objects().await[0].2 != generation {
            assert!(begun.elapsed() < SOON, "{:#}", followed.specs().await);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        if begun.elapsed() > Duration::from_secs(3) {
            break;
        }
    }
    assert_eq!(followed.objects().await[1..], before[1..]);
    fs::remove_dir_all(followed.path("te\nam")).unwrap();
    followed.until_keys(&["clustercatalog/base"]).await;
    followed.end().await;
}

#[tokio::test]
async fn a_file_that_comes_back_as_it_was_gets_back_what_went_with_it() {
    let both = CATALOG.to_owned() + "---" + &named_catalog("extra");
    let followed = Followed::start(&[("base.yaml", &both)]).await;
    followed.until(&[("base.yaml", "Applied")]).await;
    followed.fixture.apply(&[&gateway("u1", "time")]).await;
    followed.remove("base.yaml");
    // The catalog is in use and stays.
    followed.until(&[("base.yaml", "Refused")]).await;
    followed.until_keys(&["clustercatalog/base", "gateway/u1/default"]).await;
    followed.write("base.yaml", &both);
    followed.until(&[("base.yaml", "Applied")]).await;
    followed.until_keys(&["clustercatalog/base", "clustercatalog/extra", "gateway/u1/default"]).await;
    followed.end().await;
}

#[tokio::test]
async fn another_directory_than_before_removes_nothing_without_a_word() {
    let mut followed = Followed::start(&[("base.yaml", CATALOG), ("u1.yaml", &gateway("u1", "time"))]).await;
    followed.until(&[("base.yaml", "Applied"), ("u1.yaml", "Applied")]).await;
    followed.permit = None;
    // As if this directory, which has a file less, were given for the first time.
    followed.remove("u1.yaml");
    let path = "/etc/elsewhere".to_owned();
    let row = SpecDirectoryRow { path, error: None, changed_at: chrono::Utc::now() };
    followed.fixture.store.put_spec_directory(&row).await.unwrap();
    followed.go_on();
    let told = followed.until_true(|specs| specs["held"].is_object()).await;
    assert_eq!(told["held"]["objects"][0]["file"], "u1.yaml");
    let stored = async || followed.fixture.store.specs().await.unwrap().directory.unwrap().path;
    assert_eq!(stored().await, row.path);

    let confirm = json!({ "id": told["held"]["id"] });
    let (status, _) = followed.fixture.exchange(Method::POST, "/v1/specs/confirm", confirm).await;
    assert_eq!(status, StatusCode::OK);
    followed.until_keys(&["clustercatalog/base"]).await;
    // From now on it is the directory that was followed before.
    followed.one_removal_later().await;
    assert_eq!(stored().await, followed.directory.path().display().to_string());
    followed.end().await;
}
