//! Containers that come and go: every other one publishes a port, each has a connection of its own if traffic flows.

use std::{net::SocketAddr, sync::atomic::Ordering, thread, time::Duration};

use anyhow::{Context, Result};
use dockernet_tests::{INTERNET_IP, Netns, traffic::Proto};

use crate::life::{Life, lock};

/// Between the end of one and the start of the next.
const PAUSE: Duration = Duration::from_secs(3);

/// Until the end.
pub(crate) fn run(life: &Life) {
    for number in 0_u64.. {
        if life.is_over() {
            return;
        }
        let is_alone = lock(&life.containers);
        match one(life, number) {
            Ok(()) => {
                life.churned.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => life.complain(format!("container churn{number}: {error:#}")),
        }
        drop(is_alone);
        life.sleep(PAUSE);
    }
}

fn one(life: &Life, number: u64) -> Result<()> {
    let name = format!("churn{number}");
    let mut args = vec!["run", "-d", "--stop-signal", "KILL", "--name", &name];
    if number.is_multiple_of(2) {
        args.extend(["--publish", "17002:80"]);
    }
    args.extend(["busybox:lab", "sh", "-c", "exec sleep 3600"]);
    let lived = life
        .docker
        .clone()
        .args(args)
        .run()
        .map(drop)
        .and_then(|()| {
            let format = ["inspect", "--format", "{{.State.Pid}}", &name];
            let pid = life.docker.clone().args(format).run()?;
            let pid: u32 = pid.trim().parse().context("no pid")?;
            // While something is broken it only comes and goes.
            if let Ok(_traffic) = life.traffic.try_lock() {
                let to = SocketAddr::new(INTERNET_IP.parse()?, 80);
                life.exchange(Proto::Tcp, &Netns::at(format!("/proc/{pid}/ns/net")), to);
                // Its connection ends before it does.
                thread::sleep(Duration::from_millis(300));
            }
            Ok(())
        });
    let removed = life.docker.clone().args(["rm", "-f", &name]).run();
    lived.and(removed.map(drop))
}
