//! What goes, what stays, and what waits for somebody's word.

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
