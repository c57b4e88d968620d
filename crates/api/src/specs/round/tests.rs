use super::*;

fn look(news: channel::Receiver<()>, at: Instant, quiet: bool) -> Look<'static> {
    let (scan, readings) = (Scan::default(), Readings::default());
    Look { directory: Path::new("/specs"), scan, readings, at, quiet, news }
}

#[test]
fn what_happened_since_the_look_and_a_look_of_long_ago_make_a_removal_wait() {
    let (sender, news) = channel::channel(());
    let now = Instant::now();
    assert_eq!(look(news.clone(), now, true).patience(), SETTLE);
    assert_eq!(look(news.clone(), now, false).patience(), RESTLESS, "a burst goes on");
    assert_eq!(look(news.clone(), now - 2 * SETTLE, true).patience(), RESTLESS, "that was long ago");
    let look = look(news, now, true);
    sender.send_replace(());
    assert_eq!(look.patience(), RESTLESS, "something has happened");
}
