use bowline_core::gateway_file::TokenVerifier;
use chrono::TimeDelta;

use super::*;

fn verifier(id: &str, token: &str, expires_at: Option<DateTime<Utc>>) -> TokenVerifier {
    TokenVerifier { id: id.into(), sha256: hex::encode(Sha256::digest(token)), expires_at }
}

fn set(tokens: Vec<TokenVerifier>) -> TokensFile {
    TokensFile { revision: 7, tokens }
}

#[test]
fn a_token_is_known_by_its_digest_until_it_expires() {
    let now = Utc::now();
    let soon = now + TimeDelta::minutes(5);
    let file = set(vec![verifier("a", "secret-a", None), verifier("b", "secret-b", Some(soon))]);
    let verifiers = Verifiers::default().renewed(&file);
    assert_eq!(verifiers.revision(), 7);
    let id = |token: &str, at| verifiers.verify(token.as_bytes(), at).map(|grant| grant.id().to_owned());
    assert_eq!(id("secret-a", now).as_deref(), Some("a"));
    assert_eq!(id("secret-b", now).as_deref(), Some("b"));
    assert_eq!(id("secret-b", soon), None, "the instant of expiry is refused");
    assert_eq!(id("secret-", now), None);
    assert_eq!(id("", now), None);
}

#[test]
fn a_revoked_grant_ends_and_an_untouched_one_does_not() {
    let now = Utc::now();
    let first = Verifiers::default()
        .renewed(&set(vec![verifier("a", "secret-a", None), verifier("b", "secret-b", None)]));
    let (kept, revoked) = (first.verify(b"secret-a", now).unwrap(), first.verify(b"secret-b", now).unwrap());
    let second = first.renewed(&set(vec![verifier("a", "secret-a", None)]));
    assert!(kept.holds(now) && !revoked.holds(now));
    assert!(second.verify(b"secret-b", now).is_none());
}

#[test]
fn a_token_whose_expiry_changes_starts_a_new_grant() {
    let now = Utc::now();
    let first = Verifiers::default().renewed(&set(vec![verifier("a", "secret-a", None)]));
    let before = first.verify(b"secret-a", now).unwrap();
    let later = Some(now + TimeDelta::hours(1));
    let second = first.renewed(&set(vec![verifier("a", "secret-a", later)]));
    assert!(!before.holds(now));
    assert!(second.verify(b"secret-a", now).unwrap().holds(now));
}

#[tokio::test]
async fn a_grant_ends_by_itself_when_its_token_expires() {
    let end = Utc::now() + TimeDelta::milliseconds(50);
    let verifiers = Verifiers::default().renewed(&set(vec![verifier("a", "secret-a", Some(end))]));
    verifiers.verify(b"secret-a", end - TimeDelta::milliseconds(1)).unwrap().ended().await;
    assert!(Utc::now() >= end);
}

#[test]
fn failures_are_free_in_a_burst_and_then_one_per_refill() {
    let start = Instant::now();
    let mut throttle = Throttle::new(start);
    for _ in 0..Throttle::BURST {
        assert_eq!(throttle.failure(start), Ok(()));
    }
    assert_eq!(throttle.failure(start), Err(Throttle::REFILL));
    let half = start + Throttle::REFILL / 2;
    assert_eq!(throttle.failure(half), Err(Throttle::REFILL / 2));
    let whole = start + Throttle::REFILL;
    assert_eq!(throttle.failure(whole), Ok(()));
    assert!(throttle.failure(whole).is_err());
}

#[test]
fn a_quiet_time_gives_the_whole_burst_back_and_no_more() {
    let start = Instant::now();
    let mut throttle = Throttle::new(start);
    while throttle.failure(start).is_ok() {}
    let later = start + Duration::from_secs(3600);
    let answered = std::iter::from_fn(|| throttle.failure(later).ok()).count();
    assert_eq!(answered, Throttle::BURST as usize);
}
