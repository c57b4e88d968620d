use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Runs a queue whose reconcile is `reconcile` until `until` says so.
async fn run<F, R>(concurrency: usize, keys: &[&str], reconcile: F, until: impl Fn() -> bool)
where
    F: Fn(String) -> R,
    R: Future<Output = Outcome> + Send + 'static,
{
    let queue = Arc::new(Queue::new(Limits { concurrency, ..Limits::default() }));
    let stop = CancellationToken::new();
    for key in keys {
        queue.add((*key).to_owned(), Trigger::Edited);
    }
    queue.open();
    let watch = async {
        while !until() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let progress = Progress::default();
    tokio::join!(queue.run(stop.clone(), &progress, reconcile), watch);
}

#[tokio::test(start_paused = true)]
async fn q17_a_panic_is_a_failure_of_its_own_key_only() {
    let calm = Arc::new(AtomicUsize::new(0));
    let wild = Arc::new(AtomicUsize::new(0));
    let reconcile = |key: String| {
        let (calm, wild) = (Arc::clone(&calm), Arc::clone(&wild));
        async move {
            if key == "wild" {
                let n = wild.fetch_add(1, Ordering::SeqCst);
                assert!(n > 0, "on purpose, once");
            }
            calm.fetch_add(1, Ordering::SeqCst);
            Outcome::Settled
        }
    };
    run(4, &["wild", "calm"], reconcile, || wild.load(Ordering::SeqCst) == 2).await;
    assert_eq!(calm.load(Ordering::SeqCst), 2, "both settled in the end");
}

#[tokio::test(start_paused = true)]
async fn q18_a_run_that_hangs_fails_at_its_deadline_and_holds_up_no_other() {
    let others = Arc::new(AtomicUsize::new(0));
    let hung = Arc::new(AtomicUsize::new(0));
    let reconcile = |key: String| {
        let (others, hung) = (Arc::clone(&others), Arc::clone(&hung));
        async move {
            if key == "hung" && hung.fetch_add(1, Ordering::SeqCst) == 0 {
                std::future::pending::<()>().await;
            }
            others.fetch_add(1, Ordering::SeqCst);
            Outcome::Settled
        }
    };
    run(2, &["hung", "a", "b", "c"], reconcile, || hung.load(Ordering::SeqCst) == 2).await;
    assert_eq!(others.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn q11_no_more_than_the_limit_run_at_once() {
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let reconcile = |_| {
        let (now, most, done) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&done));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            done.fetch_add(1, Ordering::SeqCst);
            Outcome::Settled
        }
    };
    run(3, &["a", "b", "c", "d", "e", "f", "g"], reconcile, || done.load(Ordering::SeqCst) == 7).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn q22_a_stop_lets_running_keys_finish_and_starts_no_other() {
    let started = Arc::new(AtomicUsize::new(0));
    let finished = Arc::new(AtomicUsize::new(0));
    let reconcile = |_| {
        let (started, finished) = (Arc::clone(&started), Arc::clone(&finished));
        async move {
            started.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(5)).await;
            finished.fetch_add(1, Ordering::SeqCst);
            Outcome::Settled
        }
    };
    run(1, &["a", "b"], reconcile, || started.load(Ordering::SeqCst) == 1).await;
    assert_eq!((started.load(Ordering::SeqCst), finished.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_queue_gets_further_while_nobody_asks_and_while_a_run_takes_its_time() {
    let queue: Queue<String> = Queue::new(Limits::default());
    let (stop, progress) = (CancellationToken::new(), Progress::default());
    let looking = async {
        for _ in 0..2 {
            tokio::time::sleep(RUN_DEADLINE / 2).await;
            assert_eq!(progress.stalled(PULSE * 2), None);
            queue.add("slow".to_owned(), Trigger::Edited);
            queue.open();
        }
        stop.cancel();
    };
    let slow = |_| async {
        tokio::time::sleep(RUN_DEADLINE * 2).await;
        Outcome::Settled
    };
    tokio::join!(queue.run(stop.clone(), &progress, slow), looking);
    assert_eq!(progress.stalled(STOP_GRACE / 2).map(|(part, _)| part), Some(Part::Queue), "it has ended");
}
