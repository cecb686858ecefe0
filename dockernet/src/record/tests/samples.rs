//! What a live run tells, with what recordings keep beside it.

use crate::{
    model::{Capture, Drop, Endpoint, LinkType, NatKind, Transition, Tuple},
    report::samples::{inside, ip, outside},
};

/// A TCP SYN as it died on eth0.
pub(crate) fn captured(mut drop: Drop) -> Drop {
    let mut bytes = vec![
        0x02, 0x42, 0xc6, 0x33, 0x64, 0x0a, 0x02, 0x42, 0xc6, 0x33, 0x64, 0x14, 0x08, 0x00,
    ];
    bytes.extend([
        0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6, 0, 0, 198, 51, 100, 20, 172, 17, 0, 2,
    ]);
    bytes.extend([
        0xbb, 0xd4, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 2, 0xff, 0xff, 0, 0, 0, 0,
    ]);
    drop.capture = Some(Box::new(Capture {
        link: LinkType::Ethernet,
        length: 74,
        bytes,
    }));
    drop
}

/// A published port.
pub(super) fn transition() -> Transition {
    Transition {
        time: "2026-11-20T04:01:24.100000001Z".parse().unwrap(),
        flow: "7f3a0c11".into(),
        kind: NatKind::Dnat,
        masquerade: None,
        redirect: false,
        protocol: "tcp".into(),
        original: Some(Tuple {
            src: ip("198.51.100.20"),
            src_port: Some(48084),
            dst: ip("198.51.100.10"),
            dst_port: Some(10001),
        }),
        translated: Tuple {
            src: ip("198.51.100.20"),
            src_port: Some(48084),
            dst: ip("172.17.0.2"),
            dst_port: Some(80),
        },
        device: Some("docker0".into()),
        direction: "egress".into(),
        hairpin: false,
        replied: true,
        // No sum of few powers of two: to the last digit, or it is not the same.
        answer_ms: Some(0.100_000_000_000_000_02),
        answered_within_ms: None,
        old: false,
        age_ms: Some(1_234.567_890_123_4),
        proxy_pid: None,
        source: outside(),
        destination: inside("web", "bridge"),
        published: Some("0.0.0.0:10001->80/tcp".into()),
        listed: false,
    }
}

/// A flow that was only found in the table.
pub(super) fn listed() -> Transition {
    Transition {
        old: true,
        listed: true,
        device: None,
        source: Endpoint::default(),
        ..transition()
    }
}
