//! The same questions with less known.

use anyhow::{Result, ensure};
use dockernet::host::firewall::{CtState, FlowPacket, Outcome, Site, attribute, simulate};

use crate::{
    compare::Run,
    place::{Place, show},
    predict::Stage,
    rng::Rng,
};

impl Run<'_> {
    /// With less known of the packet the answer is the same, or there is none; and whoever asks which rule dropped it is
    /// not told another.
    pub(crate) fn blur(&mut self, stage: &Stage) -> Result<()> {
        let sure = simulate(&self.firewall, &stage.packet, stage.hook, &self.own);
        let place = match &sure {
            Outcome::Dropped(dropped) => Some(Place::from(&**dropped)),
            _ => None,
        };
        for _ in 0..2 {
            let packet = blurred(self.rng, stage);
            let answer = simulate(&self.firewall, &packet, stage.hook, &self.own);
            self.tally.blurred += 1;
            match &answer {
                Outcome::CannotTell { candidates, .. } => {
                    self.tally.blurred_unclear += 1;
                    if let Some(place) = &place {
                        ensure!(
                            candidates.iter().any(|each| Place::from(each) == *place),
                            "{} is no candidate any more for {packet:#?}\nof {stage:#?}",
                            show(&self.firewall, place)
                        );
                    }
                }
                Outcome::Accepted => {
                    ensure!(place.is_none(), "accepted: {packet:#?}\nof {stage:#?}");
                }
                Outcome::Dropped(other) => ensure!(
                    place == Some(Place::from(&**other)),
                    "dropped by {} instead of {place:?}: {packet:#?}\nof {stage:#?}",
                    show(&self.firewall, &Place::from(&**other))
                ),
            }
            let site = Site::new(stage.hook);
            if let (Some(place), Some(found)) = (
                &place,
                attribute(None, &self.firewall, &packet, &site, &self.own),
            ) {
                ensure!(
                    Place::from(&found.dropped) == *place,
                    "attributed to {found:#?} instead of {place:?}"
                );
            }
        }
        Ok(())
    }
}

/// The packet with some of what is known forgotten.
fn blurred(rng: &mut Rng, stage: &Stage) -> FlowPacket {
    let mut packet = stage.packet.clone();
    for _ in 0..1 + rng.below(3) {
        match rng.below(18) {
            0 => packet.proto = None,
            1 => packet.src = None,
            2 => packet.dst = None,
            3 => packet.sport = None,
            4 => packet.dport = None,
            5 => packet.iif = None,
            6 => packet.oif = None,
            7 => packet.mark = None,
            8 => packet.ttl = None,
            9 => packet.ct_state = packet.ct_state | CtState(*rng.pick(&[1, 2, 4, 8, 64, 79])),
            10 => packet.ct_status = (0, 0),
            11 => packet.ct_reply = None,
            12 => packet.ct_original = None,
            13 => packet.ct_answer = None,
            14 => packet.pkt_type = None,
            15 => packet.tcp_flags = None,
            16 => packet.icmp_type = None,
            _ => packet.icmp_code = None,
        }
    }
    packet
}
