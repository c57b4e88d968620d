use super::*;
use crate::args::Command;
use crate::args::tests::parse;

fn settings(flags: &[&str]) -> Result<Settings, Failure> {
    let Ok(Command::Serve(mut args)) = parse(["bowline", "serve"].iter().chain(flags)) else {
        panic!("not serve")
    };
    args.host_name.get_or_insert_with(|| "h1".to_owned());
    Settings::of(*args)
}

fn refusal(flags: &[&str]) -> String {
    settings(flags).unwrap_err().to_string()
}

#[test]
fn a_password_in_the_command_line_is_refused_with_the_other_way() {
    let text = refusal(&["--database-url", "postgres://u:p@h/db"]);
    assert!(text.contains("--database-url-file") && !text.contains("u:p"), "{text}");
}

#[test]
fn publishing_beyond_loopback_needs_a_word_more() {
    assert!(refusal(&["--publish-address", "192.0.2.1"]).contains("--insecure-publish"));
    assert!(refusal(&["--publish-address", "2001:db8::1"]).contains("--insecure-publish"));
}

#[test]
fn private_remote_servers_need_the_admins_word() {
    let allows = |flags: &[&str]| match parse(["bowline", "serve"].iter().chain(flags)) {
        Ok(Command::Serve(args)) => args.allow_private_remotes,
        _ => panic!("not serve"),
    };
    assert!(!allows(&[]));
    assert!(allows(&["--allow-private-remotes"]));
}

#[test]
fn an_address_that_stands_for_all_is_refused_whatever_else_is_said() {
    for address in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
        let text = refusal(&["--publish-address", address, "--insecure-publish"]);
        assert!(text.contains(address) && text.contains("name the address itself"), "{text}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    for (flags, says) in [
        (["--instance", "A_b"], "no name of an instance"),
        (["--port-range", "80-90"], "1024-65535"),
        (["--port-range", "60000-70000"], "1024-65535"),
        (["--uid-range", "1-100"], "system's own"),
        (["--gateway-image", "UPPER/case"], "no image"),
        (["--resync", "0s"], "never rest"),
        (["--host-name", "h_1"], "no name of a host"),
    ] {
        let text = refusal(&flags);
        assert!(text.contains(says), "{flags:?}: {text}");
    }
}
