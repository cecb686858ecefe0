//! What to look at oneself and how to make each fault in a laboratory: the catalogue's longer half, by family.

mod conntrack;
mod control;
mod endpoint;
mod firewall;
mod link;
mod routing;
mod size;

/// One cause's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guide {
    /// The cause.
    pub id: &'static str,
    /// Commands that show the state that decides.
    pub look: &'static str,
    /// Commands that make the fault on a host that may break.
    pub reproduce: &'static str,
}

/// Causes that are looked for in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its heading.
    pub title: &'static str,
    /// Its causes, in the order in which they are listed.
    pub rows: &'static [Guide],
}

/// Every family, in the order of a packet's way.
pub const FAMILIES: &[Family] = &[
    Family {
        title: "Forwarding and routing",
        rows: routing::ROWS,
    },
    Family {
        title: "Firewall",
        rows: firewall::ROWS,
    },
    Family {
        title: "Conntrack and NAT",
        rows: conntrack::ROWS,
    },
    Family {
        title: "Endpoint",
        rows: endpoint::ROWS,
    },
    Family {
        title: "Bridges and links",
        rows: link::ROWS,
    },
    Family {
        title: "MTU, checksums, queues, overlay",
        rows: size::ROWS,
    },
    Family {
        title: "DNS and control plane",
        rows: control::ROWS,
    },
];

/// A cause's family and row.
#[must_use]
pub fn find(id: &str) -> Option<(&'static Family, &'static Guide)> {
    FAMILIES.iter().find_map(|family| {
        let row = family.rows.iter().find(|row| row.id == id)?;
        Some((family, row))
    })
}

const fn row(id: &'static str, look: &'static str, reproduce: &'static str) -> Guide {
    Guide {
        id,
        look,
        reproduce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::catalogue::IDS;

    #[test]
    fn every_cause_has_one_row() {
        let missing: Vec<&&str> = IDS.iter().filter(|id| find(id).is_none()).collect();
        assert!(missing.is_empty(), "add to cause/guide: {missing:?}");
        for id in IDS {
            let rows = FAMILIES.iter().flat_map(|family| family.rows);
            assert_eq!(rows.filter(|row| row.id == *id).count(), 1, "{id}");
        }
    }
}
