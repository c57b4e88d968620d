//! From nodes to a [`GatewaySpec`].

use std::collections::BTreeSet;

use super::{CatalogRef, GatewaySpec, Mode, Profile, ServerDefaults, ServerSpec, Transport, secrets};
use crate::diagnostic::Code;
use crate::image_reference::ImageReference;
use crate::names::is_dns_label;
use crate::object::Kind;
use crate::resource::is_registry_key;
use crate::resource::quantity::{
    Limits, MAX_CPU, MAX_MEMORY, MAX_PIDS, MIN_CPU_LIMIT, MIN_CPU_REQUEST, MIN_MEMORY, Requests, Resources,
};
use crate::resource::read::{Field, Fields, Reader, Use};
use crate::tool_filter::{MAX_PATTERNS, ToolFilter, ToolPattern};
use crate::yaml::{Node, NodeKind, map_to_json};

const LATER: &str = "remove it; a later version brings it";

pub(crate) const FIELDS: &[Field] = &[
    ("catalogs", Use::Works),
    ("servers", Use::Works),
    ("serverDefaults", Use::Works),
    ("mode", Use::Works),
    ("transport", Use::Works),
    ("resources", Use::Works),
    ("image", Use::Works),
    ("port", Use::Works),
    ("progressDeadlineSeconds", Use::Works),
    ("suspend", Use::Works),
    ("secretRefs", Use::Works),
    ("nodeSelector", Use::NotYet("remove it; there is one host in this version")),
];
pub(crate) const SERVER_FIELDS: &[Field] = &[
    ("name", Use::Works),
    ("enabled", Use::Works),
    ("config", Use::Works),
    ("resources", Use::Works),
    ("profile", Use::Works),
    ("tools", Use::Works),
    ("secrets", Use::Works),
    ("idle", Use::NotYet(LATER)),
];
pub(crate) const TOOLS_FIELDS: &[Field] = &[("allow", Use::Works), ("deny", Use::Works)];
pub(crate) const SERVER_DEFAULTS_FIELDS: &[Field] =
    &[("resources", Use::Works), ("profile", Use::Works), ("idle", Use::NotYet(LATER))];
pub(crate) const RESOURCES_FIELDS: &[Field] = &[("requests", Use::Works), ("limits", Use::Works)];
pub(crate) const REQUESTS_FIELDS: &[Field] = &[("cpu", Use::Works), ("memory", Use::Works)];
pub(crate) const LIMITS_FIELDS: &[Field] =
    &[("cpu", Use::Works), ("memory", Use::Works), ("pids", Use::Works)];
pub(crate) const CATALOG_REFERENCE_FIELDS: &[Field] =
    &[("kind", Use::Works), ("name", Use::Works), ("namespace", Use::Works)];

/// The kinds of catalogs that a gateway can name.
pub(crate) const CATALOG_KINDS: &[(&str, Kind)] =
    &[("ClusterCatalog", Kind::ClusterCatalog), ("Catalog", Kind::Catalog)];
/// `None` stands for a word that belongs to the model and does not work yet.
pub(crate) const MODES: &[(&str, Option<Mode>)] =
    &[("Static", Some(Mode::Static)), ("static", Some(Mode::Static)), ("Dynamic", None), ("dynamic", None)];
pub(crate) const TRANSPORTS: &[(&str, Option<Transport>)] = &[
    ("StreamableHTTP", Some(Transport::StreamableHttp)),
    ("streaming", Some(Transport::StreamableHttp)),
    ("http", Some(Transport::StreamableHttp)),
    ("streamable", Some(Transport::StreamableHttp)),
    ("streamable-http", Some(Transport::StreamableHttp)),
    ("SSE", None),
    ("sse", None),
    ("stdio", None),
];
pub(crate) const PROFILES: &[(&str, Profile)] =
    &[("restricted", Profile::Restricted), ("baseline", Profile::Baseline)];
