//! The kernel half's verdict against tcpdump's: the same frames, dropped by the kernel and in a capture file. Expressions by the thousand, without the
//! kernel, are the unit tests' (`pcap_filter/tests/tcpdump.rs`); here it is the frame that matters, which the kernel half makes of an skb.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dockernet_tests::{Cmd, Lab, Place, Tracer, progress, traffic::FrameSender};

/// Whom the rule knows the frames by.
const SOURCE: [u8; 6] = [2, 0, 0x5e, 0, 0x53, 0x77];
const FRAMES: usize = 400;
/// The most tries where drops were out of every program's sight.
const TRIES: usize = 3;

const EXPRESSIONS: &[&str] = &[
    "ip",
    "ip6 and not icmp6",
    "arp or icmp",
    "tcp dst port 443 or udp port 53",
    "not port 53",
    "src portrange 1000-10001",
    "src host 192.0.2.77 and dst host 198.51.100.20",
    "dst net 192.0.2 and not tcp",
    "net 2001:db8::/32",
    "ether dst 02:42:ac:11:00:02",
    "ether broadcast or ether multicast",
    "ether proto 0x88cc",
    "ip proto 47 or ip6 proto 44",
    "vlan",
    "vlan 7 and udp port 53",
    "not vlan and len > 60",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "ip[6:2] & 0x3fff != 0",
    "ip[8] < 5 or ip6[7] < 5",
    "udp[4:2] > 20",
    "icmp[icmptype] = icmp-echo",
    "ether[12:2] = 0x0800 and ether[14] & 0xf > 5",
];

/// Numbers, the same ones at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn byte(&mut self) -> u8 {
        self.pick(&[0, 1, 2, 0x12, 0x18, 0x47, 0xff])
    }
}

/// A frame as it is on the wire. Nothing is cut off a tag: the kernel frees such a frame before any rule sees it.
fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(random.pick(&[
        [2, 0x42, 0xac, 0x11, 0, 2],
        [0xff; 6],
        [1, 0, 0x5e, 0, 0, 0xfb],
    ]));
    frame.extend(SOURCE);
    if random.below(6) == 0 {
        frame.extend([0x81, 0, 0, random.pick(&[7, 100])]);
    }
    match random.below(8) {
        0..=4 => four(random, &mut frame),
        5 | 6 => six(random, &mut frame),
        _ => {
            frame.extend(random.pick(&[[8, 6], [0x88, 0xcc], [0x88, 0x47]]));
            let count = random.below(40);
            frame.extend((0..count).map(|_| random.byte()));
        }
    }
    if random.below(10) == 0 {
        let end = 18 + random.below(frame.len().saturating_sub(17));
        frame.truncate(end);
    }
    frame
}

fn four(random: &mut Random, frame: &mut Vec<u8>) {
    let words: u8 = random.pick(&[5, 5, 5, 6, 8]);
    let protocol = random.pick(&[1, 6, 6, 17, 17, 47]);
    frame.extend([8, 0, 0x40 | words, 0, 0, random.pick(&[40, 60, 90]), 0, 0]);
    frame.extend(random.pick(&[[0, 0], [0, 0], [0x40, 0], [0x20, 0], [0, 0xb9]]));
    frame.extend([random.pick(&[1, 64]), protocol, 0, 0]);
    for _ in 0..2 {
        frame.extend(random.pick(&[[192, 0, 2, 77], [198, 51, 100, 20], [192, 0, 2, 9]]));
    }
    frame.extend(std::iter::repeat_n(1, (usize::from(words) - 5) * 4));
    above(random, frame);
}

fn six(random: &mut Random, frame: &mut Vec<u8>) {
    let next = random.pick(&[6, 17, 58, 44]);
    frame.extend([
        0x86,
        0xdd,
        0x60,
        0,
        0,
        0,
        0,
        30,
        next,
        random.pick(&[1, 64]),
    ]);
    for _ in 0..2 {
        frame.extend(random.pick(&[[0x20, 1, 0xd, 0xb8], [0xfe, 0x80, 0, 0]]));
        frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, random.pick(&[1, 2])]);
    }
    if next == 44 {
        frame.extend([17, 0, 0, random.pick(&[0, 1, 8]), 0, 0, 0, 9]);
    }
    above(random, frame);
}

