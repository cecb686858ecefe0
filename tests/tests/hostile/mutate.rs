//! Damage to well-formed input.

/// Makes damaged inputs of good ones, the same for the same seed.
pub(crate) struct Mutator {
    state: u64,
    seeds: Vec<Vec<u8>>,
}

/// What breaks parsers: limits of numbers, and what means something to them.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\xff\xff\xff\xff",
    b"18446744073709551616",
    b"-1",
    b"4294967295",
    b"ffffffffffffffff",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[[[[",
    b":",
    b"/33",
    b"\n",
    b" -j ",
    b" -g ",
    b" ! ",
    b"null",
    b"\xf0\x9f\xa6\x80",
    b"::ffff:0.0.0.0",
];

impl Mutator {
    pub(crate) fn new(seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        Self { state: seed, seeds }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014), below a limit.
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).unwrap_or(0)
    }

    /// A place in a text, and a stretch from there.
    fn stretch(&mut self, length: usize, most: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..(start + self.below(most)).min(length)
    }

    pub(crate) fn next(&mut self) -> Vec<u8> {
        let from = self.below(self.seeds.len());
        let mut input = self.seeds[from].clone();
        for _ in 0..=self.below(6) {
            self.damage(&mut input);
        }
        input.truncate(64 * 1024);
        input
    }

    fn damage(&mut self, input: &mut Vec<u8>) {
        let length = input.len();
        match self.below(8) {
            0 => {
                let at = self.below(length);
                let bit = self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let word = WORDS[self.below(WORDS.len())];
                let place = self.stretch(length, 6);
                input.splice(place, word.iter().copied());
            }
            2 => {
                let place = self.stretch(length, 40);
                input.drain(place);
            }
            3 => input.truncate(self.below(length)),
            // A piece of itself elsewhere.
            4 => {
                let piece = self.stretch(length, 200);
                let piece = input[piece].to_vec();
                let at = self.below(length + 1);
                input.splice(at..at, piece);
            }
            // A piece of another.
            5 => {
                let other = self.below(self.seeds.len());
                let piece = self.stretch(self.seeds[other].len(), 200);
                let piece = self.seeds[other][piece].to_vec();
                let place = self.stretch(length, 200);
                input.splice(place, piece);
            }
            6 => {
                let at = self.below(length);
                let value = [0, 1, 0x7f, 0x80, 0xff][self.below(5)];
                if let Some(byte) = input.get_mut(at) {
                    *byte = value;
                }
            }
            // Two lines change places.
            _ => {
                let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
                let (a, b) = (self.below(lines.len()), self.below(lines.len()));
                if a < lines.len() && b < lines.len() {
                    lines.swap(a, b);
                }
                *input = lines.concat();
            }
        }
    }
}