/// More servers than this behind one endpoint serve no client, and every one of them is a container.
pub(crate) const MAX_SERVERS: usize = 256;
/// More catalogs than anybody layers.
pub(crate) const MAX_CATALOGS: usize = 32;
/// More keys than any catalog entry asks for.
pub(crate) const MAX_CONFIG_KEYS: usize = 256;
/// Ports that need no privilege; fixed ones and leased ones alike.
pub(crate) const PORTS: std::ops::RangeInclusive<u32> = 1024..=65535;

/// Seconds that a replacement may be given: long enough for a process to start, short enough to matter.
pub(crate) const PROGRESS_DEADLINES: std::ops::RangeInclusive<u32> = 5..=3600;

/// Reads `spec` of a Gateway. `namespace` is the gateway's own, where it is known.
pub(in crate::resource) fn spec(
    reader: &mut Reader,
    node: &Node,
    namespace: Option<&str>,
) -> Option<GatewaySpec> {
    let fields = reader.fields(node, FIELDS)?;
    Some(GatewaySpec {
        catalogs: fields.read(reader, "catalogs", |r, n| Some(catalogs(r, n, namespace))).unwrap_or_default(),
        servers: fields.read(reader, "servers", |r, n| Some(servers(r, n))).unwrap_or_default(),
        server_defaults: fields.read(reader, "serverDefaults", server_defaults).unwrap_or_default(),
        secret_refs: fields
            .read(reader, "secretRefs", |r, n| Some(secrets::references(r, n)))
            .unwrap_or_default(),
        mode: fields.read(reader, "mode", |r, n| supported_word(r, n, MODES, "Static")),
        transport: fields
            .read(reader, "transport", |r, n| supported_word(r, n, TRANSPORTS, "StreamableHTTP")),
        resources: read_resources(reader, &fields),
        image: fields.read(reader, "image", gateway_image),
        port: fields.read(reader, "port", |r, n| r.integer(n, PORTS)?.try_into().ok()),
        progress_deadline_seconds: fields
            .read(reader, "progressDeadlineSeconds", |r, n| r.integer(n, PROGRESS_DEADLINES)),
        suspend: fields.read(reader, "suspend", Reader::boolean),
    })
}

fn supported_word<T: Copy>(
    reader: &mut Reader,
    node: &Node,
    words: &[(&str, Option<T>)],
    instead: &str,
) -> Option<T> {
    let is_later = |word: &str| words.iter().any(|(known, value)| *known == word && value.is_none());
    if let NodeKind::String(word) = &node.kind
        && is_later(word)
    {
        let found =
            reader.report(Code::NotSupportedYet, node.position, format!("`{word}` is not supported yet"));
        found.hint = Some(format!("write `{instead}`, or nothing"));
        return None;
    }
    let works: Vec<(&str, T)> = words.iter().filter_map(|(known, value)| Some((*known, (*value)?))).collect();
    reader.word(node, &works)
}

/// Whether a collection is no longer than is read.
pub(super) fn has_at_most(reader: &mut Reader, node: &Node, most: usize) -> bool {
    let length = match &node.kind {
        NodeKind::Seq(items) => items.len(),
        NodeKind::Map(entries) => entries.len(),
        _ => 0,
    };
    if length > most {
        reader.report(Code::OutOfRange, node.position, format!("{length} items are more than {most}"));
    }
    length <= most
}

fn catalogs(reader: &mut Reader, node: &Node, namespace: Option<&str>) -> Vec<CatalogRef> {
    let mut seen = BTreeSet::new();
    if !has_at_most(reader, node, MAX_CATALOGS) {
        return Vec::new();
    }
    reader.list(node, |reader, item| {
        let reference = catalog_reference(reader, item, namespace)?;
        if !seen.insert(reference.clone()) {
            let message = format!("the catalog `{reference}` is listed twice");
            reader.report(Code::DuplicateName, item.position, message);
            return None;
        }
        Some(reference)
    })
}

