use bowline_core::object::{EventType, Kind, ObjectKey};
use chrono::{DateTime, TimeDelta, Utc};

use crate::EventFilter;
use crate::testing::with_store;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_000_000 + seconds, 0).unwrap()
}

#[test]
fn the_same_event_is_counted_and_within_a_second_not_even_that() {
    with_store(async |db| {
        let (uid, _) = db.placed("u1").await;
        let version = db.store.get_by_uid(uid).await.unwrap().unwrap().metadata.resource_version;
        let store = &db.store;
        assert!(
            store
                .record_event(uid, EventType::Warning, "PullFailed", "no\0 such image", at(0))
                .await
                .unwrap()
        );
        let before = db.writers().await;
        assert!(
            !store.record_event(uid, EventType::Warning, "PullFailed", "no such image", at(0)).await.unwrap()
        );
        assert_eq!(db.writers().await, before);
        assert!(
            store.record_event(uid, EventType::Warning, "PullFailed", "no such image", at(5)).await.unwrap()
        );
        assert!(store.record_event(uid, EventType::Normal, "Started", "x", at(3)).await.unwrap());

        let events = store.events(uid).await.unwrap();
        assert_eq!(
            events.iter().map(|event| event.reason.as_str()).collect::<Vec<_>>(),
            ["Started", "PullFailed"]
        );
        let pull = &events[1];
        assert_eq!((pull.event_type, pull.count), (EventType::Warning, 2));
        assert_eq!((pull.first_timestamp, pull.last_timestamp), (at(0), at(5)));
        let after = store.get_by_uid(uid).await.unwrap().unwrap().metadata.resource_version;
        assert_eq!(after, version, "an event is no change of its object");
    });
}

#[test]
fn an_object_keeps_its_newest_hundred_events_for_a_week() {
    with_store(async |db| {
        let (uid, _) = db.placed("u1").await;
        for n in 0..103 {
            db.store.record_event(uid, EventType::Normal, "R", &format!("message {n}"), at(n)).await.unwrap();
        }
        let events = db.store.events(uid).await.unwrap();
        assert_eq!((events.len(), events[0].message.as_str()), (100, "message 3"));
        let pruned = db.store.prune(at(50) + TimeDelta::days(7)).await.unwrap();
        assert_eq!(pruned.events, 47);
        assert_eq!(db.store.events(uid).await.unwrap()[0].message, "message 50");
    });
}

#[test]
fn a_long_message_is_cut_and_an_object_that_is_gone_has_no_events() {
    with_store(async |db| {
        let (uid, _) = db.placed("u1").await;
        let long = "ü".repeat(5000);
        assert!(db.store.record_event(uid, EventType::Normal, "R", &long, at(0)).await.unwrap());
        assert_eq!(db.store.events(uid).await.unwrap()[0].message.chars().count(), 1024);
        db.delete(&ObjectKey::gateway("u1", "default")).await;
        db.store.finish_delete(uid).await.unwrap();
        assert!(db.store.events(uid).await.unwrap().is_empty());
        assert!(!db.store.record_event(uid, EventType::Normal, "R", "x", at(0)).await.unwrap());
    });
}

#[test]
fn the_events_of_all_objects_are_read_together_or_by_what_they_are_about() {
    with_store(async |db| {
        let (first, _) = db.placed("u1").await;
        let (second, _) = db.placed("u2").await;
        let store = &db.store;
        for (uid, reason, seconds) in [(first, "A", 1), (second, "B", 2), (first, "C", 3)] {
            assert!(store.record_event(uid, EventType::Normal, reason, "x", at(seconds)).await.unwrap());
        }
        let reasons = async |filter: EventFilter, limit| {
            let events = store.events_of_objects(&filter, limit).await.unwrap();
            events.into_iter().map(|found| found.event.reason).collect::<Vec<_>>()
        };
        let all = EventFilter::default;
        assert_eq!(reasons(all(), 10).await, ["A", "B", "C"]);
        assert_eq!(reasons(all(), 2).await, ["B", "C"], "the newest stay");
        assert_eq!(reasons(EventFilter { since: Some(at(2)), ..all() }, 10).await, ["B", "C"]);
        assert_eq!(reasons(EventFilter { namespace: Some("u1".to_owned()), ..all() }, 10).await, ["A", "C"]);
        assert_eq!(reasons(EventFilter { name: Some("other".to_owned()), ..all() }, 10).await, [""; 0]);
        assert_eq!(reasons(EventFilter { kind: Some(Kind::ClusterCatalog), ..all() }, 10).await, [""; 0]);
        let found = store.events_of_objects(&all(), 1).await.unwrap();
        assert_eq!((&found[0].object, found[0].uid), (&ObjectKey::gateway("u1", "default"), first));
    });
}
