use proptest::prelude::*;

use super::{super::hostile::every_question, *};

const SAVES: [&str; 5] = [
    include_str!("../testdata/docker-20.10.save"),
    include_str!("../testdata/docker-28.5.save"),
    include_str!("../testdata/docker-28.5.save6"),
    include_str!("../testdata/ufw.save"),
    include_str!("../testdata/ufw.save6"),
];
const LISTINGS: [(&str, &str); 3] = [
    (
        include_str!("../testdata/nft-features.json"),
        include_str!("../testdata/nft-features.txt"),
    ),
    (
        include_str!("../testdata/docker-29-nft.json"),
        include_str!("../testdata/docker-29-nft.txt"),
    ),
    (
        include_str!("../testdata/firewalld.json"),
        include_str!("../testdata/firewalld.txt"),
    ),
];

/// Replaces, swaps and cuts pieces of a text at places given as fractions of its length.
fn mutate(text: &str, edits: &[(u16, u16, String)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (at, length, with) in edits {
        let at = usize::from(*at) * bytes.len() / 65_536;
        let end = (at + usize::from(*length % 40)).min(bytes.len());
        bytes.splice(at..end, with.bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Swaps whole words, so that the text stays well-formed more often.
fn shuffle(text: &str, swaps: &[(u16, u16)]) -> String {
    let mut words: Vec<&str> = text.split_inclusive([' ', '\n', ',', ':']).collect();
    for (a, b) in swaps {
        let length = words.len();
        words.swap(
            usize::from(*a) * length / 65_536,
            usize::from(*b) * length / 65_536,
        );
    }
    words.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn damaged_dumps_do_not_panic(
        which in 0..SAVES.len(),
        edits in prop::collection::vec((any::<u16>(), any::<u16>(), "[-!a-zA-Z0-9 :/\"\\\\\\n\\[\\]]{0,12}"), 0..12),
        swaps in prop::collection::vec(any::<(u16, u16)>(), 0..12),
    ) {
        let text = shuffle(&mutate(SAVES[which], &edits), &swaps);
        every_question(&save(&text, Family::Ip), &host());
    }

    #[test]
    fn damaged_json_does_not_panic(
        which in 0..LISTINGS.len(),
        edits in prop::collection::vec((any::<u16>(), 0..3_u16, "[0-9a-z\"{},:]{0,3}"), 0..3),
        swaps in prop::collection::vec(any::<(u16, u16)>(), 0..3),
    ) {
        let (json, listing) = LISTINGS[which];
        let texts = Texts::parse(&mutate(listing, &edits));
        let json = shuffle(&mutate(json, &edits), &swaps);
        if let Ok(ruleset) = nft::parse(&json, &texts) {
            every_question(&Firewall { rulesets: vec![ruleset], ..Firewall::default() }, &host());
        }
    }
}

#[test]
fn chains_that_never_end_give_up() {
    let firewall = save(
        "*filter\n:FORWARD ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n-A FORWARD -j A\n-A A -j B\n-A B -j A\n\
         -A B -j DROP\nCOMMIT\n",
        Family::Ip,
    );
    let packet = tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "docker0");
    assert!(matches!(
        run(&firewall, &packet, Hook::Forward),
        Outcome::CannotTell { .. }
    ));
    assert_eq!(attributed(&firewall, &packet, Hook::Forward), None);
}
