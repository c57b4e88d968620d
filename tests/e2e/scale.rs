//! Forty-five users, each with a networked server of its own.

use std::time::Instant;

use bowline_tests::bowline::Bowline;
use bowline_tests::figures;

use crate::support::{LIGHT, TIME, all_ready, call, catalog, entry, gateway, members};

#[test]
fn forty_five_users_with_a_networked_server_each_are_all_served() {
    const USERS: usize = 45;
    let users: Vec<String> = (1..=USERS).map(|number| format!("u{number}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut bowline = Bowline::new();
    bowline.start();
    let gateways: String =
        users.iter().map(|user| gateway(user, &[if *user == "u1" { "clock" } else { "light" }])).collect();
    let begun = Instant::now();
    bowline.apply(&(catalog(&[("light", entry(LIGHT, "")), ("clock", entry(TIME, ""))]) + &gateways));
    all_ready(&bowline, &users);
    let ready = begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    for user in &users {
        let who = format!(r#"{{"user": "{user}"}}"#);
        if *user == "u1" {
            call(&bowline, user, "get_current_time", r#"{"timezone": "UTC"}"#).ok();
        } else {
            let answer = call(&bowline, user, "echo", &who).ok();
            assert!(answer.contains(*user), "{answer}");
        }
    }
    let called = begun.elapsed().as_secs_f64();
    assert!(users.iter().all(|user| members(&bowline, user).len() == 2));

    let begun = Instant::now();
    let mut delete = vec!["delete".to_owned(), "--timeout=150s".to_owned()];
    delete.extend(users.iter().map(|user| format!("gateway/{user}/default")));
    bowline.cli(delete).ok();
    assert_eq!(bowline.left_over(), Vec::<String>::new());
    figures::note(
        "scale",
        &format!(
            "{USERS} users with a networked server: all Ready after {ready:.1} s, a tool of each called in {called:.1} s, \
             all gone after {:.1} s",
            begun.elapsed().as_secs_f64()
        ),
    );
}
