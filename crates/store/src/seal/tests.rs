use std::collections::BTreeSet;

use super::*;

const TENANT: Uuid = Uuid::from_u128(1);
const SECRET: Uuid = Uuid::from_u128(2);
const VALUE: &[u8] = b"canary-4f1d-canary";

fn place() -> Place<'static> {
    Place { tenant: TENANT, secret_uid: SECRET, secret: "github", key: "token", version: 7 }
}

fn key() -> (PublicKey, Keyring) {
    let private = PrivateKey::generate();
    (private.public().clone(), Keyring::from_iter([private]))
}

fn opens(place: &Place<'_>, sealed: &Sealed, keyring: &Keyring) -> bool {
    open(place, sealed, keyring).is_ok()
}

#[test]
fn what_was_sealed_is_opened_by_each_of_its_recipients_and_shows_nothing() {
    let ((first, first_ring), (second, second_ring)) = (key(), key());
    for value in [&b""[..], VALUE, &[b'x'; 32 << 10]] {
        let sealed = seal(&place(), value, &[first.clone(), second.clone()]).unwrap();
        assert_eq!(sealed.ciphertext.len(), value.len() + 16);
        assert_eq!(*open(&place(), &sealed, &first_ring).unwrap(), value);
        assert_eq!(*open(&place(), &sealed, &second_ring).unwrap(), value);
        let stored =
            [&sealed.nonce[..], &sealed.ciphertext, &sealed.wraps[0].encapsulated, &sealed.wraps[0].wrapped];
        let stored = stored.concat();
        assert!(value.is_empty() || !stored.windows(value.len()).any(|window| window == value));
    }
}

/// What this program sealed once; nobody may change the format without noticing.
#[test]
fn what_an_earlier_build_has_sealed_still_opens() {
    let line = "bowline-key-v1 GAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHl8=\n";
    let private = PrivateKey::from_text(line).unwrap();
    assert_eq!(private.to_text().as_str(), line);
    let sealed = Sealed {
        nonce: hex::decode(include_str!("tests/nonce.hex").trim()).unwrap(),
        ciphertext: hex::decode(include_str!("tests/ciphertext.hex").trim()).unwrap(),
        wraps: vec![Wrap {
            key_id: private.id().clone(),
            encapsulated: hex::decode(include_str!("tests/encapsulated.hex").trim()).unwrap(),
            wrapped: hex::decode(include_str!("tests/wrapped.hex").trim()).unwrap(),
        }],
    };
    assert_eq!(*open(&place(), &sealed, &Keyring::from_iter([private])).unwrap(), VALUE);
}

#[test]
fn nothing_opens_at_another_place() {
    let (public, ring) = key();
    let sealed = seal(&place(), VALUE, &[public]).unwrap();
    let other = Uuid::from_u128(3);
    let elsewhere = [
        Place { tenant: other, ..place() },
        Place { secret_uid: other, ..place() },
        Place { secret: "gitlab", ..place() },
        Place { key: "Token", ..place() },
        Place { version: 8, ..place() },
        // The same bytes, divided otherwise.
        Place { secret: "githubt", key: "oken", ..place() },
        Place { secret: "githu", key: "btoken", ..place() },
        // Two fields of one type, exchanged.
        Place { tenant: SECRET, secret_uid: TENANT, ..place() },
    ];
    assert!(opens(&place(), &sealed, &ring));
    for place in elsewhere {
        assert!(matches!(open(&place, &sealed, &ring), Err(Unopenable::Altered(_))), "{place:?}");
    }
}

#[test]
fn parts_of_two_values_open_nothing_together() {
    let ((first, ring), (second, second_ring)) = (key(), key());
    ring.join(&second_ring);
    let one = seal(&place(), VALUE, &[first.clone(), second.clone()]).unwrap();
    let two = seal(&place(), VALUE, &[first, second]).unwrap();
    let mixed = [
        Sealed { nonce: two.nonce.clone(), ..one.clone() },
        Sealed { ciphertext: two.ciphertext.clone(), ..one.clone() },
        Sealed { wraps: two.wraps.clone(), ..one.clone() },
        Sealed {
            wraps: vec![Wrap { encapsulated: two.wraps[0].encapsulated.clone(), ..one.wraps[0].clone() }],
            ..one.clone()
        },
        // A wrap under the id of another key that is here.
        Sealed {
            wraps: vec![Wrap { key_id: one.wraps[1].key_id.clone(), ..one.wraps[0].clone() }],
            ..one.clone()
        },
        // The tables exchanged.
        Sealed { ciphertext: one.wraps[0].wrapped.clone(), ..one.clone() },
    ];
    assert!(opens(&place(), &one, &ring));
    for sealed in mixed {
        assert!(!opens(&place(), &sealed, &ring), "{sealed:?}");
    }
}

/// The parts of a sealed value.
const PARTS: [fn(&mut Sealed) -> &mut Vec<u8>; 4] = [
    |sealed| &mut sealed.nonce,
    |sealed| &mut sealed.ciphertext,
    |sealed| &mut sealed.wraps[0].encapsulated,
    |sealed| &mut sealed.wraps[0].wrapped,
];

