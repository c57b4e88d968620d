//! Writes past a file, with `--force`: a change of a file undoes them, and nothing else.

use super::*;

#[tokio::test]
async fn others_write_the_object_of_a_file_only_by_force_and_the_file_says_so_until_it_changes() {
    let followed = Followed::start(&[("base.yaml", CATALOG), ("u1.yaml", &gateway("u1", "time"))]).await;
    followed.until(&[("base.yaml", "Applied"), ("u1.yaml", "Applied")]).await;
    let other = gateway("u1", "fetch");
    let (status, problem) = followed.fixture.try_apply(&[&other], Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem:#}");
    assert_eq!(problem["detail"], "gateway/u1/default is declared by the spec file u1.yaml");
    assert!(problem["hint"].as_str().unwrap().contains("--force"), "{problem:#}");
    let (status, _) = followed.fixture.delete("/v1/namespaces/u1/gateways/default").await;
    assert_eq!(status, StatusCode::CONFLICT);
    // Nobody passes for a file.
    let (status, _) = followed.fixture.try_apply(&[&other], json!({ "managedBy": "file:u1.yaml" })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);

    let (status, _) = followed.fixture.try_apply(&[&other], json!({ "force": true })).await;
    assert_eq!(status, StatusCode::OK);
    followed.directory.look();
    let told = followed.until(&[("base.yaml", "Applied"), ("u1.yaml", "Conflict")]).await;
    assert!(message(&told, "u1.yaml").contains("--force"), "{told:#}");
    assert_eq!(followed.objects().await[1].3, "cli");
    followed.write("u1.yaml", &gateway("u1", "time").replace("team: data", "team: other"));
    followed.until(&[("base.yaml", "Applied"), ("u1.yaml", "Applied")]).await;
    assert_eq!(followed.objects().await[1].3, "file:u1.yaml");

    let (status, _) = followed.fixture.delete("/v1/clustercatalogs/base?force=true").await;
    assert_eq!(status, StatusCode::OK);
    followed.directory.look();
    followed.until(&[("base.yaml", "Conflict"), ("u1.yaml", "Applied")]).await;
    followed.end().await;
}

#[tokio::test]
async fn what_was_forced_is_not_undone_by_the_next_file_that_declares_it() {
    let titled = |title: &str| CATALOG.replace("title: Time", &format!("title: {title}"));
    let followed = Followed::start(&[("m.yaml", CATALOG)]).await;
    followed.until(&[("m.yaml", "Applied")]).await;
    followed.write("a.yaml", &titled("Hours"));
    followed.until(&[("a.yaml", "Conflict"), ("m.yaml", "Applied")]).await;

    let forced = titled("Forced");
    let (status, _) = followed.fixture.try_apply(&[&forced], json!({ "force": true })).await;
    assert_eq!(status, StatusCode::OK);
    let written = followed.objects().await;
    followed.directory.look();
    let states = [("a.yaml", "Conflict"), ("m.yaml", "Conflict")];
    followed.until(&states).await;
    followed.one_removal_later().await;
    let told = followed.until(&states).await;
    assert_eq!(followed.objects().await, written);
    assert!(message(&told, "a.yaml").contains("--force"), "{told:#}");
    // Neither is a deletion, even when another file goes meanwhile.
    let (status, _) = followed.fixture.delete("/v1/clustercatalogs/base?force=true").await;
    assert_eq!(status, StatusCode::OK);
    followed.one_removal_later().await;
    followed.until(&states).await;
    assert_eq!(followed.keys().await, [""; 0]);
    // Whoever changes the file means it.
    followed.write("a.yaml", &titled("Minutes"));
    followed.until(&[("a.yaml", "Applied"), ("m.yaml", "Conflict")]).await;
    assert_eq!(followed.objects().await[0].3, "file:a.yaml");
    followed.end().await;
}
