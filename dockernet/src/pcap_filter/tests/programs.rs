//! Any program that is accepted, not only libpcap's: both machines agree, and nothing leaves its bounds.

use proptest::prelude::*;

use super::*;
use crate::pcap_filter::{classic::check, translate::translate};

fn instruction() -> impl Strategy<Value = Instruction> {
    let code = prop_oneof![
        // Loads and stores.
        prop::sample::select(vec![
            0x20_u16, 0x28, 0x30, 0x40, 0x48, 0x50, 0x00, 0x60, 0x80
        ]),
        prop::sample::select(vec![0xb1_u16, 0x01, 0x61, 0x81, 0x02, 0x03, 0x07, 0x87]),
        // Arithmetic.
        (0_u16..11, prop::bool::ANY).prop_map(|(op, by)| 0x04 | op << 4 | u16::from(by) << 3),
        // Jumps and ends.
        (0_u16..5, prop::bool::ANY).prop_map(|(op, by)| 0x05 | op << 4 | u16::from(by) << 3),
        prop::sample::select(vec![0x06_u16, 0x16]),
    ];
    let k = prop_oneof![0_u32..16, 0_u32..300, any::<u32>()];
    (code, 0_u8..4, 0_u8..4, k).prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k })
}

proptest! {
    #[test]
    fn machines_agree(
        mut program in prop::collection::vec(instruction(), 1..30),
        frame in prop::collection::vec(any::<u8>(), 0..250),
        length in any::<u32>(),
    ) {
        for instruction in &mut program {
            if instruction.code & 7 == 5 && instruction.code & 0xf0 == 0 {
                instruction.k &= 3;
            }
        }
        program.extend([Instruction { code: 0x16, jt: 0, jf: 0, k: 0 }; 4]);
        prop_assume!(check(&program).is_ok());
        let code = translate(&program).unwrap();
        let classic = u64::from(classic::run(&program, &frame, length));
        // Cells hold what nobody wrote: only programs that read what they wrote can be compared.
        if !program.iter().any(|instruction| matches!(instruction.code, 0x60 | 0x61)) {
            prop_assert_eq!(machine::run(&code, &frame, length), classic);
        }
    }

    #[test]
    fn anything_at_all_is_refused_or_runs(
        program in prop::collection::vec(
            (any::<u16>(), any::<u8>(), any::<u8>(), any::<u32>())
                .prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k }),
            0..20,
        ),
        frame in prop::collection::vec(any::<u8>(), 0..250),
    ) {
        let _verdict = classic::run(&program, &frame, 60);
        if check(&program).is_ok() {
            prop_assert!(translate(&program).is_ok());
        }
    }
}

#[test]
fn what_the_kernel_half_cannot_do_is_said() {
    for (text, why) in [
        ("ip6 protochain 58", "protochain"),
        ("tcp[300] = 1", "byte 314"),
        ("ether[231:2] = 1", "byte 231"),
    ] {
        let error = Expression::compile(text).unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some(), "{text}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let many: Vec<String> = (0..700)
        .map(|host| format!("host 198.51.{}.{}", host / 250, host % 250))
        .collect();
    let error = Expression::compile(&many.join(" or "))
        .unwrap_err()
        .to_string();
    assert!(error.contains("room for"), "{error}");
}

#[test]
fn flows_are_held_against_it() {
    let flow = Tuple {
        src: "192.0.2.1".parse().unwrap(),
        src_port: Some(40_000),
        dst: "172.17.0.2".parse().unwrap(),
        dst_port: Some(80),
    };
    let six = Tuple {
        src: "2001:db8::1".parse().unwrap(),
        dst: "2001:db8::2".parse().unwrap(),
        ..flow.clone()
    };
    for (text, protocol, tuple, expected) in [
        ("tcp dst port 80", "tcp", &flow, true),
        ("tcp dst port 80", "tcp", &six, true),
        ("tcp dst port 80", "udp", &flow, false),
        ("tcp src port 80", "tcp", &flow, false),
        ("tcp[tcpflags] & tcp-syn != 0", "tcp", &flow, true),
        ("net 172.17.0.0/16 and udp", "udp", &flow, true),
        ("ip6 and net 2001:db8::/32", "udp", &six, true),
        ("icmp[icmptype] = icmp-echo", "icmp", &flow, true),
        ("icmp6", "icmpv6", &six, true),
        ("arp", "tcp", &flow, false),
    ] {
        let expression = Expression::compile(text).unwrap();
        assert_eq!(
            expression.accepts_opening(protocol, tuple),
            expected,
            "{text} {protocol}"
        );
    }
}
