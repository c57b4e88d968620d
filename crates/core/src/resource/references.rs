//! What gateways refer to: catalogs, servers, and configuration that fits.

use std::collections::BTreeMap;

use super::{ClusterCatalogSpec, GatewaySpec, Located, Origin, Parsed, Resource, ServerSpec};
use crate::catalog::{self, ConfigProblem, Merged};
use crate::diagnostic::{Code, Diagnostic, FieldPath, did_you_mean};
use crate::object::ObjectKey;
use crate::template::render_server;
use crate::yaml::{Node, NodeKind};

impl Parsed {
    /// Judges every reference of this input. A catalog is looked for in the input first and then with `lookup`,
    /// which knows the stored ones; what refers to an object of this input that has errors is not judged.
    ///
    /// Errors are for what the writer can put right here: unknown names, configuration that does not fit.
    /// A catalog feature that does not exist yet is a warning, because the other servers of the gateway run.
    pub fn check_references<'c>(
        &'c self,
        lookup: impl Fn(&str) -> Option<&'c ClusterCatalogSpec>,
    ) -> Vec<Diagnostic> {
        let mut own = BTreeMap::new();
        let mut gateways = Vec::new();
        for Located { resource, origin } in &self.resources {
            match resource {
                Resource::ClusterCatalog(object) => {
                    own.insert(object.metadata.name.as_str(), &object.spec);
                }
                Resource::Gateway(object) => gateways.push((&object.spec, origin, true)),
            }
        }
        gateways.extend(self.drafts().iter().map(|draft| (&draft.spec, &draft.origin, false)));
        let catalogs = Catalogs { parsed: self, own, lookup };
        let check = |(spec, origin, is_whole)| GatewayCheck { spec, origin, is_whole }.check(&catalogs);
        gateways.into_iter().flat_map(check).collect()
    }
}

/// Where catalogs are looked for.
struct Catalogs<'c, L> {
    parsed: &'c Parsed,
    own: BTreeMap<&'c str, &'c ClusterCatalogSpec>,
    lookup: L,
}

enum Found<'c> {
    Catalog(&'c ClusterCatalogSpec),
    /// It was written and has errors.
    Broken,
    Nowhere,
}

impl<'c, L: Fn(&str) -> Option<&'c ClusterCatalogSpec>> Catalogs<'c, L> {
    fn find(&self, name: &str) -> Found<'c> {
        if self.parsed.is_broken(&ObjectKey::cluster_catalog(name)) {
            return Found::Broken;
        }
        let found = self.own.get(name).copied().or_else(|| (self.lookup)(name));
        found.map_or(Found::Nowhere, Found::Catalog)
    }
}

struct GatewayCheck<'p> {
    spec: &'p GatewaySpec,
    origin: &'p Origin,
    /// Whether nothing of it was left out for its errors.
    is_whole: bool,
}

