//! Where the mark stands under a wrong expression.

use super::*;

/// The text from the mark on.
fn marked(text: &str) -> String {
    let error = Expression::compile(text).unwrap_err();
    let marked = error.downcast_ref::<Marked>().unwrap();
    let mut lines = marked.below.lines();
    assert_eq!(lines.next(), Some(format!("  {text}").as_str()));
    let at = lines.next().unwrap().find('^').unwrap();
    format!("  {text} ")
        .get(at..)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn the_first_wrong_word_is_marked() {
    for (text, from) in [
        ("tcp and prot 80", "prot 80"),
        ("port 99999", "99999"),
        ("tcp[13] & = 2", "= 2"),
        ("tcp and ) udp", ") udp"),
        ("udp port 53 and and tcp", "and tcp"),
        (
            "tcp port http and host no-such-host.invalid",
            "no-such-host.invalid",
        ),
        ("(tcp or udp) and (port 80 or", ""),
        ("udp[((udp[0]) = 1", "= 1"),
        ("ether proto 0x800 # x", "# x"),
        ("tcp port", ""),
        ("tcp and (udp port", ""),
    ] {
        assert_eq!(marked(text), from, "{text}");
    }
}

#[test]
fn no_text_is_too_odd() {
    for text in [
        "\t\u{1}\u{7f}",
        "ÄÖ ü",
        "((((((((",
        "]]]]",
        "'",
        "\"",
        "host \"",
        "tcp\nand\nprot",
        "\0",
    ] {
        assert!(Expression::compile(text).is_err(), "{text:?}");
    }
}
