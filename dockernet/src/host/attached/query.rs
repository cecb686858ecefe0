//! `BPF_PROG_QUERY`: which programs hang somewhere (kernel/bpf/syscall.c `bpf_prog_query`).

use std::io;

const BPF_PROG_QUERY: libc::c_long = 16;
/// `BPF_F_QUERY_EFFECTIVE`: those of the parents too.
const EFFECTIVE: u32 = 1;
/// More than 64 at one place is refused by the kernel (`bpf_mprog_max`).
const MOST: u32 = 64;
/// Bytes of the attributes that kernels know since 4.15; the rest came with TCX in 6.6.
const OLD: usize = 32;

/// The `query` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// Ids of the programs that apply to a cgroup (4.15+), given its descriptor.
pub(super) fn effective(cgroup: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut programs = [0_u32; MOST as usize];
    let mut attributes = Attributes {
        target: cgroup,
        attach_type,
        query_flags: EFFECTIVE,
        prog_ids: programs.as_mut_ptr() as u64,
        count: MOST,
        ..Attributes::default()
    };
    let count = ask(&mut attributes, OLD)?;
    Ok(programs.into_iter().take(count).collect())
}

/// Ids of the programs at a device's TCX hook (6.6+), each with the id of the link that holds it, 0 if none does.
pub(super) fn at_device(ifindex: u32, attach_type: u32) -> io::Result<Vec<(u32, u32)>> {
    let mut programs = [0_u32; MOST as usize];
    let mut links = [0_u32; MOST as usize];
    let mut attributes = Attributes {
        target: ifindex,
        attach_type,
        prog_ids: programs.as_mut_ptr() as u64,
        link_ids: links.as_mut_ptr() as u64,
        count: MOST,
        ..Attributes::default()
    };
    let count = ask(&mut attributes, size_of::<Attributes>())?;
    Ok(programs.into_iter().zip(links).take(count).collect())
}

/// Asks; how many there are.
fn ask(attributes: &mut Attributes, size: usize) -> io::Result<usize> {
    // SAFETY: the attributes are those of this command, `size` is within them, and the arrays that they point to hold `count`
    // numbers and outlive the call.
    let status = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            std::ptr::from_mut(attributes),
            size,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(attributes.count.min(MOST) as usize)
}