/// A name, `{kind: ClusterCatalog, name: …}`, or `{kind: Catalog, name: …, namespace: …}`, whose namespace is the
/// gateway's own where it is absent.
fn catalog_reference(reader: &mut Reader, item: &Node, own: Option<&str>) -> Option<CatalogRef> {
    if !matches!(item.kind, NodeKind::Map(_)) {
        return label(reader, item, "a ClusterCatalog").map(CatalogRef::Cluster);
    }
    let fields = reader.fields(item, CATALOG_REFERENCE_FIELDS)?;
    let kind = fields.require(reader, "kind", |reader, node| reader.word(node, CATALOG_KINDS));
    let name = fields.require(reader, "name", |r, n| label(r, n, "a catalog"));
    let namespace = fields.read(reader, "namespace", |r, n| label(r, n, "a namespace"));
    match (kind?, fields.get("namespace")) {
        (Kind::Catalog, Some(_)) => Some(CatalogRef::Namespaced { namespace: namespace?, name: name? }),
        // Without a namespace of its own the gateway is refused, and nothing follows from that here.
        (Kind::Catalog, None) => Some(CatalogRef::Namespaced { namespace: own?.to_owned(), name: name? }),
        (kind, Some(node)) => {
            reader.in_key("namespace", |reader| {
                let message = format!("a {kind} belongs to the cluster and has no namespace");
                reader.report(Code::NamespaceNotAllowed, node.position, message).hint =
                    Some("remove `namespace:`, or write `kind: Catalog`".to_owned());
            });
            None
        }
        (_, None) => name.map(CatalogRef::Cluster),
    }
}

/// A DNS label that is the name of `what`.
pub(super) fn label(reader: &mut Reader, node: &Node, what: &str) -> Option<String> {
    let name = reader.string(node)?;
    if is_dns_label(&name) {
        return Some(name);
    }
    reader.report(Code::InvalidName, node.position, format!("{name:?} is not the name of {what}")).hint =
        Some("names are DNS labels: lower-case letters, digits and `-`".to_owned());
    None
}

fn servers(reader: &mut Reader, node: &Node) -> Vec<ServerSpec> {
    let mut seen = BTreeSet::new();
    if !has_at_most(reader, node, MAX_SERVERS) {
        return Vec::new();
    }
    reader.list(node, |reader, item| {
        let server = server(reader, item)?;
        if !seen.insert(server.name.clone()) {
            let message = format!("the server `{}` is listed twice", server.name);
            reader.report(Code::DuplicateName, item.position, message);
            return None;
        }
        Some(server)
    })
}

/// A registry key, or a mapping with `name`.
fn server(reader: &mut Reader, item: &Node) -> Option<ServerSpec> {
    if !matches!(item.kind, NodeKind::Map(_)) {
        return Some(ServerSpec { name: server_name(reader, item)?, ..ServerSpec::default() });
    }
    let fields = reader.fields(item, SERVER_FIELDS)?;
    let name = fields.require(reader, "name", server_name);
    let enabled = fields.read(reader, "enabled", Reader::boolean);
    let config = fields.read(reader, "config", |reader, node| {
        let entries = reader.mapping(node)?;
        has_at_most(reader, node, MAX_CONFIG_KEYS).then(|| map_to_json(entries))
    });
    let resources = read_resources(reader, &fields);
    let profile = fields.read(reader, "profile", |reader, node| reader.word(node, PROFILES));
    let tools = fields.read(reader, "tools", tool_filter).unwrap_or_default();
    let secrets = fields.read(reader, "secrets", |r, n| Some(secrets::bindings(r, n))).unwrap_or_default();
    let config = config.unwrap_or_default();
    Some(ServerSpec { name: name?, enabled, config, resources, profile, tools, secrets })
}

fn tool_filter(reader: &mut Reader, node: &Node) -> Option<ToolFilter> {
    let fields = reader.fields(node, TOOLS_FIELDS)?;
    let patterns = |reader: &mut Reader, node: &Node| -> Option<Vec<ToolPattern>> {
        has_at_most(reader, node, MAX_PATTERNS).then(|| {
            reader.list(node, |reader, item| {
                let text = reader.string(item)?;
                reader.parsed(Code::InvalidValue, item, &text)
            })
        })
    };
    Some(ToolFilter {
        allow: fields.read(reader, "allow", patterns),
        deny: fields.read(reader, "deny", patterns).unwrap_or_default(),
    })
}

