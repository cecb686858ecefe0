//! Somebody else's tc program: counts packets and lets the next decide. Made by hand, as such a small one needs no compiler.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use crate::{lab::Lab, netns::Place};
use anyhow::{Context, Result, ensure};

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const PROG_LOAD: libc::c_int = 5;
const OBJ_PIN: libc::c_int = 6;
const LINK_CREATE: libc::c_int = 28;
const SCHED_CLS: u32 = 3;
const TCX_EGRESS: u32 = 47;

/// A program on a device's egress; gone when dropped, unless `tc` holds it.
#[derive(Debug)]
pub struct Foreign {
    map: OwnedFd,
    program: OwnedFd,
    _link: Option<OwnedFd>,
}

impl Foreign {
    /// By tcx, after those that are there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn tcx(lab: &Lab, device: &str) -> Result<Self> {
        let (map, program) = load()?;
        let fd = u32::try_from(program.as_raw_fd())?;
        let link = lab.host().within(|| {
            let index = nix::net::if_::if_nametoindex(device)?;
            let words = [fd, index, TCX_EGRESS, 0];
            bpf(LINK_CREATE, &mut bytes(&words, 64)).context("attaching by tcx")
        })?;
        Ok(Self {
            map,
            program,
            _link: Some(owned(link)),
        })
    }

    /// By `tc filter add`, on the device's clsact qdisc.
    ///
    /// # Errors
    /// There is no such qdisc, or bpffs cannot be mounted in the lab's folder.
    pub fn filter(lab: &Lab, device: &str, priority: u16) -> Result<Self> {
        let (map, program) = load()?;
        let folder = lab.folder().join("bpf");
        let folder = folder.to_string_lossy();
        let pin = format!("{folder}/foreign{priority}");
        let mount = format!("mkdir -p {folder} && mount -t bpf bpf {folder}");
        let fd = program.as_raw_fd();
        ensure!(lab.shell(&Place::Host, &mount)?.success(), "{mount}");
        // The mount is in the shell's mount namespace, which is ours: `nsenter --net` changes the network alone.
        let path = CString::new(pin.clone())?;
        let mut attributes = vec![0; 64];
        attributes[..8].copy_from_slice(&(path.as_ptr() as u64).to_ne_bytes());
        attributes[8..12].copy_from_slice(&fd.to_ne_bytes());
        let pinned = bpf(OBJ_PIN, &mut attributes).context("pinning a program");
        let add = format!(
            "tc filter add dev {device} egress pref {priority} bpf da object-pinned {pin}; status=$?; rm -f {pin}; umount {folder}; exit $status"
        );
        let output = lab.shell(&Place::Host, &add)?;
        pinned?;
        ensure!(output.success(), "{add}: {}", output.stderr);
        Ok(Self {
            map,
            program,
            _link: None,
        })
    }

    /// Its id.
    ///
    /// # Errors
    /// /proc does not tell.
    pub fn id(&self) -> Result<u32> {
        id_of(&self.program)
    }

    /// What it has counted.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn packets(&self) -> Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let mut attributes = vec![0; 32];
        attributes[..4].copy_from_slice(&self.map.as_raw_fd().to_ne_bytes());
        attributes[8..16].copy_from_slice(&(&raw const key as u64).to_ne_bytes());
        attributes[16..24].copy_from_slice(&(&raw mut value as u64).to_ne_bytes());
        bpf(MAP_LOOKUP, &mut attributes).context("reading a map")?;
        Ok(value)
    }
}

/// An array of one counter, and a program that adds one to it and returns `TC_ACT_UNSPEC`.
fn load() -> Result<(OwnedFd, OwnedFd)> {
    // BPF_MAP_TYPE_ARRAY, keys of 4 and values of 8 bytes, one entry.
    let map = owned(bpf(MAP_CREATE, &mut bytes(&[2, 4, 8, 1], 72)).context("making a map")?);
    let fd = u64::from(u32::try_from(map.as_raw_fd())?);
    let instructions: [u64; 6] = [
        0x2118 | fd << 32, // r1 = address of the map's value (BPF_PSEUDO_MAP_VALUE), two slots
        0,
        0x0000_0001_0000_02b7, // r2 = 1
        0x0000_0000_0000_21db, // lock *(u64 *)(r1 + 0) += r2
        0xffff_ffff_0000_00b7, // r0 = -1
        0x0000_0000_0000_0095, // exit
    ];
    let mut attributes = program_attributes(SCHED_CLS, &instructions, b"foreign");
    let program = bpf(PROG_LOAD, &mut attributes).context("loading a program")?;
    Ok((map, owned(program)))
}

