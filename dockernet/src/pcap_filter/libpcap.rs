//! libpcap, loaded when an expression is to be compiled: the finished program needs it for nothing else.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    mem,
    ptr::{self, NonNull},
    slice,
};

use anyhow::{Result, bail};

use super::classic::Instruction;

/// By the soname of Debian's family, and by everybody else's.
const NAMES: [&CStr; 3] = [c"libpcap.so.0.8", c"libpcap.so.1", c"libpcap.so"];
/// `DLT_EN10MB`
const ETHERNET: c_int = 1;
/// `MAXIMUM_SNAPLEN`, which tcpdump too takes.
const SNAPLEN: c_int = 262_144;
/// `PCAP_NETMASK_UNKNOWN`
const NO_NETMASK: u32 = u32::MAX;

/// `struct bpf_program`
#[repr(C)]
struct Program {
    len: u32,
    instructions: *mut Instruction,
}

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Compile = unsafe extern "C" fn(*mut c_void, *mut Program, *const c_char, c_int, u32) -> c_int;
type GetError = unsafe extern "C" fn(*mut c_void) -> *const c_char;
type Free = unsafe extern "C" fn(*mut Program);
type Close = unsafe extern "C" fn(*mut c_void);

/// The functions of libpcap that are needed (pcap(3PCAP), all of them in 1.0 and later).
pub(super) struct Library {
    open_dead: OpenDead,
    compile: Compile,
    error: GetError,
    free: Free,
    close: Close,
}

impl Library {
    /// Loads it. It stays loaded.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn open() -> Result<Self> {
        let handle = NAMES.iter().find_map(|name| {
            // SAFETY: a C string; what libpcap does when it is loaded needs nothing of ours.
            NonNull::new(unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) })
        });
        let Some(handle) = handle else {
            bail!(
                "--filter needs libpcap, which compiles the expression, and it is not here; install it: \
                 apt install libpcap0.8 (Debian, Ubuntu), dnf install libpcap (Fedora, RHEL), apk add libpcap (Alpine)"
            );
        };
        let symbol = |name: &CStr| {
            // SAFETY: a handle that dlopen gave, and a C string.
            let found = unsafe { libc::dlsym(handle.as_ptr(), name.as_ptr()) };
            if found.is_null() {
                bail!("this libpcap has no function {}", name.to_string_lossy());
            }
            Ok(found)
        };
        // SAFETY: functions of these types, by pcap/pcap.h.
        unsafe {
            Ok(Self {
                open_dead: mem::transmute::<*mut c_void, OpenDead>(symbol(c"pcap_open_dead")?),
                compile: mem::transmute::<*mut c_void, Compile>(symbol(c"pcap_compile")?),
                error: mem::transmute::<*mut c_void, GetError>(symbol(c"pcap_geterr")?),
                free: mem::transmute::<*mut c_void, Free>(symbol(c"pcap_freecode")?),
                close: mem::transmute::<*mut c_void, Close>(symbol(c"pcap_close")?),
            })
        }
    }

    /// Compiles an expression for Ethernet, as tcpdump does.
    ///
    /// # Errors
    /// What is wrong with it, in libpcap's words.
    pub(super) fn compile(&self, text: &str) -> Result<Vec<Instruction>, String> {
        let Ok(text) = CString::new(text) else {
            return Err("a filter expression has no zero bytes".to_owned());
        };
        // SAFETY: plain numbers.
        let Some(pcap) = NonNull::new(unsafe { (self.open_dead)(ETHERNET, SNAPLEN) }) else {
            return Err("libpcap has no memory".to_owned());
        };
        let mut program = Program {
            len: 0,
            instructions: ptr::null_mut(),
        };
        // SAFETY: an open handle, a program to be filled, a C string; 1: optimised.
        let status = unsafe {
            (self.compile)(
                pcap.as_ptr(),
                &raw mut program,
                text.as_ptr(),
                1,
                NO_NETMASK,
            )
        };
        let result = if status == 0 && !program.instructions.is_null() {
            // SAFETY: libpcap has filled it with so many instructions; they are copied before they are freed.
            unsafe {
                let copied =
                    slice::from_raw_parts(program.instructions, program.len as usize).to_vec();
                (self.free)(&raw mut program);
                Ok(copied)
            }
        } else {
            // SAFETY: the handle's own message, a C string that lives until it is closed.
            Err(unsafe { CStr::from_ptr((self.error)(pcap.as_ptr())) }
                .to_string_lossy()
                .into_owned())
        };
        // SAFETY: opened above, used no more.
        unsafe { (self.close)(pcap.as_ptr()) };
        result
    }
}
