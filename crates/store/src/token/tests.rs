use bowline_core::object::{GatewayKey, ObjectKey};
use chrono::{TimeDelta, Utc};

use crate::testing::with_store;
use crate::{NewToken, TokenError};

fn token<'a>(id: &'a str, sha256: &'a str) -> NewToken<'a> {
    NewToken { id, sha256, label: "laptop", expires_at: None }
}

#[test]
fn every_change_of_the_tokens_has_a_revision_and_the_list_shows_no_hash() {
    with_store(async |db| {
        let (uid, _) = db.placed("u1").await;
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        assert_eq!(db.store.add_token(uid, token("a", &one)).await.unwrap(), 1);
        let expiring = NewToken { expires_at: Some(Utc::now() + TimeDelta::minutes(5)), ..token("b", &two) };
        assert_eq!(db.store.add_token(uid, expiring).await.unwrap(), 2);
        let listed = db.store.list_tokens(uid).await.unwrap();
        assert_eq!(listed.iter().map(|token| token.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(!format!("{listed:?}").contains(&one));

        assert_eq!(db.store.prune_expired_tokens(Utc::now()).await.unwrap(), Vec::<uuid::Uuid>::new());
        assert_eq!(db.store.prune_expired_tokens(Utc::now() + TimeDelta::minutes(6)).await.unwrap(), [uid]);
        assert_eq!(db.store.revoke_token(uid, "a").await.unwrap(), Some(4));
        assert_eq!(db.store.revoke_token(uid, "a").await.unwrap(), None);
        let record = db.store.load_gateway(&GatewayKey::new("u1", "default")).await.unwrap().unwrap();
        assert_eq!((record.tokens.len(), record.tokens_revision), (0, 4));
    });
}

#[test]
fn what_is_no_new_token_is_refused_and_leaves_the_revision() {
    with_store(async |db| {
        let (uid, _) = db.placed("u1").await;
        let hash = "a".repeat(64);
        db.store.add_token(uid, token("a", &hash)).await.unwrap();
        let other = "b".repeat(64);
        for (bad, kind) in [(token("a", &other), "id"), (token("b", &hash), "hash")] {
            let error = db.store.add_token(uid, bad).await.unwrap_err();
            assert!(matches!(error, TokenError::Duplicate), "{kind}: {error}");
        }
        let upper = "A".repeat(64);
        assert!(matches!(db.store.add_token(uid, token("c", &upper)).await, Err(TokenError::Malformed)));
        let gone = db.store.add_token(uuid::Uuid::now_v7(), token("c", &other)).await;
        assert!(matches!(gone, Err(TokenError::Gone)));
        assert_eq!(db.store.revoke_token(uid, "a").await.unwrap(), Some(2));
    });
}

#[test]
fn tokens_go_with_their_gateway() {
    with_store(async |db| {
        let (uid, _) = db.placed("u1").await;
        let hash = "a".repeat(64);
        db.store.add_token(uid, token("a", &hash)).await.unwrap();
        db.delete(&ObjectKey::gateway("u1", "default")).await;
        db.store.finish_delete(uid).await.unwrap();
        let (again, _) = db.placed("u1").await;
        assert!(db.store.list_tokens(again).await.unwrap().is_empty());
        assert_eq!(db.store.add_token(again, token("a", &hash)).await.unwrap(), 1);
    });
}
