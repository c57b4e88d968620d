//! What users ask for beside the specification: `bowline retry` cuts every wait short, and once.

use bowline_core::schedule::Outcome;
use bowline_core::step::FailureClass;

use crate::bench::{Act, Bench, with_store};
use crate::world::{Fault, Moment, Strike};

/// A run; the calls of it that change something.
async fn changes(bench: &Bench) -> Vec<String> {
    bench.world.arm(None);
    bench.run_once().await.expect("nobody kills it");
    let looks = |line: &String| line == "observe" || line.starts_with("try ");
    bench.world.log().into_iter().filter(|line| !looks(line)).collect()
}

#[test]
fn a_retry_asks_the_registry_at_once_and_one_more_time() {
    with_store(|store| async move {
        let mut bench = Bench::new(&store, 0).await;
        bench.ask(Act::Declared).await;
        bench.settle().await;
        bench.world.lose_image("localhost/keeper:1");
        bench.declare("localhost/gateway:1", "[fetch, time, keeper]").await;
        let pulls = |changes: Vec<String>| {
            changes.into_iter().filter(|line| line.contains("pull image localhost/keeper:1")).count()
        };
        for _ in 0..3 {
            assert_eq!(pulls(changes(&bench).await), 0, "it was asked for a moment ago");
        }
        let uid = bench.record().await.unwrap().object.metadata.uid;
        let asked = store.request_retry(uid, "*").await.unwrap();
        assert_eq!(pulls(changes(&bench).await), 1);
        assert_eq!(bench.status().await.observed_requests, asked);
        for _ in 0..3 {
            assert_eq!(pulls(changes(&bench).await), 0, "a retry is carried out once");
        }
    });
}

#[test]
fn a_retry_goes_on_with_a_deletion_that_waits() {
    with_store(|store| async move {
        let mut bench = Bench::new(&store, 0).await;
        bench.ask(Act::Declared).await;
        bench.settle().await;
        bench.ask(Act::Deleted).await;
        let refused = Fault::Fail(FailureClass::Refused);
        bench.world.arm(Some(Strike { call: 2, moment: Moment::Before, fault: refused }));
        let outcome = bench.run_once().await;
        assert!(matches!(outcome, Some(Outcome::Again(wait)) if wait.as_secs() > 60), "{outcome:?}");
        assert_eq!(changes(&bench).await, Vec::<String>::new(), "it waits");

        let uid = bench.record().await.unwrap().object.metadata.uid;
        let asked = store.request_retry(uid, "*").await.unwrap();
        assert_ne!(changes(&bench).await, Vec::<String>::new());
        assert_eq!(bench.status().await.observed_requests, asked);
        bench.settle().await;
        assert!(bench.record().await.is_none());
    });
}
