use super::*;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn names_are_completed_as_docker_completes_them() {
    for (written, canonical) in [
        ("alpine", "docker.io/library/alpine:latest".to_owned()),
        ("mcp/time", "docker.io/mcp/time:latest".to_owned()),
        ("mcp/time:1.2", "docker.io/mcp/time:1.2".to_owned()),
        ("index.docker.io/alpine:3", "docker.io/library/alpine:3".to_owned()),
        ("localhost/mcp-server-time:latest", "localhost/mcp-server-time:latest".to_owned()),
        ("localhost:5000/a/b/c", "localhost:5000/a/b/c:latest".to_owned()),
        ("ghcr.io/acme/a__b.c--d:v1", "ghcr.io/acme/a__b.c--d:v1".to_owned()),
        (&format!("mcp/time@{DIGEST}"), format!("docker.io/mcp/time@{DIGEST}")),
        (&format!("mcp/time:1@{DIGEST}"), format!("docker.io/mcp/time:1@{DIGEST}")),
        (DIGEST, DIGEST.to_owned()),
    ] {
        let parsed: ImageReference = written.parse().unwrap();
        assert_eq!(parsed.canonical(), canonical);
        assert_eq!(parsed.to_string(), written);
        let again: ImageReference = canonical.parse().unwrap();
        assert_eq!(again.canonical(), canonical, "canonical is a fixed point");
    }
}

#[test]
fn parts_can_be_asked_for() {
    let parsed: ImageReference = format!("mcp/time:1@{DIGEST}").parse().unwrap();
    assert_eq!(parsed.repository().as_deref(), Some("docker.io/mcp/time"));
    assert_eq!(parsed.registry(), Some("docker.io"));
    assert_eq!((parsed.tag(), parsed.digest()), (Some("1"), Some(DIGEST)));
    assert!(!parsed.is_id());
    assert!(DIGEST.parse::<ImageReference>().unwrap().is_id());
}

#[test]
fn malformed_references_say_which_part_is_wrong() {
    use ImageReferenceError as E;
    let error = |written: &str| written.parse::<ImageReference>().unwrap_err();
    assert_eq!(error(""), E::Empty);
    assert_eq!(error("MCP/time"), E::Uppercase("MCP/time".into()));
    assert_eq!(error("a b"), E::Repository("a b".into()));
    assert_eq!(error("mcp//time"), E::Repository("mcp//time".into()));
    assert_eq!(error("mcp/time_"), E::Repository("mcp/time_".into()));
    assert_eq!(error("mcp/a___b"), E::Repository("mcp/a___b".into()));
    assert_eq!(error("mcp/time:"), E::Tag(String::new()));
    assert_eq!(error("mcp/time:-x"), E::Tag("-x".into()));
    assert_eq!(error("mcp/time@sha256:12"), E::Digest("sha256:12".into()));
    assert_eq!(error("bad-.host/x"), E::Registry("bad-.host".into()));
    assert_eq!(error("localhost:99999/x"), E::Registry("localhost:99999".into()));
    assert_eq!(error("{{x}}"), E::Repository("{{x}}".into()));
    assert_eq!(error(&"a".repeat(300)), E::TooLong);
}
