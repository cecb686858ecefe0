//! Reading a namespace's rules with the programs that are there.

use super::{
    OWN_TABLE, ebtables, iptables,
    merge::merge,
    model::{Backend, Family, Firewall, Ruleset, Table},
    nft,
    nft_text::Texts,
    run::output,
};
use crate::host::{inside, kernel_code, netns::NetnsHandle};

impl Firewall {
    /// Reads all rules of a namespace with the host's `nft` and `iptables-save`.
    ///
    /// Never fails: what could not be read is a sentence in `notes`. Takes some 20 ms, so it is not for a hot path.
    /// A backend that the kernel does not have loaded is not asked: asking would load its module.
    #[must_use]
    pub fn read(netns: &NetnsHandle) -> Self {
        match netns.run(read_here) {
            Ok(firewall) => firewall,
            Err(error) => Self {
                rulesets: Vec::new(),
                notes: vec![format!("the firewall was not read: {error:#}")],
                ..Self::default()
            },
        }
    }
}

fn read_here() -> Firewall {
    let mut firewall = Firewall {
        is_legacy_plain: is_legacy_plain(),
        ..Firewall::default()
    };
    if has_nf_tables() {
        read_nf_tables(&mut firewall);
    }
    for (family, names, program, plain) in [
        (
            Family::Ip,
            "ip_tables_names",
            "iptables-legacy-save",
            "iptables-save",
        ),
        (
            Family::Ip6,
            "ip6_tables_names",
            "ip6tables-legacy-save",
            "ip6tables-save",
        ),
    ] {
        if lists_tables(names) {
            let text = save(&mut firewall, program, plain, is_legacy);
            if let Some(text) = text {
                let ruleset = iptables::parse(&text, Backend::IptablesLegacy, family);
                add(&mut firewall, ruleset);
            }
        }
    }
    read_ebtables(&mut firewall);
    firewall
}

fn read_ebtables(firewall: &mut Firewall) {
    for table in ebtables::TABLES
        .into_iter()
        .filter(|table| holds_frames(table))
    {
        match output("ebtables-legacy", &["-t", table, "-L", "--Lc"]) {
            Ok(Some(text)) => add(firewall, ebtables::parse(&text)),
            Ok(None) => {
                firewall.notes.push(
                    "the kernel holds legacy bridge rules, but ebtables-legacy is not installed: they are not seen \
                     (install ebtables)"
                        .to_owned(),
                );
                return;
            }
            Err(why) => firewall.notes.push(why),
        }
    }
}

fn read_nf_tables(firewall: &mut Firewall) {
    let mut native = match output("nft", &["-j", "list", "ruleset"]) {
        Ok(Some(json)) => parse_nft(firewall, &json),
        Ok(None) => {
            firewall.notes.push(
                "nft is not installed: rules that iptables did not write are not seen (install nftables)"
                    .to_owned(),
            );
            None
        }
        Err(why) => {
            firewall.notes.push(why);
            None
        }
    };
    for (family, program, plain) in [
        (Family::Ip, "iptables-nft-save", "iptables-save"),
        (Family::Ip6, "ip6tables-nft-save", "ip6tables-save"),
    ] {
        let holds_some = native
            .as_ref()
            .is_none_or(|ruleset| ruleset.tables.iter().any(|table| table.family == family));
        if !holds_some {
            continue;
        }
        // Where only nft is installed its listing has to do.
        if let Ok(Some(text)) = one_of(program, plain, is_nft) {
            let ruleset = iptables::parse(&text, Backend::IptablesNft, family);
            add_merged(firewall, native.as_mut(), ruleset, &text);
        }
    }
    if let Some(ruleset) = native {
        add(firewall, ruleset);
    }
}

fn parse_nft(firewall: &mut Firewall, json: &str) -> Option<Ruleset> {
    // Most containers have no rules: their texts need not be asked for.
    let listing = json
        .contains("\"rule\"")
        .then(|| output("nft", &["-a", "list", "ruleset"]).ok().flatten())
        .flatten();
    let texts = Texts::parse(&listing.unwrap_or_default());
    match nft::parse(json, &texts) {
        Ok(mut ruleset) => {
            ruleset.tables.retain(|table| table.name != OWN_TABLE);
            Some(ruleset)
        }
        Err(error) => {
            firewall.notes.push(format!("{error:#}"));
            None
        }
    }
}

