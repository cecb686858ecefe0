//! Tracing's options are accepted beside every job; these are the ones that a job's help shows.

type Names = &'static [&'static str];

/// Which containers.
const OBJECTS: Names = &["container", "network", "project"];
/// Which packets.
const PACKETS: Names = &[
    "container",
    "network",
    "project",
    "interface",
    "addr",
    "port",
    "proto",
    "reason",
    "cause",
];
/// Which host.
const HOST: Names = &["docker_host", "netns"];
/// What is kept around what begins.
const FLIGHT: Names = &[
    "flight_recorder",
    "flight_time",
    "flight_keep",
    "flight_payload",
];
/// What is written.
const OUTPUT: Names = &["output", "color", "verbose"];

/// The options that matter to a job.
pub(super) fn beside(job: &str) -> Vec<&'static str> {
    let groups: &[Names] = match job {
        "doctor" => &[HOST, OUTPUT],
        "map" => &[OBJECTS, &["interface", "addr"], HOST, OUTPUT],
        "path" => &[
            &["drops", "nat", "scope"],
            HOST,
            &["duration", "count"],
            OUTPUT,
        ],
        "check" => &[OBJECTS, HOST, OUTPUT],
        "monitor" => &[
            &["nat", "filter", "ignore", "scope"],
            HOST,
            FLIGHT,
            &["output", "verbose"],
        ],
        "record" => &[
            &["drops", "nat"],
            PACKETS,
            &["filter"],
            HOST,
            &["trace_rules", "duration", "count"],
            OUTPUT,
        ],
        "replay" => &[
            &["drops", "nat"],
            PACKETS,
            &[
                "filter",
                "ignore",
                "all",
                "scope",
                "duration",
                "count",
                "expect_no_drops",
                "output",
                "oneline",
                "color",
                "verbose",
            ],
        ],
        "top" => &[
            PACKETS,
            &["filter", "ignore", "all", "scope"],
            HOST,
            FLIGHT,
            &["trace_rules", "duration", "color"],
        ],
        "detach" => &[&["netns", "output"]],
        "explain" => &[&["output", "color"]],
        _ => &[],
    };
    groups.concat()
}