impl GatewayCheck<'_> {
    fn check<'c, L: Fn(&str) -> Option<&'c ClusterCatalogSpec>>(
        &self,
        catalogs: &Catalogs<'c, L>,
    ) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut layers = Vec::new();
        let mut is_complete = self.item_count("spec.catalogs") == self.spec.catalogs.len();
        for name in &self.spec.catalogs {
            match catalogs.find(name) {
                Found::Catalog(catalog) => layers.push((name.as_str(), catalog)),
                Found::Broken => is_complete = false,
                Found::Nowhere => {
                    is_complete = false;
                    let path = self.path_of("spec.catalogs", name);
                    let message = format!("there is no catalog `{name}`");
                    let hint = did_you_mean(name, catalogs.own.keys().copied())
                        .unwrap_or_else(|| "apply it first, or together with this".to_owned());
                    found.push(self.origin.diagnostic(Code::UnknownCatalog, &path, message).with_hint(hint));
                }
            }
        }
        let merged = catalog::merge(layers);
        for server in &self.spec.servers {
            match merged.get(server.name.as_str()) {
                // What was left out of a gateway with errors may be just what its server needs.
                Some(entry) if server.is_enabled() && self.is_whole => {
                    found.extend(self.check_server(server, *entry));
                }
                Some(_) => {}
                // The server may be in the catalog that is not known.
                None if !is_complete => {}
                None => found.push(self.unknown_server(server, &merged)),
            }
        }
        found
    }

    fn unknown_server(&self, server: &ServerSpec, merged: &BTreeMap<&str, Merged<'_>>) -> Diagnostic {
        let name = &server.name;
        let catalogs = self.spec.catalogs.join("`, `");
        let (message, hint) = if self.spec.catalogs.is_empty() {
            let hint = "name the catalogs that the servers are in with `catalogs:`".to_owned();
            (format!("there is no server `{name}`: the gateway has no catalog"), hint)
        } else {
            let hint = did_you_mean(name, merged.keys().copied())
                .unwrap_or_else(|| "add it to a catalog, or a catalog that has it to `catalogs:`".to_owned());
            (format!("there is no server `{name}` in `{catalogs}`"), hint)
        };
        let path = self.path_of("spec.servers", name);
        self.origin.diagnostic(Code::UnknownServer, &path, message).with_hint(hint)
    }

    fn check_server(&self, server: &ServerSpec, merged: Merged<'_>) -> Vec<Diagnostic> {
        let Merged { catalog: layer, entry } = merged;
        let ServerSpec { name, config, .. } = server;
        let path = self.path_of("spec.servers", name);
        let at = |code, message: String| self.origin.diagnostic(code, &path, message);
        let unsupported = catalog::unsupported(entry);
        if !unsupported.is_empty() {
            let warn = |missing: catalog::Unsupported| {
                let message = format!("the server `{name}` will be Failed: {}", missing.message);
                let hint =
                    format!("it is the field `{}` of its entry in the catalog `{layer}`", missing.field);
                at(Code::UnsupportedEntry, message).with_hint(hint)
            };
            return unsupported.into_iter().map(warn).collect();
        }
        let problems = catalog::check_config(name, entry, config);
        let mut found: Vec<Diagnostic> =
            problems.into_iter().map(|problem| self.of_config(Code::InvalidConfig, name, problem)).collect();
        if found.is_empty() {
            // What the schema refused already would be told a second time.
            for error in render_server(name, entry, config).err().unwrap_or_default() {
                let message =
                    format!("{} of `{name}` in the catalog `{layer}`: {}", error.path, error.problem);
                let mut one = at(Code::InvalidTemplate, message);
                one.hint = error.problem.hint();
                found.push(one);
            }
        }
        let unused = catalog::unused_config(name, entry, config);
        found.extend(unused.into_iter().map(|problem| self.of_config(Code::UnusedConfig, name, problem)));
        if catalog::egress_is_unenforced(entry) {
            let message =
                format!("the server `{name}` will reach any host: `allowHosts` is not enforced yet");
            let hint = format!("`disableNetwork: true` in the catalog `{layer}` gives it no network at all");
            found.push(at(Code::EgressNotEnforced, message).with_hint(hint));
        }
        found
    }

    fn of_config(&self, code: Code, server: &str, problem: ConfigProblem) -> Diagnostic {
        let ConfigProblem { path, message, hint } = problem;
        let item = FieldPath::of_keys("spec.servers").index(self.index_of("spec.servers", server));
        let mut found = self.origin.diagnostic(code, &item.key("config").join(&path), message);
        found.hint = hint;
        found
    }

    fn items(&self, list: &str) -> &[Node] {
        match self.origin.find(&FieldPath::of_keys(list)).map(|node| &node.kind) {
            Some(NodeKind::Seq(items)) => items,
            _ => &[],
        }
    }

    fn item_count(&self, list: &str) -> usize {
        self.items(list).len()
    }

    /// The item of a list that has this name. Not its place in the spec: items with errors are missing there.
    fn index_of(&self, list: &str, name: &str) -> usize {
        let is_it = |item: &Node| {
            let named = item.get("name").unwrap_or(item);
            matches!(&named.kind, NodeKind::String(text) if text == name)
        };
        self.items(list).iter().position(is_it).unwrap_or_default()
    }

    /// The path of an item's name: its `name`, or the item itself when that is the name.
    fn path_of(&self, list: &str, name: &str) -> FieldPath {
        let item = FieldPath::of_keys(list).index(self.index_of(list, name));
        let named = item.key("name");
        if self.origin.find(&named).is_some() { named } else { item }
    }
}
