//! Filters and clsact qdiscs of devices, in the calling thread's network namespace.

use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};

use crate::host::netlink::{self, NetlinkError};

/// A direction of a device, as filters hang on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bpf) enum Side {
    /// What comes in.
    Ingress,
    /// What goes out.
    Egress,
}

/// A filter of a clsact qdisc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bpf) struct Filter {
    /// Device.
    pub ifindex: u32,
    /// Direction.
    pub side: Side,
    /// `tcm_info`: priority and protocol.
    info: u32,
    /// Its handle within the priority.
    pub handle: u32,
    /// `bpf`, `matchall` …
    pub kind: String,
    /// Name of a `bpf` filter, as whoever attached it calls it.
    pub name: Option<String>,
    /// Id of a `bpf` filter's program.
    pub program: Option<u32>,
}

/// Filters of both directions of a device. A device without a clsact qdisc has none.
///
/// # Errors
/// The kernel does not answer, or refuses for another reason than the missing qdisc.
pub(in crate::bpf) fn filters(ifindex: u32) -> Result<Vec<Filter>, NetlinkError> {
    let mut found = Vec::new();
    for side in [Side::Ingress, Side::Egress] {
        let request = message(ifindex, TcHandle::UNSPEC, parent(side));
        let of_side =
            netlink::dump(
                RouteNetlinkMessage::GetTrafficFilter(request),
                |answer| match answer {
                    RouteNetlinkMessage::NewTrafficFilter(answer) => filter(ifindex, side, &answer),
                    _ => None,
                },
            );
        match of_side {
            Ok(filters) => found.extend(filters),
            // No such qdisc, or no such device any more.
            Err(NetlinkError::Refused(libc::EINVAL | libc::ENOENT | libc::ENODEV)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Takes a filter off its device.
///
/// # Errors
/// It is gone already, or the kernel refuses.
pub(in crate::bpf) fn remove(filter: &Filter) -> Result<(), NetlinkError> {
    let handle = TcHandle::from(filter.handle);
    let mut request = message(filter.ifindex, handle, parent(filter.side));
    request.header.info = filter.info;
    netlink::change(RouteNetlinkMessage::DelTrafficFilter(request), 0)
}

/// Gives a device a clsact qdisc. Returns false where it has one.
///
/// # Errors
/// The kernel has none to give (`CONFIG_NET_SCH_INGRESS`), or refuses.
pub(in crate::bpf) fn add_clsact(ifindex: u32) -> Result<bool, NetlinkError> {
    let mut request = message(
        ifindex,
        TcHandle {
            minor: 0,
            ..TcHandle::CLSACT
        },
        TcHandle::CLSACT,
    );
    request.attributes.push(TcAttribute::Kind("clsact".into()));
    let request = RouteNetlinkMessage::NewQueueDiscipline(request);
    match netlink::change(request, libc::NLM_F_CREATE | libc::NLM_F_EXCL) {
        Ok(()) => Ok(true),
        Err(NetlinkError::Refused(libc::EEXIST)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes a device's clsact qdisc away, with all its filters.
///
/// # Errors
/// It is gone already, or the kernel refuses.
pub(in crate::bpf) fn remove_clsact(ifindex: u32) -> Result<(), NetlinkError> {
    let mut request = message(
        ifindex,
        TcHandle {
            minor: 0,
            ..TcHandle::CLSACT
        },
        TcHandle::CLSACT,
    );
    request.attributes.push(TcAttribute::Kind("clsact".into()));
    netlink::change(RouteNetlinkMessage::DelQueueDiscipline(request), 0)
}

/// The two parents of a clsact qdisc (include/uapi/linux/pkt_sched.h: `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_…)`).
fn parent(side: Side) -> TcHandle {
    TcHandle {
        minor: match side {
            Side::Ingress => TcHandle::MIN_INGRESS,
            Side::Egress => TcHandle::MIN_EGRESS,
        },
        ..TcHandle::CLSACT
    }
}

fn message(ifindex: u32, handle: TcHandle, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(i32::try_from(ifindex).unwrap_or(i32::MAX));
    message.header.handle = handle;
    message.header.parent = parent;
    message
}

/// A filter itself: the lists and chains that hold filters are told of as well, with handle 0.
fn filter(ifindex: u32, side: Side, message: &TcMessage) -> Option<Filter> {
    let handle = u32::from(message.header.handle);
    let mut filter = Filter {
        ifindex,
        side,
        info: message.header.info,
        handle,
        kind: String::new(),
        name: None,
        program: None,
    };
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => filter.kind.clone_from(kind),
            TcAttribute::Options(options) => {
                for option in options {
                    match option {
                        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => {
                            filter.name = Some(name.clone());
                        }
                        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program = Some(*id),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    (handle != 0).then_some(filter)
}

/// Devices that have a clsact qdisc.
///
/// # Errors
/// The kernel does not answer.
pub(in crate::bpf) fn with_clsact() -> Result<Vec<u32>, NetlinkError> {
    let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    netlink::dump(request, |answer| match answer {
        RouteNetlinkMessage::NewQueueDiscipline(answer) => {
            let is_clsact = |attribute: &TcAttribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "clsact");
            let index = u32::try_from(answer.header.index).ok()?;
            answer.attributes.iter().any(is_clsact).then_some(index)
        }
        _ => None,
    })
}
