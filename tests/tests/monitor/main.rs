//! `monitor`: the numbers it serves against nft's, a real Prometheus that scrapes it, and everything that a service outlives.

mod bounds;
mod devices;
mod fleet;
mod itself;
mod life;
mod numbers;
mod restart;
mod restraint;
mod scrape;
mod service;

use anyhow::Result;
use dockernet_tests::{DaemonOptions, Engine, Lab, LabOptions, Place, Run, can_run, group};

/// The key that the fault of these tests turns off.
const FORWARDING: &str = "net/ipv4/conf/eth0/forwarding";
/// What it is called.
const CAUSE: &str = "interface-forwarding-disabled";
/// Diagnoses that end soon, so that tests do.
const HASTY: &str = "[diagnosis]\nclear_after = \"3s\"\n";

#[test]
fn a_service_for_months() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    // Containers outlive dockerd here.
    let mut daemon = DaemonOptions::default();
    daemon.config.insert("live-restore".into(), true.into());
    let mut lab = Lab::start(&Engine::newest()?, &LabOptions { daemon })?;
    lab.run(
        &Run::new("web", "httpd -f -p 80 -h /www")
            .publish("10001:80")
            .wait_port("80/tcp"),
    )?;
    lab.run(&Run::new("target", "sleep 1000").publish("10004:5000/udp"))?;
    group(
        &mut lab,
        &[
            (
                "promtool finds nothing in metrics and rules",
                scrape::promtool_is_content,
            ),
            ("an alert fires and clears", scrape::alert),
            ("a storm is counted as nft counts it", numbers::storm),
            ("a failure that drops nothing", numbers::finding),
            ("counting only, over its budget", numbers::over_budget),
            ("a slow scraper stops nobody", scrape::slow),
            ("lines that nobody reads stop nobody", life::unread),
            (
                "the textfile is replaced, and its folder may be away",
                scrape::textfile,
            ),
            ("a full disk is told and survived", scrape::full_disk),
            ("SIGHUP loses no count", life::reload),
            ("a configuration is checked", life::check_config),
            ("a restart loses no count", restart::restart),
            ("a restarted dockerd", life::restarted_dockerd),
            ("a dockerd that hangs", life::hung_dockerd),
            ("a dockerd that comes later", life::late_dockerd),
            ("a stuck loop is told to systemd", service::notify),
            ("journald gets fields", service::journal),
            ("privileges are given up", service::privileges),
            ("a helper that dies ends the service", service::helper),
            ("NAT on a network that comes later", service::nat),
            ("the unit's capabilities are enough", service::unit),
            ("the engine is asked and told nothing", restraint::asks_only),
            ("no tc program unless NAT is asked for", restraint::no_tc),
            ("the number of series is bounded", bounds::churn),
            ("an uplink that is renamed", devices::renamed),
            ("veths by the thousand", devices::thousands),
            ("what it costs is told as the kernel tells it", itself::cost),
            ("nothing is open but its page", itself::sockets),
        ],
    )
}

#[test]
fn a_fleet() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    fleet::the_sick_host_is_found()
}

/// Runs something while the fault is there.
fn with_fault<T>(lab: &mut Lab, job: impl FnOnce(&Lab) -> Result<T>) -> Result<T> {
    lab.sysctl(&Place::Host, FORWARDING, "0")?;
    let done = job(lab);
    lab.restore_sysctls();
    done
}
