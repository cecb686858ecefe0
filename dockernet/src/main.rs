//! `dockernet-trace`.
use dockernet::bpf::{
    load::{Kernel, Prepared, Tier},
    symbols::Symbols,
};
fn main() -> anyhow::Result<()> {
    env_logger::init();
    let t = std::time::Instant::now();
    let kernel = Kernel::look()?;
    eprintln!("btf {:?}", t.elapsed());
    let only = match std::env::args().nth(1).as_deref() {
        Some("tp") => Some(Tier::Tracepoint),
        Some("btf") => Some(Tier::TpBtf),
        _ => None,
    };
    let p = Prepared::load(&kernel, &dockernet_common::filter::Filter::ALL, only)?;
    eprintln!("loaded {:?} {:?} {:?}", t.elapsed(), p.tier(), p.degraded);
    let symbols = Symbols::read()?;
    eprintln!("symbols {:?}", t.elapsed());
    let mut tracer = p.attach()?;
    tracer.set_hook_functions(|n| symbols.address(n))?;
    eprintln!("ready {:?}", t.elapsed());
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(250));
        tracer.drain(|r| {
            println!("{:?}@{:?} ns {} if {} {:?} hook {} nat {} eth {:x} len {} mac {} net {} tr {} hl {} {:?} ct {:?} {:?}", kernel.reasons.name(r.key.reason), symbols.name(r.key.location), r.key.netns, r.key.ifindex, String::from_utf8_lossy(&r.device), r.key.hook, r.key.nat, r.ethertype, r.len, r.mac, r.network, r.transport, r.header_len, r.settings, r.conntrack.status, r.stack[..usize::from(r.stack_depth.min(24))].iter().map(|a| symbols.name(*a).unwrap_or("?")).collect::<Vec<_>>());
        })?;
    }
    tracer.detach();
    for row in tracer.rows()? {
        println!("{row:?}");
    }
    println!("{:?} missed {:?}", tracer.totals()?, tracer.missed());
    Ok(())
}