/// Flips every bit of one value, one at a time. Returns how many there were.
fn flip_every_bit(place: &Place<'_>, public: &PublicKey, ring: &Keyring) -> usize {
    let mut sealed = seal(place, VALUE, std::slice::from_ref(public)).unwrap();
    let mut flips = 0;
    for part in PARTS {
        for bit in 0..part(&mut sealed).len() * 8 {
            part(&mut sealed)[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(place, &sealed, ring), "bit {bit} at {place:?}");
            part(&mut sealed)[bit / 8] ^= 1 << (bit % 8);
            flips += 1;
        }
    }
    assert!(opens(place, &sealed, ring));
    flips
}

#[test]
fn no_bit_of_a_hundred_values_can_be_flipped() {
    let (public, ring) = key();
    let flips: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|first| {
                let (public, ring) = (&public, &ring);
                let versions = (first..100).step_by(4);
                scope.spawn(move || {
                    versions
                        .map(|version| flip_every_bit(&Place { version, ..place() }, public, ring))
                        .sum::<usize>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(flips, 100 * 8 * (12 + VALUE.len() + 16 + 32 + 48));
}

#[test]
fn what_is_cut_off_or_longer_is_refused() {
    let (public, ring) = key();
    let whole = seal(&place(), VALUE, &[public]).unwrap();
    for part in PARTS {
        let mut sealed = whole.clone();
        part(&mut sealed).push(0);
        assert!(!opens(&place(), &sealed, &ring));
        let mut sealed = whole.clone();
        for _ in 0..part(&mut sealed).len() {
            part(&mut sealed).pop();
            assert!(!opens(&place(), &sealed, &ring));
        }
    }
}

#[test]
fn a_value_says_for_which_keys_it_was_sealed_when_none_of_them_is_here() {
    let ((public, ring), (_, other)) = (key(), key());
    let mut sealed = seal(&place(), VALUE, std::slice::from_ref(&public)).unwrap();
    let error = open(&place(), &sealed, &other).unwrap_err();
    assert_eq!(error, Unopenable::UnknownKey(vec![public.id().clone()]));
    assert_eq!(
        error.to_string(),
        format!("it was sealed for the key {}, and no such key is here", public.id())
    );
    sealed.wraps[0].wrapped[0] ^= 1;
    let error = open(&place(), &sealed, &ring).unwrap_err();
    assert_eq!(error, Unopenable::Altered(public.id().clone()));
    sealed.wraps.clear();
    assert_eq!(open(&place(), &sealed, &ring).unwrap_err(), Unopenable::NoWrap);
}

#[test]
fn a_data_key_is_wrapped_anew_without_the_value() {
    let ((old, ring), (new, new_ring)) = (key(), key());
    let mut sealed = seal(&place(), VALUE, &[old]).unwrap();
    let error = rewrap(&place(), &sealed.wraps, &new_ring, &new).unwrap_err();
    assert!(matches!(error, RewrapError::Unopenable(Unopenable::UnknownKey(_))), "{error}");
    sealed.wraps = vec![rewrap(&place(), &sealed.wraps, &ring, &new).unwrap()];
    assert_eq!(*open(&place(), &sealed, &new_ring).unwrap(), VALUE);
    assert!(!opens(&place(), &sealed, &ring));
}

/// Seals `count` times, and finds every data key and every nonce used once.
fn seal_without_repetition(count: usize) {
    let (public, ring) = key();
    let (mut data_keys, mut nonces) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..count {
        // The same value at the same place: what differs is drawn.
        let sealed = seal(&place(), VALUE, std::slice::from_ref(&public)).unwrap();
        let (data_key, _) = data_key(&place(), &sealed.wraps, &ring).unwrap();
        assert!(data_keys.insert(*data_key) && nonces.insert(sealed.nonce));
    }
    assert_eq!((data_keys.len(), nonces.len()), (count, count));
}

#[test]
fn no_data_key_and_no_nonce_comes_twice() {
    seal_without_repetition(10_000);
}

#[test]
#[ignore = "minutes: run with --release"]
fn no_data_key_and_no_nonce_comes_twice_in_a_million_seals() {
    seal_without_repetition(1_000_000);
}

#[test]
fn a_key_that_nobody_can_have_is_no_recipient() {
    // A point of small order: every exchange with it ends in nothing.
    let weak = PublicKey::from_bytes(&[0; 32]).unwrap();
    let error = seal(&place(), VALUE, std::slice::from_ref(&weak)).unwrap_err();
    assert!(matches!(&error, SealError::Recipient(id) if id == weak.id()), "{error}");
    assert_eq!(PublicKey::from_bytes(&[0; 31]), None);
}

#[test]
fn debug_shows_no_key() {
    let private = PrivateKey::generate();
    let text = private.to_text();
    let line = text.trim_end().strip_prefix("bowline-key-v1 ").unwrap().to_owned();
    let bytes: [u8; 32] = private.hpke().to_bytes().into();
    let id = private.id().to_string();
    let shown = format!("{private:?} {private:#?}");
    let ring = Keyring::from_iter([private]);
    let shown = format!("{shown} {ring:?} {ring:#?}");
    assert!(shown.contains(&id), "{shown}");
    for hidden in [
        line,
        hex::encode(bytes),
        hex::encode_upper(bytes),
        format!("{bytes:?}"),
        format!("{:?}", &bytes[..4]),
    ] {
        assert!(!shown.contains(hidden.trim_matches(['[', ']'])), "{shown}");
    }
}
