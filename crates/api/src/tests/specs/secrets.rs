//! A Secret in the directory.

use super::*;

const SECRET: &str = "
apiVersion: bowline.dev/v1alpha1
kind: Secret
metadata: { namespace: u1, name: work }
stringData: { pat: canary-3b77 }
";

#[tokio::test]
async fn a_file_with_a_secret_is_refused_whole_and_leaves_no_trace_of_its_text() {
    let both = format!("{CATALOG}---\n{SECRET}");
    let followed = Followed::start(&[("base.yaml", CATALOG)]).await;
    followed.until(&[("base.yaml", "Applied")]).await;
    let before = followed.objects().await;
    followed.write("base.yaml", &both);
    let specs = followed.until(&[("base.yaml", "Invalid")]).await;
    let found = &specs["items"][0]["diagnostics"][0];
    let line = both.lines().position(|line| line == "kind: Secret").unwrap() + 1;
    assert_eq!((found["line"].as_u64(), &found["path"]), (Some(line as u64), &json!("kind")), "{specs:#}");
    assert!(found["hint"].as_str().unwrap().contains("bowline secret set -n u1 work KEY"), "{specs:#}");
    assert!(!specs.to_string().contains("canary-3b77"), "{specs:#}");
    assert_eq!(followed.objects().await, before, "what the file held it holds");
    // The hash of a text in which a short value is the one thing unknown would tell that value.
    let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&both));
    let rows = followed.fixture.store.specs().await.unwrap().files;
    assert!(!format!("{rows:?}").contains(&hash), "{rows:?}");
    followed.write("base.yaml", CATALOG);
    followed.until(&[("base.yaml", "Applied")]).await;
    followed.end().await;
}

#[tokio::test]
async fn a_secret_with_an_error_of_its_own_leaves_no_trace_of_its_text_either() {
    let texts = [
        // A number where a text is expected, then the same value as it should be.
        SECRET.replace("canary-3b77", "482913"),
        SECRET.replace("canary-3b77", "'482913'"),
        SECRET.replace("namespace: u1, ", ""),
        SECRET.replace("canary-3b77 }", "canary-3b77"),
        SECRET.replace("kind: Secret\n", ""),
    ];
    let followed = Followed::start(&[("work.yaml", &texts[0])]).await;
    let mut seen = Value::Null;
    for text in &texts {
        followed.write("work.yaml", text);
        let specs = followed
            .until_true(|specs| {
                files(specs) == [("work.yaml".to_owned(), "Invalid".to_owned())]
                    && specs["items"][0]["diagnostics"] != seen
            })
            .await;
        seen = specs["items"][0]["diagnostics"].clone();
        let rows = format!("{:?}", followed.fixture.store.specs().await.unwrap().files);
        for any in &texts {
            let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(any));
            assert!(!rows.contains(&hash), "{any}\n{rows}");
        }
    }
    followed.end().await;
}
