//! DNS, as little as a resolver needs.

use anyhow::Result;

use super::{Outcome, Probe, udp};

/// A query for the A record of `name` (labels of at most 63 bytes).
#[must_use]
pub fn query(id: u16, name: &str) -> Vec<u8> {
    let mut packet = Vec::with_capacity(32);
    packet.extend(id.to_be_bytes());
    // Recursion desired; one question.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let label = &label.as_bytes()[..label.len().min(63)];
        packet.push(u8::try_from(label.len()).unwrap_or(0));
        packet.extend(label);
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// The answer `192.0.2.53` to a query; `None` for what is no query.
#[must_use]
pub fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let header = query.get(..12)?;
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = query.get(12..end + 5)?;
    let mut packet = header[..2].to_vec();
    // Response, recursion available; one question, one answer.
    packet.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    packet.extend(question);
    packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 53]);
    Some(packet)
}

pub(super) fn probe(probe: &Probe) -> Result<Outcome> {
    // A name not asked before, so that no cache answers.
    let unique = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_micros());
    let packet = query(0x6462, &format!("n{unique}.example"));
    let (outcome, answer) = udp::exchange(probe, |socket| socket.send(&packet).map(drop))?;
    let code = answer.get(3).map_or(0, |byte| byte & 0x0f);
    Ok(if outcome == Outcome::Ok && code != 0 {
        // A resolver that gives up on its upstream says SERVFAIL (2).
        Outcome::Other(format!("rcode {code}"))
    } else {
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::{answer, query};

    #[test]
    fn a_query_is_answered() {
        let packet = query(7, "a.example");
        let answer = answer(&packet).unwrap_or_default();
        assert_eq!(&answer[..2], &[0, 7]);
        assert!(answer.ends_with(&[192, 0, 2, 53]));
    }

    #[test]
    fn garbage_is_not() {
        assert_eq!(answer(&[]), None);
        assert_eq!(answer(&[0xff; 40]), None);
    }
}