fn bytes(words: &[u32], size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.resize(size, 0);
    bytes
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: bpf() has just made it, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn bpf(command: libc::c_int, attributes: &mut [u8]) -> Result<RawFd> {
    // SAFETY: the attributes are as long as said, and the memory they point to outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            attributes.len(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(RawFd::try_from(result)?)
}

/// An empty program at a raw tracepoint; gone when dropped.
#[derive(Debug)]
pub struct EmptyTracepoint {
    program: OwnedFd,
    _link: OwnedFd,
}

impl EmptyTracepoint {
    /// At the tracepoint of this name.
    ///
    /// # Errors
    /// The kernel refuses, or has no such tracepoint.
    pub fn attach(tracepoint: &str) -> Result<Self> {
        const RAW_TRACEPOINT: u32 = 17;
        const RAW_TRACEPOINT_OPEN: libc::c_int = 17;
        // r0 = 0; exit
        let instructions: [u64; 2] = [0xb7, 0x95];
        let program = owned(
            bpf(
                PROG_LOAD,
                &mut program_attributes(RAW_TRACEPOINT, &instructions, b"empty"),
            )
            .context("loading an empty program")?,
        );
        let name = CString::new(tracepoint)?;
        let mut attributes = vec![0; 64];
        attributes[..8].copy_from_slice(&(name.as_ptr() as u64).to_ne_bytes());
        attributes[8..12].copy_from_slice(&program.as_raw_fd().to_ne_bytes());
        let link = owned(
            bpf(RAW_TRACEPOINT_OPEN, &mut attributes)
                .with_context(|| format!("attaching to {tracepoint}"))?,
        );
        Ok(Self {
            program,
            _link: link,
        })
    }

    /// The program's id.
    ///
    /// # Errors
    /// /proc does not tell.
    pub fn id(&self) -> Result<u32> {
        id_of(&self.program)
    }
}

/// `bpf_attr` of `BPF_PROG_LOAD`. What it points to has to outlive the call.
fn program_attributes(kind: u32, instructions: &[u64], name: &[u8]) -> Vec<u8> {
    const LICENSE: &std::ffi::CStr = c"GPL";
    let mut attributes = vec![0; 128];
    attributes[..4].copy_from_slice(&kind.to_ne_bytes());
    let count = u32::try_from(instructions.len()).unwrap_or(0);
    attributes[4..8].copy_from_slice(&count.to_ne_bytes());
    attributes[8..16].copy_from_slice(&(instructions.as_ptr() as u64).to_ne_bytes());
    attributes[16..24].copy_from_slice(&(LICENSE.as_ptr() as u64).to_ne_bytes());
    attributes[48..48 + name.len()].copy_from_slice(name);
    attributes
}

/// How many programs hang on a device's egress by tcx, in the calling thread's namespace.
///
/// # Errors
/// The kernel knows no tcx.
pub fn tcx_programs(index: u32) -> Result<u32> {
    const PROG_QUERY: libc::c_int = 16;
    let mut attributes = bytes(&[index, TCX_EGRESS], 64);
    bpf(PROG_QUERY, &mut attributes).context("asking for tcx programs")?;
    let count = attributes.get(24..28).context("a short answer")?;
    Ok(u32::from_ne_bytes(count.try_into()?))
}

fn id_of(program: &OwnedFd) -> Result<u32> {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    program_id(&std::fs::read_to_string(path)?).context("no program id in fdinfo")
}

/// `prog_id` of an fdinfo file.
#[must_use]
pub fn program_id(fdinfo: &str) -> Option<u32> {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
}

/// A kind of thing that the kernel's BPF keeps by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A program.
    Program,
    /// A map.
    Map,
    /// A link.
    Link,
}

/// Whether the kernel still has it (`BPF_*_GET_FD_BY_ID`; links: 5.8+).
///
/// # Errors
/// The kernel refuses to tell.
pub fn is_there(object: Object, id: u32) -> Result<bool> {
    let command = match object {
        Object::Program => 13,
        Object::Map => 14,
        Object::Link => 30,
    };
    match bpf(command, &mut bytes(&[id], 64)) {
        Ok(fd) => {
            drop(owned(fd));
            Ok(true)
        }
        Err(error) => match error.downcast_ref::<io::Error>() {
            Some(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Lets the kernel time every BPF program until this is dropped (`BPF_ENABLE_STATS`, 5.8+): nothing is to be restored.
///
/// # Errors
/// The kernel refuses.
pub fn time_programs() -> Result<OwnedFd> {
    const ENABLE_STATS: libc::c_int = 32;
    bpf(ENABLE_STATS, &mut bytes(&[0], 64))
        .map(owned)
        .context("enabling BPF statistics")
}
