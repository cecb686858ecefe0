//! Made-up frames: right ones, odd ones and cut ones, from few addresses and ports so that expressions meet them often.

/// A small generator of numbers, the same ones at every run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Less than `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    pub(super) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

pub(super) const V4: [[u8; 4]; 5] = [
    [192, 0, 2, 1],
    [192, 0, 2, 77],
    [198, 51, 100, 20],
    [172, 17, 0, 2],
    [224, 0, 0, 251],
];
const V6: [&str; 4] = ["2001:db8::1", "2001:db8:1::2", "fe80::1", "ff02::1"];
pub(super) const PORTS: [u16; 8] = [22, 53, 80, 443, 1023, 8080, 10001, 65535];
const MACS: [[u8; 6]; 4] = [
    [2, 0x42, 0xac, 0x11, 0, 2],
    [0, 0, 0x5e, 0, 0x53, 1],
    [0xff; 6],
    [1, 0, 0x5e, 0, 0, 0xfb],
];

/// At most 200 bytes: nothing of it is beyond what the kernel half copies.
pub(super) fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(random.pick(&MACS));
    frame.extend(random.pick(&MACS));
    if random.one_in(6) {
        let tag = random.pick(&[0x8100_u16, 0x88a8, 0x9100]);
        frame.extend(tag.to_be_bytes());
        frame.extend(random.pick(&[7_u16, 100, 0x2064]).to_be_bytes());
    }
    match random.below(10) {
        0..=5 => {
            frame.extend(0x0800_u16.to_be_bytes());
            v4(random, &mut frame);
        }
        6..=7 => {
            frame.extend(0x86dd_u16.to_be_bytes());
            v6(random, &mut frame);
        }
        8 => {
            frame.extend(0x0806_u16.to_be_bytes());
            frame.extend([0, 1, 8, 0, 6, 4, 0, random.pick(&[1, 2])]);
            for _ in 0..2 {
                frame.extend(random.pick(&MACS));
                frame.extend(random.pick(&V4));
            }
        }
        _ => {
            frame.extend(
                random
                    .pick(&[0x8035_u16, 0x8847, 0x0026, 0x88cc])
                    .to_be_bytes(),
            );
            let count = random.below(40);
            frame.extend(random.bytes(count));
        }
    }
    frame.truncate(200);
    if random.one_in(8) {
        let end = 14 + random.below(frame.len().saturating_sub(13));
        frame.truncate(end);
    }
    frame
}

fn v4(random: &mut Random, frame: &mut Vec<u8>) {
    let options = if random.one_in(6) {
        4 * random.below(5)
    } else {
        0
    };
    let protocol = random.pick(&[1_u8, 2, 6, 6, 6, 17, 17, 47, 132]);
    let fragment = if random.one_in(8) {
        random.pick(&[0x2000_u16, 0x2003, 0x00b9, 0x4000])
    } else {
        0
    };
    let length = 20 + options + random.below(60);
    frame.extend([0x45 + (options / 4) as u8, random.pick(&[0, 0x10, 0xb8])]);
    frame.extend((length as u16).to_be_bytes());
    frame.extend([0, random.below(256) as u8]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([random.pick(&[1, 64, 255]), protocol, 0, 0]);
    frame.extend(random.pick(&V4));
    frame.extend(random.pick(&V4));
    frame.extend(random.bytes(options));
    transport(random, protocol, frame);
}

fn v6(random: &mut Random, frame: &mut Vec<u8>) {
    let next = random.pick(&[0_u8, 6, 6, 17, 44, 58, 132]);
    frame.extend([0x60, 0, 0, 0, 0, random.below(80) as u8, next, 64]);
    for _ in 0..2 {
        let address: std::net::Ipv6Addr = random.pick(&V6).parse().unwrap();
        frame.extend(address.octets());
    }
    let last = match next {
        0 | 44 => {
            let last = random.pick(&[6_u8, 17, 58]);
            frame.extend([last, 0, 0, random.pick(&[0, 1, 8]), 0, 0, 0, 0]);
            last
        }
        other => other,
    };
    transport(random, last, frame);
}

fn transport(random: &mut Random, protocol: u8, frame: &mut Vec<u8>) {
    if matches!(protocol, 6 | 17 | 132) {
        frame.extend(random.pick(&PORTS).to_be_bytes());
        frame.extend(random.pick(&PORTS).to_be_bytes());
    }
    match protocol {
        1 | 58 => frame.extend([
            random.pick(&[0, 3, 8, 128, 129, 135]),
            random.pick(&[0, 1, 4]),
        ]),
        6 => {
            frame.extend(random.bytes(8));
            frame.extend([
                0x50 + 16 * random.below(6) as u8,
                random.pick(&[2, 0x12, 0x10, 0x11, 4, 0x18]),
            ]);
        }
        _ => {}
    }
    let count = random.below(70);
    let mut rest = random.bytes(count);
    if random.one_in(4) {
        rest.extend(b"GET / HTTP/1.1");
    }
    frame.extend(rest);
}
