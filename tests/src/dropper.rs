//! BPF programs that drop: what a network plugin or a DDoS filter might load.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};

/// Where a dropping program is hung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// A device's TCX ingress.
    Tcx,
    /// A device's generic XDP.
    Xdp,
    /// XDP in a device's driver.
    XdpDriver,
}

/// One instruction: opcode, registers, offset, immediate (include/uapi/linux/bpf.h, `struct bpf_insn`).
fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let mut bytes = [code, registers, 0, 0, 0, 0, 0, 0];
    bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
    bytes[4..].copy_from_slice(&immediate.to_ne_bytes());
    bytes
}

/// ETH_P_IP in network byte order, as the kernel's little-endian loads see it.
const IPV4: i32 = 0x0008;

/// Drops every IPv4 packet and lets the rest (ARP above all) pass.
fn program(hook: Hook) -> Vec<u8> {
    let exit = instruction(0x95, 0, 0, 0);
    let answer = |value| instruction(0xb7, 0, 0, value);
    let code: Vec<[u8; 8]> = match hook {
        // r0 = skb->protocol; if it is IPv4 TC_ACT_SHOT, else TC_ACT_UNSPEC
        Hook::Tcx => vec![
            instruction(0x61, 0x12, 16, 0),
            answer(-1),
            instruction(0x55, 0x02, 1, IPV4),
            answer(2),
            exit,
        ],
        // r2 = data, r3 = data_end; the Ethernet type is at 12
        Hook::Xdp | Hook::XdpDriver => vec![
            instruction(0x61, 0x12, 0, 0),
            instruction(0x61, 0x13, 4, 0),
            answer(2),
            instruction(0xbf, 0x24, 0, 0),
            instruction(0x07, 0x04, 0, 14),
            instruction(0x2d, 0x34, 3, 0),
            instruction(0x69, 0x25, 12, 0),
            instruction(0x55, 0x05, 1, IPV4),
            answer(1),
            exit,
        ],
    };
    code.concat()
}

/// Loads and attaches a program in the calling thread's network namespace; it goes when the link is closed.
///
/// # Errors
/// The kernel refuses it, or there is no such device.
pub(crate) fn attach(hook: Hook, device: &str) -> Result<OwnedFd> {
    const PROG_LOAD: libc::c_long = 5;
    const LINK_CREATE: libc::c_long = 28;
    let code = program(hook);
    let license = c"GPL";
    // bpf_attr of BPF_PROG_LOAD up to prog_name, and of BPF_LINK_CREATE up to flags.
    let mut load = Vec::new();
    let kind: u32 = match hook {
        Hook::Tcx => 3,
        Hook::Xdp | Hook::XdpDriver => 6,
    };
    load.extend(kind.to_ne_bytes());
    load.extend(u32::try_from(code.len() / 8)?.to_ne_bytes());
    load.extend((code.as_ptr() as u64).to_ne_bytes());
    load.extend((license.as_ptr() as u64).to_ne_bytes());
    load.resize(48, 0);
    let mut name = *b"plugin_filter\0\0\0";
    name[15] = 0;
    load.extend(name);
    // prog_ifindex and expected_attach_type
    let (attach_type, flags): (u32, u32) = match hook {
        Hook::Tcx => (46, 0),
        // XDP_FLAGS_SKB_MODE
        Hook::Xdp => (37, 2),
        // XDP_FLAGS_DRV_MODE
        Hook::XdpDriver => (37, 4),
    };
    load.extend(0_u32.to_ne_bytes());
    load.extend(if hook == Hook::Tcx { 0 } else { attach_type }.to_ne_bytes());
    let program = bpf(PROG_LOAD, &load).context("loading a dropping BPF program")?;
    let target =
        nix::net::if_::if_nametoindex(device).with_context(|| format!("finding {device}"))?;
    let mut link = Vec::new();
    link.extend(program.as_raw_fd().to_ne_bytes());
    for word in [target, attach_type, flags] {
        link.extend(word.to_ne_bytes());
    }
    bpf(LINK_CREATE, &link).context("attaching a dropping BPF program")
}

fn bpf(command: libc::c_long, attributes: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are this command's, and what they point to outlives the call.
    let status = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            attributes.len(),
        )
    };
    match i32::try_from(status) {
        // SAFETY: the kernel has just handed out this descriptor.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
