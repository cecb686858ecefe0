//! Prints the inventory of this host, and again whenever it changes: `inventory [NETNS-FILE [DOCKER-HOST [SECONDS]]]`.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::time::{Duration, Instant};

use anyhow::Result;
use dockernet::{
    host::netns::NetnsHandle,
    inventory::{Inventory, InventoryService, Options},
};

fn main() -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(watch())
}

async fn watch() -> Result<()> {
    env_logger::init();
    let mut arguments = std::env::args().skip(1);
    let host_netns = match arguments.next() {
        Some(path) => NetnsHandle::open(path)?,
        None => NetnsHandle::current()?,
    };
    let docker_host = arguments.next();
    let seconds = arguments.next().and_then(|text| text.parse().ok());
    let start = Instant::now();
    let service = InventoryService::start(Options {
        host_netns,
        docker_host,
    })
    .await?;
    let mut receiver = service.receiver();
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds.unwrap_or(u64::MAX >> 32));
    loop {
        println!("--- {} ms", start.elapsed().as_millis());
        print(&receiver.borrow_and_update().clone());
        tokio::select! {
            changed = receiver.changed() => changed?,
            () = tokio::time::sleep_until(end) => return Ok(()),
        }
    }
}

fn print(inventory: &Inventory) {
    println!("engine {:?}", inventory.engine_status());
    for container in inventory.containers() {
        println!(
            "container {} #{} {:?} {:?} {:?} pid {:?} image {:?} netns {:?} shared {:?}{}",
            container.name,
            inventory.endpoint_id(&container.id),
            container.state,
            container.mode,
            container
                .published
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            container.pid,
            container.image,
            container.netns.map(|key| key.0),
            inventory.container_ref(container).shared_with,
            container.ended.map_or("", |_| " ENDED"),
        );
        for attachment in &container.attachments {
            println!(
                "    {} {:?} {:?} via {:?}",
                attachment.network, attachment.ipv4, attachment.ipv6, attachment.gateway
            );
        }
        let veths: Vec<&str> = inventory
            .host_veth_of(container)
            .iter()
            .map(|link| &*link.name)
            .collect();
        println!("    veths {veths:?}");
    }
    let mut addresses: Vec<String> = inventory
        .addresses()
        .map(|(addr, container)| format!("{addr}={}", container.name))
        .collect();
    addresses.sort();
    println!("addresses {addresses:?}");
    for network in inventory.networks() {
        println!(
            "network {} {} bridge {:?} {:?}",
            network.name,
            network.driver,
            network.bridge,
            network
                .subnets
                .iter()
                .map(|subnet| subnet.prefix.to_string())
                .collect::<Vec<_>>()
        );
    }
    let mut namespaces: Vec<_> = inventory.namespaces().collect();
    namespaces.sort_by_key(|info| info.key);
    for info in namespaces {
        let links: Vec<String> = info
            .links
            .iter()
            .map(|link| format!("{}:{}{:?}", link.ifindex, link.name, link.addresses))
            .collect();
        println!(
            "netns {} inum {} {:?} near {} {} {}",
            info.key.0,
            info.inum,
            info.owner,
            info.near,
            info.path.display(),
            links.join(" ")
        );
    }
}
