#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;

use super::{
    encode::{Encoder, Exemplar},
    *,
};
use crate::{
    monitor::cost::Process,
    report::samples::{container, denied},
};

fn page(values: &Values, format: Format) -> String {
    values.page(format, Some(&Process::default()))
}

/// The sum over a metric's samples.
fn sum(page: &str, name: &str) -> u64 {
    page.lines()
        .filter(|line| line.starts_with(name) && !line.starts_with('#'))
        .map(|line| {
            let value = line.rsplit(' ').next().unwrap();
            value.parse::<u64>().unwrap()
        })
        .sum()
}

#[test]
fn names_follow_prometheus_rules() {
    let mut seen = HashSet::new();
    for family in FAMILIES {
        assert!(seen.insert(family.name), "{} is there twice", family.name);
        assert_eq!(
            family.kind == Kind::Counter,
            family.name.ends_with("_total"),
            "{}",
            family.name
        );
        let own = ["dockernet_", "process_"];
        assert!(own.iter().any(|prefix| family.name.starts_with(prefix)));
        assert!(family.help.ends_with('.'), "{}", family.name);
        for label in family.labels {
            // Never an address, a port, a veth or an id: their number has no bound.
            let allowed = [
                "cause",
                "container",
                "network",
                "noise",
                "reason",
                "buffer",
                "kind",
                "program",
                "version",
            ];
            assert!(allowed.contains(label), "{}: {label}", family.name);
        }
    }
}

#[test]
fn every_metric_is_on_the_page() {
    let mut values = Values::default();
    values.ledger.missed = Some(0);
    let page = page(&values, Format::Text);
    for family in FAMILIES {
        assert!(
            page.contains(&format!("# TYPE {} ", family.name)),
            "{}",
            family.name
        );
    }
}

#[test]
fn a_file_holds_no_metrics_of_processes() {
    // node_exporter, which reads it, has its own: one name twice spoils its whole page.
    let page = Values::default().page(Format::Text, None);
    assert!(!page.contains("process_") && page.contains("dockernet_cpu_usage_ratio"));
}

#[test]
fn the_sum_survives_the_bound_and_the_end_of_containers() {
    let mut values = Values::default();
    let mut total = 0;
    for index in 0..50_u64 {
        let mut drop = denied("198.51.100.20", 4000);
        let name = format!("c{index}");
        drop.destination.container = Some(container(&name));
        drop.count = index + 1;
        total += drop.count;
        values.dropped(&drop, &name, 60 * drop.count, 20);
    }
    let before = page(&values, Format::Text);
    assert_eq!(sum(&before, "dockernet_drops_total"), total);
    assert_eq!(sum(&before, "dockernet_drop_bytes_total"), 60 * total);
    assert_eq!(sum(&before, "dockernet_drop_series"), 21);
    assert!(
        before.contains("container=\"other\",network=\"\""),
        "{before}"
    );
    let gone: HashSet<String> = ["c3", "c7"].map(str::to_owned).into();
    values.forget(&gone);
    let after = page(&values, Format::Text);
    assert!(!after.contains("\"c3\""));
    assert_eq!(sum(&after, "dockernet_drops_removed_series_total"), 4 + 8);
    assert_eq!(sum(&after, "dockernet_drops_total"), total - 12);
}

#[test]
fn exemplars_are_in_openmetrics_only() {
    let mut values = Values::default();
    values.dropped(&denied("198.51.100.20", 4000), "web", 60, 100);
    let text = page(&values, Format::Text);
    assert!(!text.contains(" # {") && !text.contains("EOF"), "{text}");
    let open = page(&values, Format::OpenMetrics);
    assert!(open.contains("# TYPE dockernet_drops counter\n"), "{open}");
    assert!(open.contains("src=\"198.51.100.20:4000\""), "{open}");
    assert!(open.ends_with("# EOF\n"), "{open}");
}

#[test]
fn label_values_are_escaped_and_exemplars_are_short() {
    let mut encoder = Encoder::new(Format::OpenMetrics);
    let exemplar = Exemplar {
        labels: vec![("flow", "x".repeat(200)), ("src", "ok".into())],
        time: 1.5,
    };
    encoder.sample(&table::ACTIVE, &["a\\b", "c\"d\ne"], 1, Some(&exemplar));
    assert_eq!(
        encoder.finish(),
        "dockernet_diagnosis_active{cause=\"a\\\\b\",container=\"c\\\"d\\ne\"} 1 # {src=\"ok\"} 1 1.500\n# EOF\n"
    );
}
