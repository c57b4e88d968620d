use super::*;

fn ranges() -> Ranges {
    Ranges {
        ports: "20000-20002".parse().unwrap(),
        uids: "1900000000-1900000001".parse().unwrap(),
        subnets: "10.213.0.0/24".parse().unwrap(),
    }
}

fn set(values: &[i64]) -> BTreeSet<i64> {
    values.iter().copied().collect()
}

#[test]
fn the_lowest_free_value_comes_first_and_an_exhausted_range_gives_none() {
    let none = BTreeSet::new();
    let next = |taken: &[i64]| ranges().next_free(LeaseKind::Port, &set(taken), &none, &none, None);
    assert_eq!(next(&[]), Some(20000));
    assert_eq!(next(&[20000, 20002]), Some(20001));
    assert_eq!(next(&[20000, 20001, 20002]), None);
}

#[test]
fn a_reserved_port_goes_to_its_own_name_first_and_to_others_last() {
    let none = BTreeSet::new();
    let reserved = set(&[20000]);
    let next = |taken: &[i64], preferred| {
        ranges().next_free(LeaseKind::Port, &set(taken), &none, &reserved, preferred)
    };
    assert_eq!(next(&[], None), Some(20001));
    assert_eq!(next(&[], Some(20000)), Some(20000));
    assert_eq!(next(&[20001, 20002], None), Some(20000));
    assert_eq!(next(&[20000], Some(20000)), Some(20001), "a preference never takes what another holds");
    assert_eq!(next(&[], Some(31000)), Some(20001), "a preference outside the range is no candidate");
}

#[test]
fn subnets_are_cut_from_the_pool_without_overlap() {
    let mut taken = BTreeSet::new();
    let mut texts = Vec::new();
    let none = BTreeSet::new();
    while let Some(value) = ranges().next_free(LeaseKind::Subnet, &taken, &none, &none, None) {
        taken.insert(value);
        texts.push(Subnet::from_lease(value).unwrap().to_string());
    }
    assert_eq!(texts, ["10.213.0.0/26", "10.213.0.64/26", "10.213.0.128/26", "10.213.0.192/26"]);
}

#[test]
fn bad_ranges_and_pools_are_refused() {
    for text in ["", "1", "5-4", "0-9", "a-b", "1-4294967295"] {
        assert!(text.parse::<Range>().is_err(), "{text}");
    }
    for text in ["", "10.0.0.0", "10.0.0.0/27", "8.8.0.0/16", "10.0.0.1/16", "10.0.0.0/7"] {
        assert!(text.parse::<SubnetPool>().is_err(), "{text}");
    }
}

#[test]
fn a_holder_survives_its_text() {
    for holder in [Holder::Gateway, Holder::Server("SQLite".to_owned())] {
        assert_eq!(holder.to_string().parse::<Holder>(), Ok(holder));
    }
    assert!("server/".parse::<Holder>().is_err());
    assert!("other".parse::<Holder>().is_err());
}
