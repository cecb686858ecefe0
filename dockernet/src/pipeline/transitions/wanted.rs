//! Which transitions the user asked for.

use crate::{
    cli::options::{Options, Scope},
    evidence::unexplained,
    model::{Drop, Endpoint, Nat, Netns, NetnsOwner, Packet, Reach, Transition},
    pcap_filter::Expression,
};

/// Inside `--scope`, and let through by the filters. The reason and cause of a drop are none of a transition's.
pub(crate) fn wanted(
    transition: &Transition,
    options: &Options,
    bridge_of: &dyn Fn(&str) -> Option<String>,
) -> bool {
    let touches = |endpoint: &Endpoint| endpoint.container.is_some() || endpoint.network.is_some();
    let inside = options.scope != Scope::Containers
        || transition.published.is_some()
        || touches(&transition.source)
        || touches(&transition.destination);
    inside && options.filter.admits(&as_drop(transition), bridge_of)
}

/// Whether `--filter` accepts the flow's opening packet, before or after NAT.
pub(crate) fn accepted(transition: &Transition, expression: &Expression) -> bool {
    [transition.original.as_ref(), Some(&transition.translated)]
        .into_iter()
        .flatten()
        .any(|tuple| expression.accepts_opening(&transition.protocol, tuple))
}

/// What filters look at, so that they mean the same in both views.
fn as_drop(transition: &Transition) -> Drop {
    let translated = &transition.translated;
    let original = transition.original.as_ref().unwrap_or(translated);
    Drop {
        time: transition.time,
        flow: Some(transition.flow.clone()),
        reason: None,
        location: None,
        hook: None,
        stack: None,
        netns: Netns {
            owner: NetnsOwner::Host,
            ..Netns::default()
        },
        device: transition.device.clone(),
        ingress_device: None,
        packet: Some(Packet {
            protocol: transition.protocol.clone(),
            src: Some(original.src),
            src_port: original.src_port,
            dst: Some(original.dst),
            dst_port: original.dst_port,
            ..Packet::default()
        }),
        nat: Some(Nat {
            kind: transition.kind,
            original: original.clone(),
            reply: translated.turned(),
        }),
        source: transition.source.clone(),
        destination: transition.destination.clone(),
        published: transition.published.clone(),
        rule: None,
        cause: unexplained(None, None),
        noise: None,
        expected: false,
        count: 1,
        veth_of: None,
        reach: Reach::Containers,
        capture: None,
        sample: None,
    }
}
