//! Against tcpdump itself: the same packets, the same expressions, the same verdicts.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use super::{
    expressions::{WRITTEN, made},
    packets::{Random, frame},
    *,
};

const PACKETS: usize = 2000;
/// Expressions that are made up, and how many with `DOCKERNET_TEST_FULL`.
const MADE: [usize; 2] = [100, 2000];

/// A capture file in which a packet's time is its number.
fn capture(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        file.extend(word.to_le_bytes());
    }
    for (number, packet) in packets.iter().enumerate() {
        let length = packet.len() as u32;
        for word in [number as u32, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// Numbers of the packets that tcpdump accepts; none where it refuses the expression.
fn accepted(file: &Path, expression: &str) -> Option<BTreeSet<usize>> {
    let output = Command::new("tcpdump")
        .env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin")
        .args(["-n", "-w", "-", "-r"])
        .arg(file)
        // One may begin with a minus.
        .args(["--", expression])
        .output()
        .unwrap();
    if !output.status.success() {
        return None;
    }
    let mut numbers = BTreeSet::new();
    let mut rest = &output.stdout[24..];
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
        numbers.insert(word(0));
        rest = &rest[16 + word(8)..];
    }
    Some(numbers)
}

#[test]
fn verdicts_are_tcpdumps() {
    let mut random = Random::new(0x5eed);
    let packets: Vec<Vec<u8>> = (0..PACKETS).map(|_| frame(&mut random)).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("packets.pcap");
    fs::write(&file, capture(&packets)).unwrap();
    let is_full = std::env::var_os("DOCKERNET_TEST_FULL").is_some();
    let made = (0..MADE[usize::from(is_full)]).map(|_| made(&mut random, 3));
    let (mut compared, mut some) = (0, 0);
    for text in WRITTEN.iter().map(|&text| text.to_owned()).chain(made) {
        let theirs = accepted(&file, &text);
        let ours = Expression::compile(&text);
        let (Some(theirs), Ok(expression)) = (&theirs, &ours) else {
            assert!(theirs.is_none() && ours.is_err(), "{text}: {ours:?}");
            continue;
        };
        assert!(machine::unreachable(expression.code()).is_empty(), "{text}");
        for (number, packet) in packets.iter().enumerate() {
            let length = packet.len() as u32;
            let expected = theirs.contains(&number);
            assert_eq!(
                expression.accepts(packet, length),
                expected,
                "{text}: {packet:02x?}"
            );
            assert_eq!(
                in_kernel(expression, packet, length),
                expected,
                "{text}: {packet:02x?}"
            );
        }
        compared += 1;
        some += usize::from(!theirs.is_empty() && theirs.len() < PACKETS);
    }
    // Most expressions tell packets apart: else the comparison would say little.
    assert!(
        compared > 150 && some * 4 > compared * 3,
        "{some} of {compared}"
    );
}
