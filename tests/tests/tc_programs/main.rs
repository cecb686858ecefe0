//! The tc program and frames as nobody should send them: whatever they are, it lets every one of them pass.
//!
//! Twice: by `BPF_PROG_TEST_RUN`, which tells its verdict, and on a device's egress, where the kernel has found the headers first
//! and the program looks deeper.

mod frames;

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use dockernet::{
    bpf::{
        load::Kernel,
        nat::{Hook, NatTracer},
    },
    host::netns::NetnsHandle,
};
use dockernet_common::{count::PortKey, nat::what};
use dockernet_tests::{Netns, can_run, kernel_since, progress, seed, traffic::FrameSender};

use self::frames::{Frames, PORT};

/// Frames for each run.
const FRAMES: usize = 20_000;

/// `TC_ACT_UNSPEC`: the next program, or the default, decides.
const PASS: i32 = -1;

#[test]
fn every_frame_passes() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let seed = u64::try_from(seed()?)?;
    let netns = Netns::unnamed()?;
    let handle = NetnsHandle::open(netns.path()).context("opening the test's namespace")?;
    let kernel = Kernel::look()?;
    let mut tracer = load(&kernel, &handle)?;
    let mut frames = Frames::new(seed);
    for number in 0..FRAMES {
        let frame = with_network_header(frames.next());
        let verdict = tracer
            .verdict(&frame)
            .with_context(|| format!("frame {number} of seed {seed}: {}", hex(&frame)))?;
        ensure!(
            verdict == PASS,
            "verdict {verdict} for frame {number} of seed {seed}: {}",
            hex(&frame)
        );
    }
    progress(&format!("BPF_PROG_TEST_RUN: {FRAMES} frames passed"));
    Ok(())
}

#[test]
fn every_frame_leaves() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let seed = u64::try_from(seed()?)?;
    let kernel = Kernel::look()?;
    for hook in [Hook::Tcx, Hook::Clsact] {
        let netns = Netns::unnamed()?;
        // Without IPv6 nothing but the test sends there.
        netns.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        for arguments in [
            &[
                "link", "add", "leaves", "type", "veth", "peer", "name", "comes",
            ][..],
            &["link", "set", "comes", "up"],
            &["link", "set", "leaves", "up"],
        ] {
            netns.command("ip").args(arguments).run()?;
        }
        let handle = NetnsHandle::open(netns.path()).context("opening the test's namespace")?;
        let mut tracer = load(&kernel, &handle)?;
        if let Err(error) = attach(&mut tracer, hook) {
            // clsact is everywhere.
            ensure!(hook == Hook::Tcx && !kernel_since(6, 6)?, error);
            progress(&format!("NOT RUN on {}: {error:#}", tracer.tier()));
            continue;
        }
        let mut told = 0;
        let mut foreign = 0;
        netns.within(|| {
            let sender = FrameSender::open("leaves")?;
            let before = sent("leaves")?;
            let mut frames = Frames::new(seed);
            for number in 0..FRAMES {
                let frame = frames.next();
                // A frame that tc drops is an error here (ENOBUFS).
                sender
                    .send(&frame)
                    .with_context(|| format!("frame {number} of seed {seed}: {}", hex(&frame)))?;
                if number % 256 == 0 {
                    drain(&mut tracer, &mut told, &mut foreign);
                }
            }
            drain(&mut tracer, &mut told, &mut foreign);
            let left = sent("leaves")? - before;
            ensure!(
                left == u64::try_from(FRAMES)?,
                "{left} of {FRAMES} frames have left by {}, seed {seed}",
                tracer.tier()
            );
            Ok(())
        })?;
        // Those of a server at the published port were read to their end.
        ensure!(told > 0, "no answer of a server was seen, seed {seed}");
        ensure!(
            foreign == 0,
            "{foreign} reports are of another port than {PORT}, seed {seed}"
        );
        progress(&format!(
            "{}: {FRAMES} frames left, {told} were answers of a server",
            tracer.tier()
        ));
    }
    Ok(())
}

/// The program, told of one published port.
fn load(kernel: &Kernel, netns: &NetnsHandle) -> Result<NatTracer> {
    let mut tracer = NatTracer::load(kernel, netns.clone(), None)?;
    let port = PortKey {
        protocol: u16::try_from(libc::IPPROTO_TCP)?,
        port: PORT,
    };
    tracer.set_published(HashMap::new(), HashMap::from([(port, 1)]))?;
    Ok(tracer)
}

fn attach(tracer: &mut NatTracer, hook: Hook) -> Result<()> {
    let problems = tracer.attach(Some(hook))?;
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    Ok(())
}

/// Counts what was reported: servers' answers from the published port, and anything else.
fn drain(tracer: &mut NatTracer, told: &mut usize, foreign: &mut usize) {
    tracer.drain(|record| {
        if record.what == what::SERVED && u16::from_be_bytes(record.original.dst_port) == PORT {
            *told += 1;
        } else {
            *foreign += 1;
        }
    });
}

/// Packets that a device of the calling thread's namespace has sent.
fn sent(device: &str) -> Result<u64> {
    // Not sysfs, which shows another namespace's devices.
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'))
        .with_context(|| format!("no device {device}"))?;
    let packets = line.split_whitespace().nth(9).context("a short line")?;
    Ok(packets.parse()?)
}

/// `BPF_PROG_TEST_RUN` itself refuses a frame that ends within the IP header which its type promises (net/bpf/test_run.c, EINVAL): zeroes
/// make up for what is cut off. The other run sends such frames as they are.
fn with_network_header(mut frame: Vec<u8>) -> Vec<u8> {
    const ETHERNET: usize = 14;
    let header = match frame.get(12..ETHERNET) {
        Some([0x08, 0x00]) => 20,
        Some([0x86, 0xdd]) => 40,
        _ => 0,
    };
    if frame.len() < ETHERNET + header {
        frame.resize(ETHERNET + header, 0);
    }
    frame
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}
