//! What gateways refer to: catalogs, servers, and configuration that fits.

use std::collections::{BTreeMap, BTreeSet};

use super::{CatalogRef, CatalogSpec, GatewaySpec, Located, Origin, Parsed, Resource, ServerSpec};
use crate::catalog::{self, ConfigProblem, Merged, ServerKind};
use crate::diagnostic::{Code, Diagnostic, FieldPath, did_you_mean};
use crate::object::{Kind, ObjectKey};
use crate::template::render_server;
use crate::volume;
use crate::yaml::{Node, NodeKind};

impl Parsed {
    /// Every catalog that a gateway of this input names, gateways with errors included: what the lookup of
    /// [`Parsed::check_references`] may be asked for.
    pub fn catalogs_named(&self) -> BTreeSet<CatalogRef> {
        let whole = self.resources.iter().filter_map(|located| match &located.resource {
            Resource::Gateway(object) => Some(&object.spec),
            Resource::ClusterCatalog(_) | Resource::Catalog(_) | Resource::Secret(_) => None,
        });
        let drafts = self.drafts().iter().map(|draft| &draft.spec);
        whole.chain(drafts).flat_map(|spec| spec.catalogs.iter().cloned()).collect()
    }

    /// Judges every reference of this input. A catalog is looked for in the input first and then with `lookup`,
    /// which knows the stored ones; what refers to an object of this input that has errors is not judged.
    ///
    /// Errors are for what the writer can put right here: unknown names, configuration that does not fit.
    /// A catalog feature that does not exist yet is a warning, because the other servers of the gateway run.
    pub fn check_references<'c>(
        &'c self,
        lookup: impl Fn(&CatalogRef) -> Option<&'c CatalogSpec>,
    ) -> Vec<Diagnostic> {
        let mut own = BTreeMap::new();
        let mut gateways = Vec::new();
        for Located { resource, origin } in &self.resources {
            match resource {
                Resource::ClusterCatalog(object) | Resource::Catalog(object) => {
                    own.extend(CatalogRef::to(&resource.key()).map(|reference| (reference, &object.spec)));
                }
                Resource::Gateway(object) => gateways.push((&object.spec, origin, true)),
                // A Secret may come later than the gateway that names it.
                Resource::Secret(_) => {}
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
    own: BTreeMap<CatalogRef, &'c CatalogSpec>,
    lookup: L,
}

enum Found<'c> {
    Catalog(&'c CatalogSpec),
    /// It was written and has errors.
    Broken,
    Nowhere,
}

impl<'c, L: Fn(&CatalogRef) -> Option<&'c CatalogSpec>> Catalogs<'c, L> {
    fn find(&self, reference: &CatalogRef) -> Found<'c> {
        if self.parsed.is_broken(&reference.key()) {
            return Found::Broken;
        }
        let found = self.own.get(reference).copied().or_else(|| (self.lookup)(reference));
        found.map_or(Found::Nowhere, Found::Catalog)
    }

    /// What to do about a reference that leads nowhere.
    fn like(&self, reference: &CatalogRef) -> String {
        let wanted = reference.key();
        let own: Vec<_> = self.own.keys().map(CatalogRef::key).collect();
        // A catalog of this name of the other kind, or of another namespace, is what is mistaken most easily.
        match own.iter().find(|key| key.name == wanted.name) {
            Some(ObjectKey { namespace: Some(namespace), name, .. }) => {
                format!("did you mean `{{ kind: Catalog, name: {name}, namespace: {namespace} }}`?")
            }
            Some(ObjectKey { name, .. }) => format!("did you mean the ClusterCatalog `{name}`?"),
            None => {
                let beside = own.iter().filter(|key| key.namespace == wanted.namespace);
                did_you_mean(&wanted.name, beside.map(|key| key.name.as_str()))
                    .unwrap_or_else(|| "apply it first, or together with this".to_owned())
            }
        }
    }
}

struct GatewayCheck<'p> {
    spec: &'p GatewaySpec,
    origin: &'p Origin,
    /// Whether nothing of it was left out for its errors.
    is_whole: bool,
}

