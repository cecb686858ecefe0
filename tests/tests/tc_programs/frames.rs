//! Ethernet frames as nobody should send them: a seed determines them.

/// The published port that servers answer from, so that some frames are more than looked at.
pub(crate) const PORT: u16 = 8080;

/// What the kernel takes at least: a header and one byte (net/core/filter.c and net/bpf/test_run.c refuse empty packets).
const SHORTEST: usize = 15;
/// What fits a device of MTU 1500.
const LONGEST: usize = 1514;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Header types that IPv6 puts between: hop-by-hop, routing, fragment, ESP, AH, destination options, mobility, none.
const EXTENSIONS: [u8; 8] = [0, 43, 44, 50, 51, 60, 135, 59];

/// Makes frames.
pub(crate) struct Frames {
    /// SplitMix64 (Steele, Lea, Flood 2014).
    state: u64,
}

impl Frames {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// One more.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut frame = self.bytes(12);
        self.link(&mut frame);
        if self.percent(25) {
            // Cut anywhere.
            let end = self.below(frame.len());
            frame.truncate(end);
        }
        if self.percent(25) {
            for _ in 0..=self.below(4) {
                let at = self.below(frame.len());
                let value = self.byte();
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
        }
        while frame.len() < SHORTEST {
            frame.push(0);
        }
        frame.truncate(LONGEST);
        frame
    }

    /// From the Ethernet type on.
    fn link(&mut self, frame: &mut Vec<u8>) {
        if self.percent(20) {
            for _ in 0..=self.below(2) {
                let tag = if self.percent(50) { 0x8100 } else { 0x88a8_u16 };
                frame.extend(tag.to_be_bytes());
                frame.extend(self.bytes(2));
            }
        }
        match self.below(10) {
            0..=4 => {
                frame.extend(0x0800_u16.to_be_bytes());
                self.ipv4(frame);
            }
            5..=8 => {
                frame.extend(0x86dd_u16.to_be_bytes());
                self.ipv6(frame);
            }
            _ => {
                // ARP, MPLS, PPPoE, a length, anything.
                let any = u16::from_be_bytes([self.byte(), self.byte()]);
                let kind = [0x0806, 0x8847, 0x8864, 46, any][self.below(5)];
                frame.extend(kind.to_be_bytes());
                let length = self.below(200);
                frame.extend(self.bytes(length));
            }
        }
    }

    fn ipv4(&mut self, frame: &mut Vec<u8>) {
        let start = frame.len();
        let words = if self.percent(70) {
            5
        } else {
            self.below(16) as u8
        };
        let version = if self.percent(97) {
            4
        } else {
            self.byte() & 15
        };
        let protocol = self.protocol();
        frame.extend([version << 4 | words, self.byte(), 0, 0]);
        frame.extend(self.bytes(2));
        // Mostly whole, else any fragment.
        let fragment = if self.percent(75) {
            [0x40, 0]
        } else {
            [self.byte(), self.byte()]
        };
        frame.extend(fragment);
        frame.extend([self.byte(), protocol]);
        // Checksum and addresses.
        frame.extend(self.bytes(10));
        let options = usize::from(words).saturating_sub(5) * 4;
        frame.extend(self.bytes(options));
        self.transport(frame, protocol);
        let total = self.length(frame.len() - start);
        self.put(frame, start + 2, total);
    }

    fn ipv6(&mut self, frame: &mut Vec<u8>) {
        let start = frame.len();
        frame.extend([0x60, self.byte(), self.byte(), self.byte(), 0, 0]);
        let chain: Vec<u8> = (0..self.below(4))
            .map(|_| EXTENSIONS[self.below(EXTENSIONS.len())])
            .collect();
        let protocol = self.protocol();
        let mut kinds = chain.iter().copied().chain([protocol]);
        frame.push(kinds.next().unwrap_or(protocol));
        frame.push(self.byte());
        frame.extend(self.bytes(32));
        for next in kinds {
            // Next header, length in units of eight bytes, and as much or less.
            let units = if self.percent(80) {
                self.below(4)
            } else {
                self.below(256)
            };
            frame.extend([next, units as u8]);
            let length = 6 + self.below(3) * 8;
            frame.extend(self.bytes(length));
        }
        self.transport(frame, protocol);
        let payload = self.length(frame.len() - start - 40);
        self.put(frame, start + 4, payload);
    }

    /// TCP's (a server's answer, often), UDP's, or anything.
    fn transport(&mut self, frame: &mut Vec<u8>, protocol: u8) {
        let port = if self.percent(50) {
            PORT
        } else {
            u16::from_be_bytes([self.byte(), self.byte()])
        };
        match protocol {
            TCP => {
                frame.extend(port.to_be_bytes());
                frame.extend(self.bytes(10));
                let words = if self.percent(80) {
                    5
                } else {
                    self.byte() & 15
                };
                // SYN and ACK, or anything.
                let flags = if self.percent(50) { 0x12 } else { self.byte() };
                frame.extend([words << 4, flags]);
                frame.extend(self.bytes(6));
            }
            UDP => {
                frame.extend(port.to_be_bytes());
                frame.extend(self.bytes(6));
            }
            _ => {}
        }
        let most = if self.percent(95) { 64 } else { 1500 };
        let length = self.below(most);
        frame.extend(self.bytes(length));
    }

    fn protocol(&mut self) -> u8 {
        // ICMP, SCTP, ICMPv6, ESP, GRE, anything.
        let any = self.byte();
        [TCP, TCP, TCP, UDP, UDP, 1, 132, 58, 50, 47, any][self.below(11)]
    }

    /// A length field: mostly true.
    fn length(&mut self, true_one: usize) -> u16 {
        if self.percent(85) {
            u16::try_from(true_one).unwrap_or(u16::MAX)
        } else {
            u16::from_be_bytes([self.byte(), self.byte()])
        }
    }

    fn put(&self, frame: &mut [u8], at: usize, value: u16) {
        if let Some(place) = frame.get_mut(at..at + 2) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(1);
        usize::try_from(self.number() % end).unwrap_or(0)
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn byte(&mut self) -> u8 {
        self.number() as u8
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}
