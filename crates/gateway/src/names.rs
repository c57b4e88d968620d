//! The names under which tools are offered: as docker/mcp-gateway shows them, except that two servers with
//! the same tool never stop the gateway.
//!
//! A tool keeps its own name, or `<prefix>__<tool>` where the catalog gives its server a prefix. Where two
//! servers would show the same name, both are shown as `<server>__<tool>`. That form can itself meet another
//! name (a server `a` with a tool `b__c` and a server `a__b` with a tool `c`); what still meets gets a digest
//! of both parts behind it. The result does not depend on the order of the servers.

use std::collections::HashMap;

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
        for tool in namespace.tools {
            let twice = tools.iter().any(|other: &Named<'_>| other.owner == owner && other.tool == *tool);
            let form = if twice { Form::None } else { Form::Shown };
            tools.push(Named { owner, namespace, tool, form });
        }
    }
    // Each round moves at least one tool to its next form, and there are four: this ends.
    loop {
        let giving_way = meeting(&tools);
        if giving_way.is_empty() {
            break;
        }
        for index in giving_way {
            tools[index].form = tools[index].form.next();
        }
    }
    let mut names: Vec<Vec<Option<String>>> = namespaces.iter().map(|_| Vec::new()).collect();
    for named in &tools {
        names[named.owner].push(named.name());
    }
    names
}

/// The tools whose name is another one's too and which must take the next form: of those that meet, only the
/// plainest, so that a tool that is already told by its server's name keeps it.
fn meeting(tools: &[Named<'_>]) -> Vec<usize> {
    let mut uses: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, named) in tools.iter().enumerate() {
        if let Some(name) = named.name() {
            uses.entry(name).or_default().push(index);
        }
    }
    let mut giving_way = Vec::new();
    for indices in uses.values().filter(|indices| indices.len() > 1) {
        let plainest = indices.iter().map(|index| tools[*index].form).min();
        giving_way.extend(indices.iter().filter(|index| Some(tools[**index].form) == plainest));
    }
    giving_way
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
