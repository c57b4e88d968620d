//! The names under which tools are offered: as docker/mcp-gateway shows them, except that two servers with
//! the same tool never stop the gateway.
//!
//! A tool keeps its own name, or `<prefix>__<tool>` where the catalog gives its server a prefix. Where two
//! servers would show the same name, both are shown as `<server>__<tool>`. That form can itself meet another
//! name (a server `a` with a tool `b__c` and a server `a__b` with a tool `c`); what still meets gets a digest
//! of both parts behind it. The result does not depend on the order of the servers.

use std::collections::{BTreeSet, HashMap, HashSet};

use sha2::{Digest as _, Sha256};

/// One server's part in the naming.
#[derive(Debug, Clone, Copy)]
pub struct Namespace<'a> {
    /// Registry key; different for every server of a gateway.
    pub server: &'a str,
    /// The catalog's `prefix`.
    pub prefix: Option<&'a str>,
    /// The tools' own names. One that is there twice is named once, the second time it gets no name.
    pub tools: &'a [&'a str],
}

/// A name for each tool of each server, in the order given; `None` for a tool that cannot be told from
/// another one. All names are different.
pub fn assign(namespaces: &[Namespace<'_>]) -> Vec<Vec<Option<String>>> {
    let mut tools = Vec::new();
    for (owner, namespace) in namespaces.iter().enumerate() {
        let mut seen = HashSet::new();
        for tool in namespace.tools {
            let form = if seen.insert(*tool) { Form::Shown } else { Form::None };
            tools.push(Named { owner, namespace, tool, form });
        }
    }
    // Each round moves at least one tool to its next form, and there are four: this ends.
    let mut uses = Uses::default();
    let mut moved: Vec<usize> = (0..tools.len()).collect();
    while !moved.is_empty() {
        for index in moved {
            if let Some(name) = tools[index].name() {
                uses.add(name, index);
            }
        }
        moved = uses.giving_way(&tools);
        for index in &moved {
            tools[*index].form = tools[*index].form.next();
        }
    }
    let mut names: Vec<Vec<Option<String>>> = namespaces.iter().map(|_| Vec::new()).collect();
    for named in &tools {
        names[named.owner].push(named.name());
    }
    names
}

/// Which tools have which name. Kept from round to round: a server can list tools of which one after the other
/// must give way, and looking at all of them each time would take for ever.
#[derive(Default)]
struct Uses {
    /// The place of each name in `tools`.
    places: HashMap<String, usize>,
    /// Indices of the tools with each name.
    tools: Vec<Vec<usize>>,
    /// Names that must be looked at, by place; under any other there is at most one tool.
    open: BTreeSet<usize>,
}

impl Uses {
    /// The tool at `index` has come to `name`.
    fn add(&mut self, name: String, index: usize) {
        let place = *self.places.entry(name).or_insert(self.tools.len());
        if place == self.tools.len() {
            self.tools.push(Vec::new());
        }
        self.tools[place].push(index);
        self.open.insert(place);
    }

    /// Takes out the tools whose name is another one's too and which must take the next form: of those that meet,
    /// only the plainest, so that a tool that is already told by its server's name keeps it.
    fn giving_way(&mut self, tools: &[Named<'_>]) -> Vec<usize> {
        let mut giving_way = Vec::new();
        self.open.retain(|place| {
            let meeting = &mut self.tools[*place];
            if meeting.len() < 2 {
                return false;
            }
            let plainest = meeting.iter().map(|index| tools[*index].form).min();
            giving_way.extend(meeting.extract_if(.., |index| Some(tools[*index].form) == plainest));
            true
        });
        giving_way
    }
}

/// How a tool is named, from the plainest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// `tool` or `prefix__tool`.
    Shown,
    /// `server__tool`.
    Server,
    /// `server__tool__digest`.
    Digest,
    /// Not at all.
    None,
}

impl Form {
    fn next(self) -> Self {
        match self {
            Self::Shown => Self::Server,
            Self::Server => Self::Digest,
            Self::Digest | Self::None => Self::None,
        }
    }
}

struct Named<'a> {
    owner: usize,
    namespace: &'a Namespace<'a>,
    tool: &'a str,
    form: Form,
}

impl Named<'_> {
    fn name(&self) -> Option<String> {
        let (server, tool) = (self.namespace.server, self.tool);
        match self.form {
            Form::Shown => Some(match self.namespace.prefix {
                Some(prefix) => format!("{prefix}__{tool}"),
                None => tool.to_owned(),
            }),
            Form::Server => Some(format!("{server}__{tool}")),
            Form::Digest => {
                let digest =
                    Sha256::new().chain_update(server).chain_update([0]).chain_update(tool).finalize();
                Some(format!("{server}__{tool}__{}", hex::encode(&digest[..4])))
            }
            Form::None => None,
        }
    }
}

#[cfg(test)]
mod tests;