impl GatewayCheck<'_> {
    fn check<'c, L: Fn(&CatalogRef) -> Option<&'c CatalogSpec>>(
        &self,
        catalogs: &Catalogs<'c, L>,
    ) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut layers = Vec::new();
        let mut is_complete = self.item_count("spec.catalogs") == self.spec.catalogs.len();
        for reference in &self.spec.catalogs {
            match catalogs.find(reference) {
                Found::Catalog(catalog) => layers.push((reference, catalog)),
                Found::Broken => is_complete = false,
                Found::Nowhere => {
                    is_complete = false;
                    let path = self.catalog_path(reference);
                    let message = format!("there is no catalog `{reference}`");
                    let hint = catalogs.like(reference);
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
        let catalogs = self.spec.catalogs.iter().map(ToString::to_string).collect::<Vec<_>>().join("`, `");
        let (message, hint) = if self.spec.catalogs.is_empty() {
            let hint = "name the catalogs that the servers are in with `catalogs:`".to_owned();
            (format!("there is no server `{name}`: the gateway has no catalog"), hint)
        } else {
            let hint = did_you_mean(name, merged.keys().copied())
                .unwrap_or_else(|| "add it to a catalog, or a catalog that has it to `catalogs:`".to_owned());
            (format!("there is no server `{name}` in `{catalogs}`"), hint)
        };
        let path = self.server_path(name);
        self.origin.diagnostic(Code::UnknownServer, &path, message).with_hint(hint)
    }

    fn check_server(&self, server: &ServerSpec, merged: Merged<'_>) -> Vec<Diagnostic> {
        let Merged { catalog: layer, entry } = merged;
        let ServerSpec { name, config, resources, profile, secrets, enabled: _, tools: _ } = server;
        let path = self.server_path(name);
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
        if entry.kind() == ServerKind::Remote {
            let container = [("resources", !resources.is_empty()), ("profile", profile.is_some())];
            for (field, _) in container.into_iter().filter(|(_, is_written)| *is_written) {
                let message =
                    format!("`{field}` is for a container, and the server `{name}` is a remote one");
                found.push(at(Code::UnusedConfig, message).with_hint("remove it".to_owned()));
            }
        } else if found.is_empty() {
            // What the schema refused already would be told a second time.
            let rendered = render_server(name, entry, config);
            for error in rendered.as_ref().err().into_iter().flatten() {
                let message =
                    format!("{} of `{name}` in the catalog `{layer}`: {}", error.path, error.problem);
                let mut one = at(Code::InvalidTemplate, message);
                one.hint = error.problem.hint();
                found.push(one);
            }
            if let Some(error) = rendered.ok().and_then(|server| volume::read_all(&server.volumes).err()) {
                let message = format!("the server `{name}` will be Failed: {error}");
                let hint = format!("it is the field `volumes` of its entry in the catalog `{layer}`");
                found.push(at(Code::UnsupportedEntry, message).with_hint(hint));
            }
        }
        found.extend(secrets.iter().filter_map(|binding| self.unknown_secret(server, &binding.name, merged)));
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

    /// A binding for a secret that the entry does not declare.
    fn unknown_secret(&self, server: &ServerSpec, name: &str, merged: Merged<'_>) -> Option<Diagnostic> {
        let Merged { catalog: layer, entry } = merged;
        let declared = || entry.fields().secrets.iter().map(|secret| secret.name.as_str());
        if declared().any(|known| known == name) {
            return None;
        }
        let item = FieldPath::of_keys("spec.servers").index(self.server_index(&server.name));
        let list = item.key("secrets");
        let items = match self.origin.find(&list).map(|node| &node.kind) {
            Some(NodeKind::Seq(items)) => items.as_slice(),
            _ => &[],
        };
        let index = items.iter().position(|item| has_text(item, "name", name)).unwrap_or_default();
        let path = list.index(index).key("name");
        let message =
            format!("the server `{}` declares no secret `{name}` in the catalog `{layer}`", server.name);
        let hint = did_you_mean(name, declared()).unwrap_or_else(|| match declared().next() {
            None => "it declares none; remove this".to_owned(),
            Some(_) => format!("it declares {}", declared().collect::<Vec<_>>().join(", ")),
        });
        Some(self.origin.diagnostic(Code::UnknownSecretName, &path, message).with_hint(hint))
    }

    fn of_config(&self, code: Code, server: &str, problem: ConfigProblem) -> Diagnostic {
        let ConfigProblem { path, message, hint } = problem;
        let item = FieldPath::of_keys("spec.servers").index(self.server_index(server));
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

    /// The server of this name. Not its place in the spec: items with errors are missing there.
    fn server_index(&self, name: &str) -> usize {
        let is_it = |item: &Node| is_text(item.get("name").unwrap_or(item), name);
        self.items("spec.servers").iter().position(is_it).unwrap_or_default()
    }

    fn server_path(&self, name: &str) -> FieldPath {
        self.name_of_item("spec.servers", self.server_index(name))
    }

    /// The path of a catalog's name, found as [`Self::server_index`] finds a server.
    fn catalog_path(&self, reference: &CatalogRef) -> FieldPath {
        let own = self.origin.find(&FieldPath::of_keys("metadata.namespace"));
        let is_it = |item: &Node| match reference {
            CatalogRef::Cluster(name) => {
                is_text(item, name)
                    || has_text(item, "kind", Kind::ClusterCatalog.as_str()) && has_text(item, "name", name)
            }
            CatalogRef::Namespaced { namespace, name } => {
                let whose = item.get("namespace").filter(|node| !node.is_null()).or(own);
                has_text(item, "kind", Kind::Catalog.as_str())
                    && has_text(item, "name", name)
                    && whose.is_some_and(|node| is_text(node, namespace))
            }
        };
        let index = self.items("spec.catalogs").iter().position(is_it).unwrap_or_default();
        self.name_of_item("spec.catalogs", index)
    }

    /// The path of an item's name: its `name`, or the item itself when that is the name.
    fn name_of_item(&self, list: &str, index: usize) -> FieldPath {
        let item = FieldPath::of_keys(list).index(index);
        let named = item.key("name");
        if self.origin.find(&named).is_some() { named } else { item }
    }
}

fn is_text(node: &Node, text: &str) -> bool {
    matches!(&node.kind, NodeKind::String(found) if found == text)
}

fn has_text(node: &Node, key: &str, text: &str) -> bool {
    node.get(key).is_some_and(|node| is_text(node, text))
}