/// Ports, and what stands where TCP's flags, UDP's length and ICMP's type are.
fn above(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..2 {
        let port = random.pick(&[53_u16, 80, 443, 1023, 8080, 0x0800]);
        frame.extend(port.to_be_bytes());
    }
    frame.extend([0, random.pick(&[8, 12, 30]), 0, 0, 0, 0, 0, 0, 0x50]);
    frame.extend([random.pick(&[2, 0x12, 0x10, 4]), 0, 0, 0, 0, 0, 0]);
    frame.extend(random.pick(&[*b"GET ", *b"PUT "]));
    let count = random.below(60);
    frame.extend((0..count).map(|_| random.byte()));
}

pub(crate) fn agrees(lab: &mut Lab) -> Result<()> {
    let mut random = Random(0x5eed_cafe);
    let frames: Vec<Vec<u8>> = (0..FRAMES).map(|_| frame(&mut random)).collect();
    let file = lab.folder().join("frames.pcap");
    fs::write(&file, capture(&frames)?)?;
    let source = SOURCE.map(|byte| format!("{byte:02x}")).join(":");
    lab.script(
        &Place::Host,
        &format!(
            "nft 'table netdev frames {{ chain in {{ type filter hook ingress device eth0 priority 0; ether saddr {source} drop; }}; }}'"
        ),
    )?;
    let mut sums = Vec::new();
    for expression in EXPRESSIONS {
        // Drops of others on this machine are none of these.
        let expression = format!("ether src {source} and ({expression})");
        let expected = accepted(&file, &expression)?;
        let shown = shown(lab, &expression, &frames, expected)?;
        ensure!(
            shown == expected,
            "{expression}: {shown} of {FRAMES} frames are shown, tcpdump takes {expected}"
        );
        sums.push(shown);
    }
    lab.script(&Place::Host, "nft delete table netdev frames")?;
    let some = sums.iter().filter(|sum| **sum > 0).count();
    ensure!(
        some >= EXPRESSIONS.len() - 1,
        "frames and expressions do not meet: {sums:?}"
    );
    progress(&format!("{} expressions: {sums:?} of {FRAMES}", sums.len()));
    Ok(())
}

/// How many the kernel half takes; once more where it is fewer, as some may die where this machine's kernel runs no program.
fn shown(lab: &Lab, expression: &str, frames: &[Vec<u8>], expected: u64) -> Result<u64> {
    let mut shown = 0;
    for _ in 0..TRIES {
        let arguments = ["--drops", "--scope", "all", "--all", "--filter", expression];
        let tracer = Tracer::start(lab, &arguments)?;
        lab.outside().within(|| {
            let sender = FrameSender::open("eth0")?;
            for frame in frames {
                sender.send(frame)?;
            }
            Ok(())
        })?;
        std::thread::sleep(Duration::from_millis(100));
        let done = tracer.stop()?;
        done.check_balance()?;
        shown = done.count("shown")?;
        if shown >= expected {
            break;
        }
        progress(&format!("once more: {}", done.ledger()?));
    }
    Ok(shown)
}

/// A capture file of them.
fn capture(frames: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    // pcap-savefile(5): magic, version 2.4, no zone, link type 1 (Ethernet)
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let length = u32::try_from(frame.len())?;
        for word in [0, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    Ok(file)
}

/// How many tcpdump takes.
fn accepted(file: &Path, expression: &str) -> Result<u64> {
    let said = Cmd::new("tcpdump")
        .args(["-n", "--count", "-r"])
        .arg(file)
        .arg(expression)
        .output()?;
    let count = said.stdout.lines().find_map(|line| {
        line.strip_suffix(" packets")
            .or(line.strip_suffix(" packet"))
    });
    count
        .and_then(|count| count.parse().ok())
        .with_context(|| format!("{expression}: {said:?}"))
}
