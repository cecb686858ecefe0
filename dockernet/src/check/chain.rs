//! The name-resolution chain of a container, for `check --container NAME`.

use anyhow::Result;
use serde::Serialize;

use super::{
    json::push,
    resolution::{Chain, Embedded, Origin, Server, Trouble, chain},
    sight::Sight,
};
use crate::{
    cli::Filter,
    model::{Container, NetworkMode},
    report::{Line, Look, Role},
};

/// Where a container's names come from (`check --container NAME`).
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename = "resolution")]
struct Resolution<'a> {
    /// Version of this layout.
    schema: u32,
    /// The container's name.
    container: &'a str,
    /// Name servers of its /etc/resolv.conf.
    nameservers: Vec<String>,
    /// Search domains of that file.
    search: &'a [String],
    /// Docker's own resolver at 127.0.0.11, where the file names it.
    embedded: Option<EmbeddedServer>,
    /// The servers that answer in the end.
    servers: Vec<Upstream>,
    /// The engine does not tell its servers: these are what it takes as a rule.
    guessed: bool,
}

#[cfg(test)]
pub(super) fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
    vec![crate::schema::tagged::<Resolution<'_>>(
        "resolution",
        generator,
    )]
}

/// Docker's own resolver in a container.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct EmbeddedServer {
    /// Whether questions reach it.
    works: bool,
    /// Where it listens: `127.0.0.11:35053`.
    listens_on: Option<String>,
}

/// A name server.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Upstream {
    /// Its address.
    address: String,
    /// Whose namespace asks it: `host` or `container`.
    asked_from: &'static str,
    /// Where it was set.
    set_by: Origin,
    /// Why it cannot answer; null where nothing speaks against it.
    trouble: Option<String>,
}

/// The chains of the containers that were named with `--container`; nothing without that option.
fn chains<'s>(sight: &'s Sight<'_>, filter: &Filter) -> Vec<(&'s Container, Chain)> {
    if filter.containers.is_empty() {
        return Vec::new();
    }
    sight
        .running()
        .into_iter()
        .filter(|container| super::choose::admits(filter, sight.inventory, container))
        .filter(|container| container.mode == NetworkMode::Networks)
        .filter_map(|container| {
            let space = sight.space_of(container)?;
            // What cannot be read is among the findings.
            Some((container, chain(sight, container, space).ok()?))
        })
        .collect()
}

/// JSON lines.
pub(super) fn json(sight: &Sight<'_>, filter: &Filter, out: &mut String) -> Result<()> {
    for (container, chain) in chains(sight, filter) {
        push(
            out,
            &Resolution {
                schema: 1,
                container: &container.name,
                nameservers: chain
                    .resolv
                    .nameservers
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                search: &chain.resolv.search,
                embedded: chain.embedded.map(|(state, at)| EmbeddedServer {
                    works: state == Embedded::Works,
                    listens_on: at.map(|(address, port)| format!("{address}:{port}")),
                }),
                servers: chain
                    .servers
                    .iter()
                    .map(|server| Upstream {
                        address: server.address.to_string(),
                        asked_from: if server.from_host {
                            "host"
                        } else {
                            "container"
                        },
                        set_by: server.origin,
                        trouble: trouble(server),
                    })
                    .collect(),
                guessed: chain.guessed,
            },
        )?;
    }
    Ok(())
}

fn trouble(server: &Server) -> Option<String> {
    Some(match server.trouble.as_ref()? {
        Trouble::NobodyThere => "nothing listens there".to_owned(),
        Trouble::NoRoute => "no route leads there".to_owned(),
        Trouble::Dropped(found) => format!("{} drops what is sent there", found.place()),
    })
}

/// Text.
pub(super) fn text(sight: &Sight<'_>, filter: &Filter, look: &Look) -> String {
    let mut out = String::new();
    for (container, chain) in chains(sight, filter) {
        let mut head = Line::default();
        head.plain("names in ")
            .push(Role::Name, container.name.as_str());
        out += &head.render(look);
        let own: Vec<String> = chain
            .resolv
            .nameservers
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut line = Line::hanging(6);
        let servers = if own.is_empty() {
            "no server".to_owned()
        } else {
            own.join(", ")
        };
        line.plain(format!("   /etc/resolv.conf asks {servers}"));
        if !chain.resolv.search.is_empty() {
            line.plain(format!(", search {}", chain.resolv.search.join(" ")));
        }
        out += &line.render(look);
        if let Some((state, at)) = chain.embedded {
            let at = at.map_or_else(String::new, |(address, port)| {
                format!(" on {address}:{port}")
            });
            let mut line = Line::hanging(6);
            match state {
                Embedded::Works => line.push(Role::Fix, "   ✓").plain(format!(" 127.0.0.11 is Docker's own resolver{at}: it knows the containers of its networks")),
                Embedded::RulesGone => line.push(Role::Confirmed, "   ✗").plain(" 127.0.0.11 leads nowhere: its rules in the container's nat table are gone"),
                Embedded::UdpAlone => line.push(Role::Likely, "   !").plain(format!(" 127.0.0.11 is Docker's own resolver{at}, by UDP alone: its rules for TCP are gone")),
                Embedded::NobodyListens => line.push(Role::Confirmed, "   ✗").plain(format!(" 127.0.0.11 is Docker's own resolver, and nothing listens{at}")),
            };
            out += &line.render(look);
        }
        for server in &chain.servers {
            let mut line = Line::hanging(6);
            match trouble(server) {
                None => line.push(Role::Fix, "   ✓"),
                Some(_) => line.push(Role::Confirmed, "   ✗"),
            };
            let from = if server.from_host {
                "the host"
            } else {
                "the container"
            };
            line.plain(format!(
                " {} asked from {from}; set by {}",
                server.address,
                server.origin.words()
            ));
            if let Some(trouble) = trouble(server) {
                line.plain(format!("; {trouble}"));
            }
            out += &line.render(look);
        }
        if chain.servers.is_empty() {
            out += "   no server beyond it is known\n";
        }
        if chain.guessed {
            let mut line = Line::hanging(6);
            line.push(
                Role::Dim,
                "   this engine does not tell its servers: these are what it takes as a rule",
            );
            out += &line.render(look);
        }
        out.push('\n');
    }
    out
}
