//! No plan puts a secret where it does not belong.

use super::*;

#[test]
fn secrets_in_the_wrong_place_break_the_floor() {
    let declared = given();
    let good = World::with_images(&declared).plan(&declared);
    let check = |plan: &Plan| crate::floor::check(plan, &declared.key(), &settings());
    assert_eq!(check(&good), Ok(()));
    let tree = settings().tree(Uuid::from_u128(42));
    type Change = Box<dyn Fn(&Role, &mut ContainerSpec)>;
    let of_server = |change: fn(&mut ContainerSpec)| -> Change {
        Box::new(move |role, spec| {
            if *role == Role::Server("github".to_owned()) {
                change(spec);
            }
        })
    };
    let foreign = format!("{tree}/secrets/chat");
    let all = format!("{tree}/secrets");
    let to = |source: String| -> Change {
        Box::new(move |role, spec| {
            if *role == Role::Server("github".to_owned()) {
                spec.binds.last_mut().unwrap().source = source.clone();
            }
        })
    };
    let own = format!("{tree}/secrets/github");
    let elsewhere: Change = Box::new(move |role, spec| {
        if *role == Role::Gateway {
            spec.binds[0].source = own.clone();
        }
    });
    let changes: [(&str, Change); 7] = [
        ("another server's", to(foreign)),
        ("everybody's", to(all)),
        ("sockets as secrets", to(format!("{tree}/sockets"))),
        ("writable", of_server(|spec| spec.binds.last_mut().unwrap().read_only = false)),
        (
            "in another place",
            of_server(|spec| spec.binds.last_mut().unwrap().target = "/run/bowline".to_owned()),
        ),
        ("of no revision", of_server(|spec| spec.secrets.clear())),
        ("in the gateway", elsewhere),
    ];
    for (what, change) in changes {
        let mut plan = good.clone();
        for planned in &mut plan.steps {
            if let Step::CreateContainer { identity, spec, .. } = &mut planned.step {
                change(&identity.role, spec);
            }
        }
        assert!(check(&plan).is_err(), "not found: {what}");
    }
    for path in ["config/tokens.json", "secrets/env", "secrets/../env", "secrets/github/other", "/etc/env"] {
        let mut plan = good.clone();
        for planned in &mut plan.steps {
            if let Step::WriteSecrets { path: of, .. } = &mut planned.step {
                *of = path.to_owned();
            }
        }
        assert!(check(&plan).is_err(), "not found: {path}");
    }
}
