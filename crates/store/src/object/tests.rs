use bowline_core::object::{Kind, ObjectKey};
use serde_json::json;

use crate::testing::with_store;

#[test]
fn an_object_comes_back_as_it_was_written() {
    with_store(async |db| {
        let key = ObjectKey::gateway("u1", "default");
        let spec = json!({"servers": ["time", {"name": "x", "n": 1.5, "deep": [null, true, "ü\"\n"]}]});
        let written = db.apply(&key, &spec).await.object;
        assert_eq!(written.spec, spec);
        assert_eq!(written.metadata.generation, 1);
        assert_eq!(written.metadata.uid.get_version_num(), 7);
        assert_eq!(written.metadata.managed_by, "cli");
        assert_eq!(db.store.get(&key).await.unwrap().as_ref(), Some(&written));
        assert_eq!(db.store.get_by_uid(written.metadata.uid).await.unwrap().as_ref(), Some(&written));
        assert_eq!(db.store.get(&ObjectKey::gateway("u2", "default")).await.unwrap(), None);
    });
}

#[test]
fn a_list_is_ordered_and_knows_its_version() {
    with_store(async |db| {
        for (namespace, name) in [("b", "x"), ("a", "y"), ("a", "b")] {
            db.apply(&ObjectKey::gateway(namespace, name), &json!({})).await;
        }
        db.apply(&ObjectKey::cluster_catalog("base"), &json!({})).await;
        let all = db.store.list(Kind::Gateway, None).await.unwrap();
        let keys: Vec<String> = all.items.iter().map(|item| item.metadata.key.to_string()).collect();
        assert_eq!(keys, ["gateway/a/b", "gateway/a/y", "gateway/b/x"]);
        assert_eq!(all.version, 4);
        assert_eq!(db.store.list(Kind::Gateway, Some("b")).await.unwrap().items.len(), 1);
        let catalogs = db.store.list(Kind::ClusterCatalog, None).await.unwrap();
        assert_eq!(catalogs.items[0].metadata.key, ObjectKey::cluster_catalog("base"));
    });
}
