//! BTF made by hand, in pieces, and this kernel's.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

/// Builds BTF by hand.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn add(
        &mut self,
        kind: u8,
        flag: bool,
        name: &str,
        size: u32,
        extra: &[[u32; 3]],
        words: usize,
    ) {
        let name = self.name(name);
        let info = u32::from(flag) << 31 | u32::from(kind) << 24 | extra.len() as u32;
        for word in [name, info, size] {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        for row in extra {
            for word in &row[..words] {
                self.types.extend_from_slice(&word.to_ne_bytes());
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut data = Vec::new();
        data.extend_from_slice(&MAGIC.to_ne_bytes());
        data.extend_from_slice(&[1, 0]);
        for word in [
            24,
            0,
            self.types.len() as u32,
            self.types.len() as u32,
            self.strings.len() as u32,
        ] {
            data.extend_from_slice(&word.to_ne_bytes());
        }
        data.extend_from_slice(&self.types);
        data.extend_from_slice(&self.strings);
        data
    }
}

fn sample() -> Builder {
    let mut b = Builder::new();
    let (dev, flag, net) = (b.name("dev"), b.name("flag"), b.name("net"));
    let one = b.name("ONE");
    // 1: struct inner { net @ 64 }
    b.add(KIND_STRUCT, false, "inner", 16, &[[net, 0, 64]], 3);
    // 2: union { dev @ 0, inner @ 0 (named net below) }
    b.add(KIND_UNION, false, "", 16, &[[dev, 0, 0]], 3);
    // 3: struct outer { <anonymous 2> @ 32 ; flag:3 @ 131 ; net: inner @ 192 }
    b.add(
        KIND_STRUCT,
        true,
        "outer",
        40,
        &[[0, 2, 32], [flag, 0, 3 << 24 | 131], [net, 1, 192]],
        3,
    );
    // 4: forward declaration comes first in search order by name, but is none
    b.add(KIND_ENUM, false, "numbers", 4, &[[one, 7, 0]], 2);
    b
}

#[test]
fn members_are_found_through_anonymous_ones() {
    let btf = Btf::parse(sample().bytes(), None).unwrap();
    assert_eq!(btf.offset("outer", "dev"), Some(4));
    assert_eq!(
        btf.field("outer", "flag"),
        Some(Field {
            bit_offset: 131,
            bits: 3
        })
    );
    assert_eq!(btf.offset("outer", "flag"), None);
    assert_eq!(btf.offset("outer", "net.net"), Some(32));
    assert_eq!(btf.offset("outer", "nothing"), None);
    assert_eq!(btf.enumerators("numbers"), [("ONE".to_owned(), 7)]);
}

#[test]
fn a_modules_types_build_upon_the_kernels() {
    let base = sample();
    let base_strings = base.strings.len() as u32;
    let base = Arc::new(Btf::parse(base.bytes(), None).unwrap());
    let mut module = Builder::default();
    // Split BTF has no leading zero byte of its own; its strings continue the base's.
    module.strings.extend_from_slice(b"conn\0ct\0");
    for word in [
        base_strings,
        u32::from(KIND_STRUCT) << 24 | 1,
        48,
        base_strings + 5,
        3,
        64,
    ] {
        module.types.extend_from_slice(&word.to_ne_bytes());
    }
    let module = Btf::parse(module.bytes(), Some(base)).unwrap();
    assert_eq!(module.offset("conn", "ct"), Some(8));
    assert_eq!(module.offset("conn", "ct.net.net"), Some(40));
    assert_eq!(module.offset("outer", "dev"), Some(4));
}

#[test]
fn damage_is_an_error_or_absent_never_a_panic() {
    let whole = sample().bytes();
    for cut in 0..whole.len() {
        if let Ok(btf) = Btf::parse(whole[..cut].to_vec(), None) {
            let _found = btf.offset("outer", "net.net");
        }
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            if let Ok(btf) = Btf::parse(bytes, None) {
                let _found = (btf.offset("outer", "dev"), btf.enumerators("numbers"));
            }
        }
    }
}

/// Found by fuzzing: without a limit this takes 8^16 looks.
#[test]
fn structures_within_themselves_end() {
    let mut b = Builder::new();
    b.add(KIND_STRUCT, false, "round", 8, &[[0, 1, 0]; 8], 3);
    let btf = Btf::parse(b.bytes(), None).unwrap();
    assert_eq!(btf.offset("round", "nothing"), None);
}

#[test]
fn this_kernel_has_what_the_programs_read() {
    let btf = Btf::vmlinux().unwrap();
    assert!(btf.offset("sk_buff", "dev").is_some());
    assert!(btf.offset("net_device", "nd_net.net").is_some());
    assert_eq!(
        btf.field("sk_buff", "pkt_type").map(|field| field.bits),
        Some(3)
    );
    assert!(
        btf.tracepoint_arguments("kfree_skb")
            .is_some_and(|count| count >= 2)
    );
}
