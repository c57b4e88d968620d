use super::*;

#[tokio::test]
async fn whoever_asks_for_a_look_in_the_middle_of_a_burst_does_not_end_it() {
    let (sender, mut news) = channel::channel(());
    let wake = Notify::new();
    for was in [false, true] {
        wake.notify_one();
        assert_eq!(wait(RESCAN, &wake, &mut news, was).await, was);
    }
    // News that are there already come first, and their burst is waited for.
    wake.notify_one();
    sender.send_replace(());
    let begun = Instant::now();
    assert!(wait(RESCAN, &wake, &mut news, false).await);
    assert!(begun.elapsed() >= QUIET);
    assert!(wait(QUIET, &Notify::new(), &mut news, false).await, "a rest without news is a rest");
}