fn server_name(reader: &mut Reader, node: &Node) -> Option<String> {
    let name = reader.string(node)?;
    if is_registry_key(&name) {
        return Some(name);
    }
    reader.report(Code::InvalidName, node.position, format!("{name:?} is not the name of a server")).hint =
        Some(
            "names of servers are 1 to 63 letters, digits, `_`, `.` and `-`, a letter or digit first"
                .to_owned(),
        );
    None
}

fn server_defaults(reader: &mut Reader, node: &Node) -> Option<ServerDefaults> {
    let fields = reader.fields(node, SERVER_DEFAULTS_FIELDS)?;
    let resources = read_resources(reader, &fields);
    let profile = fields.read(reader, "profile", |reader, node| reader.word(node, PROFILES));
    Some(ServerDefaults { resources, profile })
}

fn gateway_image(reader: &mut Reader, node: &Node) -> Option<ImageReference> {
    let text = reader.string(node)?;
    let image: ImageReference = reader.parsed(Code::InvalidImage, node, &text)?;
    if image.repository().as_deref() == Some("docker.io/docker/mcp-gateway") {
        let message = "docker/mcp-gateway as the gateway's image is not supported yet";
        reader.report(Code::NotSupportedYet, node.position, message).hint =
            Some("leave `image` out: Bowline's own gateway reads the same catalogs".to_owned());
        return None;
    }
    Some(image)
}

fn read_resources(reader: &mut Reader, fields: &Fields<'_>) -> Resources {
    fields.read(reader, "resources", resources).unwrap_or_default()
}

fn resources(reader: &mut Reader, node: &Node) -> Option<Resources> {
    let fields = reader.fields(node, RESOURCES_FIELDS)?;
    let requests = fields.read(reader, "requests", |reader, node| {
        let fields = reader.fields(node, REQUESTS_FIELDS)?;
        Some(Requests {
            cpu: fields.read(reader, "cpu", |r, n| quantity(r, n, MIN_CPU_REQUEST, MAX_CPU)),
            memory: fields.read(reader, "memory", |r, n| quantity(r, n, MIN_MEMORY, MAX_MEMORY)),
        })
    });
    let limits = fields.read(reader, "limits", |reader, node| {
        let fields = reader.fields(node, LIMITS_FIELDS)?;
        Some(Limits {
            cpu: fields.read(reader, "cpu", |r, n| quantity(r, n, MIN_CPU_LIMIT, MAX_CPU)),
            memory: fields.read(reader, "memory", |r, n| quantity(r, n, MIN_MEMORY, MAX_MEMORY)),
            pids: fields.read(reader, "pids", |r, n| r.integer(n, 1..=MAX_PIDS)),
        })
    });
    let resources = Resources { requests: requests.unwrap_or_default(), limits: limits.unwrap_or_default() };
    let position = |name| fields.get("requests").and_then(|node| node.get(name)).unwrap_or(node).position;
    for excess in resources.excesses() {
        reader.in_key("requests", |reader| {
            reader.in_key(excess.name, |reader| {
                let message = format!("{} is requested, the limit is {}", excess.request, excess.limit);
                reader.report(Code::RequestExceedsLimit, position(excess.name), message);
            });
        });
    }
    Some(resources)
}

/// A quantity as text, or as a bare number where that means the same.
fn quantity<T>(reader: &mut Reader, node: &Node, least: T, most: T) -> Option<T>
where
    T: std::str::FromStr<Err = crate::resource::QuantityError> + PartialOrd + std::fmt::Display + Copy,
{
    let text = match &node.kind {
        NodeKind::Number(_, text) => text.clone(),
        _ => reader.string(node)?,
    };
    match text.parse::<T>() {
        Ok(value) if value < least || value > most => {
            let message = format!("{value} is not between {least} and {most}");
            reader.report(Code::OutOfRange, node.position, message);
            None
        }
        Ok(value) => Some(value),
        Err(error) => {
            let hint = error.hint();
            reader.report(Code::InvalidQuantity, node.position, error).hint = Some(hint);
            None
        }
    }
}
