//! A lab to try things in by hand: `lab [ENGINE]` brings one up and holds it until standard input ends.

use std::io::Read;

use anyhow::{Context, Result};
use dockernet_tests::{Lab, LabOptions, Run, engines};

fn main() -> Result<()> {
    let engines = engines()?;
    let name = std::env::args().nth(1);
    let engine = engines
        .iter()
        .find(|engine| name.as_ref().is_none_or(|name| *name == engine.name))
        .with_context(|| {
            let known: Vec<&str> = engines.iter().map(|engine| engine.name.as_str()).collect();
            format!("no such engine; there are {}", known.join(", "))
        })?;
    let lab = Lab::start(engine, &LabOptions::default())?;
    lab.run(
        &Run::new("web", "httpd -f -p 80 -h /www")
            .publish("10001:80")
            .wait_port("80/tcp"),
    )?;
    println!("DOCKER_HOST={}", lab.docker_host());
    println!("nsenter --net={} --", lab.host().path().display());
    println!("nsenter --net={} --", lab.outside().path().display());
    println!(
        "container `web` is published as 10001; end standard input (Ctrl-D) to remove the lab"
    );
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
