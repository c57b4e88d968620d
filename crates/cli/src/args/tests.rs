use bowline_core::status::ConditionType;
use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches};

use super::*;

/// Reads a command line as the program does, but without the environment of whoever runs the tests.
pub(crate) fn parse<'a>(words: impl IntoIterator<Item = &'a &'a str>) -> Result<Command, clap::Error> {
    fn without_environment(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| arg.env(Resettable::Reset)).mut_subcommands(without_environment)
    }
    let matches = without_environment(Cli::command()).try_get_matches_from(words)?;
    Cli::from_arg_matches(&matches).map(|cli| cli.command)
}

fn parse_line(line: &str) -> Result<Command, clap::Error> {
    parse(&line.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_verbs_read_as_they_are_documented() {
    for line in [
        "bowline serve --port-range 20000-20010 --log-format json --insecure-publish",
        "bowline serve --spec-dir /etc/bowline/specs",
        "bowline get specs -o wide",
        "bowline specs -o yaml",
        "bowline specs confirm --yes",
        "bowline apply -f a.yaml -f - --dry-run",
        "bowline apply --filename examples --wait --timeout 3m",
        "bowline diff -f a.yaml -f -",
        "bowline create gateway u1 --servers time,fetch --catalog base --catalog more --dry-run -o yaml",
        "bowline create gw u1/work --servers time --wait --timeout 3m",
        "bowline enable u1 time fetch --wait",
        "bowline disable u1/work time",
        "bowline annotate gateway/u1/default dev.bowline.paused=true note- --overwrite",
        "bowline annotate gateway u1/default note=x",
        "bowline events -A -w",
        "bowline events -n u1 --for gateway/default --types Warning,normal -o json",
        "bowline explain gateway.spec.servers --recursive",
        "bowline restart gateway u1 --wait",
        "bowline restart gateway -n u1 work",
        "bowline restart server u1 time",
        "bowline restart server -n u1 time --gateway work",
        "bowline retry u1/work",
        "bowline retry -n u1",
        "bowline get gateways -A -o wide",
        "bowline get gateways --all-namespaces --output name",
        "bowline get gateway default -n u1 -o json",
        "bowline get gateway default -u u1 -w",
        "bowline get gateways -l team=data",
        "bowline describe gateway/u1/default",
        "bowline delete gateway/u1/default gateway/u2/default --wait=false",
        "bowline delete -f a.yaml --timeout 2m",
        "bowline wait --for=condition=Ready gateway/u1/default --timeout=60s",
        "bowline wait --for=delete gateway/u1/default",
        "bowline logs -f --server time u1 --tail 5 --since 5m --timestamps",
        "bowline tools u1/work -o json",
        "bowline call u1 get_current_time {}",
        "bowline connect u1 --client claude-code --name laptop --expires 90d",
        "bowline token list u1",
        "bowline token revoke u1/default 0123",
        "bowline secret set -n u1 work pat token=x --from-file key=/dev/null --from-env-file a.env",
        "bowline secret set u1/work pat --from-stdin",
        "bowline secret set u1/work --from-env-file -",
        "bowline secret list -A -o wide",
        "bowline secret delete u1/work pat --force --ignore-not-found",
        "bowline get secrets -n u1",
        "bowline describe secret/u1/work",
        "bowline adopt --instance default --host-name h1",
        "bowline teardown --instance default --yes",
        "bowline version --server unix:///run/bowline/api/bowline.sock",
        "bowline completion bash",
    ] {
        if let Err(error) = parse_line(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_is_wrong_is_refused_before_anything_happens() {
    for line in [
        "bowline get",
        "bowline get gateways -A -n u1",
        "bowline apply",
        "bowline diff",
        "bowline create gateway u1",
        "bowline create catalog base",
        "bowline create gateway u1 --servers time --dry-run --wait",
        "bowline enable u1",
        "bowline annotate gateway/u1/default",
        "bowline events -A -n u1",
        "bowline events --types Strange",
        "bowline explain",
        "bowline restart",
        "bowline restart server",
        "bowline restart server u1 time --gateway work",
        "bowline secret",
        "bowline secret set -n u1 work",
        "bowline secret set -n u1 work --from-file nopath",
        "bowline secret list -A -n u1",
        "bowline secret delete",
        "bowline apply -f a.yaml --dry-run --wait",
        "bowline delete",
        "bowline delete gateway/u1/default -f a.yaml",
        "bowline wait gateway/u1/default",
        "bowline wait gateway/u1/default --for=condition=Redy",
        "bowline connect u1 --client notepad --name x",
        "bowline connect u1 --client cursor",
        "bowline call U1 tool",
        "bowline apply -f a --timeout 5",
        "bowline teardown",
        "bowline serve --port-range 9-1",
        "bowline serve --subnet-pool 8.8.0.0/16",
        "bowline serve --concurrency 0",
    ] {
        assert!(parse_line(line).is_err(), "{line}");
    }
}

#[test]
fn the_api_is_found_by_flag_or_runtime_directory() {
    let client = |line: &str| match parse_line(line) {
        Ok(Command::Tools(args)) => args.api.client(),
        other => panic!("{other:?}"),
    };
    let socket = |line: &str| client(line).unwrap().socket().display().to_string();
    assert_eq!(socket("bowline tools u1 --runtime-dir /x"), "/x/api/bowline.sock");
    assert_eq!(socket("bowline tools u1 --socket /y.sock"), "/y.sock");
    assert_eq!(socket("bowline tools u1 --server unix:///z.sock --socket /y.sock"), "/z.sock");
    assert_eq!(socket("bowline tools u1 --server /z.sock"), "/z.sock");
    let refused = client("bowline tools u1 --server https://example.org").unwrap_err();
    assert!(refused.to_string().contains("unix socket"), "{refused}");
}

#[test]
fn logs_of_a_server_are_not_logs_from_another_api() {
    let Ok(Command::Logs(args)) = parse_line("bowline logs u1 --server time --api /z.sock") else { panic!() };
    assert_eq!(args.server.as_deref(), Some("time"));
    assert_eq!(args.client().unwrap().socket().display().to_string(), "/z.sock");
}

#[test]
fn conditions_are_named_in_any_case() {
    assert_eq!("condition=ready".parse(), Ok(WaitFor::Condition(ConditionType::Ready)));
    assert_eq!("delete".parse(), Ok(WaitFor::Delete));
}