/// Adds the tables that `iptables-nft-save` lists, each once: out of `native` they go.
pub(super) fn add_merged(
    firewall: &mut Firewall,
    native: Option<&mut Ruleset>,
    ruleset: Ruleset,
    dump: &str,
) {
    let Some(native) = native else {
        add(firewall, ruleset);
        return;
    };
    for table in ruleset.tables {
        let at = native
            .tables
            .iter()
            .position(|known| known.family == table.family && known.name == table.name);
        // A table that iptables cannot read is nft's alone; one that nft does not list is not there.
        let Some(at) = at.filter(|_| !incompatible(dump, &table.name)) else {
            continue;
        };
        let (backend, merged) = merge(table, &native.tables[at]);
        if backend == Backend::Nft {
            continue;
        }
        native.tables.remove(at);
        add(
            firewall,
            Ruleset {
                backend,
                tables: vec![merged],
            },
        );
    }
}

/// ``# Table `raw' contains incompatible base-chains, use 'nft' tool to list them.``
fn incompatible(dump: &str, table: &str) -> bool {
    let start = format!("# Table `{table}'");
    dump.lines()
        .any(|line| line.starts_with(&start) && line.contains("incompatible"))
}

/// Adds a ruleset, or its tables to that of the same backend.
fn add(firewall: &mut Firewall, ruleset: Ruleset) {
    let tables: Vec<Table> = ruleset.tables;
    if tables.is_empty() {
        return;
    }
    let known = firewall
        .rulesets
        .iter_mut()
        .find(|known| known.backend == ruleset.backend);
    match known {
        Some(known) => known.tables.extend(tables),
        None => firewall.rulesets.push(Ruleset {
            backend: ruleset.backend,
            tables,
        }),
    }
}

/// What `iptables` leads to: `xtables-nft-multi` or `xtables-legacy-multi`.
fn is_legacy_plain() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path).map(|folder| folder.join("iptables"));
    programs
        .find_map(|program| program.canonicalize().ok())
        .is_some_and(|program| program.to_string_lossy().contains("legacy"))
}

/// Dumps name their program: `# Generated by iptables-save v1.8.9 (nf_tables)`. Before 1.8 there was only legacy.
fn is_nft(text: &str) -> bool {
    text.lines()
        .take(5)
        .any(|line| line.contains("(nf_tables)"))
}

fn is_legacy(text: &str) -> bool {
    !is_nft(text)
}

/// The output of the program for one backend; where only the plain name is installed, of that if it is this backend.
fn one_of(program: &str, plain: &str, fits: fn(&str) -> bool) -> Result<Option<String>, String> {
    if let Some(text) = output(program, &["-c"])? {
        return Ok(Some(text));
    }
    Ok(output(plain, &["-c"])?.filter(|text| fits(text)))
}

fn save(
    firewall: &mut Firewall,
    program: &str,
    plain: &str,
    fits: fn(&str) -> bool,
) -> Option<String> {
    match one_of(program, plain, fits) {
        Ok(Some(text)) => Some(text),
        Ok(None) => {
            firewall.notes.push(format!(
                "the kernel holds legacy rules, but {program} is not installed: they are not seen (install iptables)"
            ));
            None
        }
        Err(why) => {
            firewall.notes.push(why);
            None
        }
    }
}

/// Whether legacy tables exist in this namespace: `/proc/net/ip_tables_names` is there only with the module loaded.
fn lists_tables(names: &str) -> bool {
    inside::read(&format!("/proc/thread-self/net/{names}"))
        .is_ok_and(|names| !names.trim().is_empty())
}

/// Whether a legacy bridge table has rules in some namespace: its module is in use by each table that has any (`do_replace_finish`,
/// net/bridge/netfilter/ebtables.c, 5.10 to 6.12). To ask without need would make an empty table, and hooks, where there was none.
fn holds_frames(table: &str) -> bool {
    std::fs::read_to_string(format!("/sys/module/ebtable_{table}/refcnt"))
        .is_ok_and(|users| users.trim() != "0")
}

/// Whether the kernel has nf_tables loaded or built in.
fn has_nf_tables() -> bool {
    kernel_code::present("nf_tables", "nft_do_chain")
}
