//! Every metric, once: the encoder and `docs/metrics.md` are made of this.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, over restarts too if they are kept (`handover`). Its name ends with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels, in the order of the values.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Family = Family {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// All of them, in the order of the pages.
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
}

families! {
    DROPS: Counter "dockernet_drops_total" ["cause", "container", "network"]
        "Dropped packets that concern a container, by cause; container is the destination if that is one, else the source.";
    DROP_BYTES: Counter "dockernet_drop_bytes_total" ["cause", "container", "network"]
        "Bytes of these packets; where packets were only counted, the mean of their kind.";
    REMOVED: Counter "dockernet_drops_removed_series_total" []
        "What series of dockernet_drops_total held that went with their container or network: with it the sum never shrinks.";
    ACTIVE: Gauge "dockernet_diagnosis_active" ["cause", "container"]
        "1 while packets die of this cause or its failures are seen, 0 once none was for a while; alerts are made of this.";
    DIAGNOSES: Counter "dockernet_diagnoses_total" ["cause"]
        "Diagnoses that began.";
    FINDINGS: Counter "dockernet_findings_total" ["cause", "container"]
        "Events of failures that leave no dropped packet; they are in no other sum.";
    LAST: Gauge "dockernet_last_drop_timestamp_seconds" ["cause"]
        "When the last packet died of this cause, seconds since the epoch.";
    BENIGN: Counter "dockernet_benign_drops_total" ["noise"]
        "Drops that belong to a healthy host's life.";
    EXPECTED: Counter "dockernet_expected_drops_total" ["cause", "container"]
        "Drops that `ignore` declares deliberate.";
    OUT_OF_SCOPE: Counter "dockernet_out_of_scope_drops_total" []
        "Drops that concern no container (see `scope`).";
    FILTERED: Counter "dockernet_filtered_drops_total" []
        "Drops refused by a filter on the command line.";
    LOST: Counter "dockernet_unattributed_drops_total" []
        "Drops that were counted, but of whose kind no packet was ever seen in detail.";
    OBSERVED: Counter "dockernet_observed_drops_total" []
        "All dropped packets counted in the kernel: the sum of the above, but for those whose detail is on its way.";
    MISSED: Counter "dockernet_missed_drops_total" []
        "Drops that the kernel half could not see, because it was at work on that CPU already; absent before kernel 5.12, and no proof before 6.1.";
    REASONS: Counter "dockernet_skb_drops_total" ["reason"]
        "Dropped packets by the kernel's reason, whoever's they are; without those out of scope in the kernel.";
    EVENTS_LOST: Counter "dockernet_events_lost_total" ["buffer"]
        "Details that found no room: ring (the packet is counted all the same) or counts (it is counted as unattributed).";
    NAT: Counter "dockernet_nat_transitions_total" ["kind"]
        "NAT transitions seen (with `nat` only).";
    ATTACHED: Gauge "dockernet_program_attached" ["program"]
        "1 for each kernel program that is attached.";
    DOCKER_UP: Gauge "dockernet_docker_up" []
        "Whether the container engine answers.";
    AGE: Gauge "dockernet_inventory_age_seconds" []
        "How long the engine has not told its containers: 0 while its events are followed.";
    CONTAINERS: Gauge "dockernet_containers" []
        "Containers that are known and have not ended.";
    SERIES: Gauge "dockernet_drop_series" []
        "Series of dockernet_drops_total now.";
    CAPPED: Counter "dockernet_capped_drops_total" []
        "Drops counted under container=\"other\", because there were too many containers or series, or no engine describes the container.";
    RING: Gauge "dockernet_ring_used_ratio" []
        "How full the ring of details was at most within the last second; 1 also while it is not emptied because too many drops wait for their cause.";
    BPF_SECONDS: Counter "dockernet_bpf_run_seconds_total" []
        "CPU time of the kernel half: measured for a second each minute, or sooner where its load changes, in between by the number of its runs.";
    BPF_RUN: Gauge "dockernet_bpf_run_duration_seconds" []
        "Mean CPU time of one run of the kernel half, of the last two measured seconds that had any.";
    MAP_BYTES: Gauge "dockernet_map_memory_bytes" []
        "Memory of the kernel half's maps, for all possible CPUs.";
    MEMORY: Gauge "dockernet_memory_bytes" []
        "Memory of service, helper and the kernel half's maps, as the budget counts it: rings that are mapped too count once.";
    CPU: Gauge "dockernet_cpu_usage_ratio" []
        "CPU time of service and kernel half over the last minute, of one core.";
    DETAIL: Gauge "dockernet_detail_enabled" []
        "0 while packets are only counted, because the service cost more than its budget.";
    LINES: Counter "dockernet_log_lines_suppressed_total" []
        "Lines that were not written: many about the same diagnosis, nobody read standard output, or journald did not take them.";
    RELOADED: Gauge "dockernet_config_last_reload_successful" []
        "Whether the configuration was understood when it was last read.";
    BUILD: Gauge "dockernet_build_info" ["version"]
        "Version of the service; always 1.";
    PROCESS_CPU: Counter "process_cpu_seconds_total" []
        "CPU time of the service, its helper for namespaces, and programs that ran for it.";
    PROCESS_RSS: Gauge "process_resident_memory_bytes" []
        "Resident memory of the service and its helper for namespaces.";
    PROCESS_FDS: Gauge "process_open_fds" []
        "Open file descriptors of the service.";
    PROCESS_MAX_FDS: Gauge "process_max_fds" []
        "How many it may have.";
    PROCESS_START: Gauge "process_start_time_seconds" []
        "When the service was started, seconds since the epoch.";
}
