//! What user space tells the programs while they run.

/// The one element of the control map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Bumped at every drain, seldom where packets are only counted: token buckets refill when they see a new epoch.
    pub epoch: u32,
    /// Selects the count map by its lowest bit. A map is read out and cleared only while it is not selected.
    pub generation: u32,
    /// Samples per key, CPU and epoch.
    pub key_burst: u32,
    /// Samples per CPU and epoch over all keys; the first of a key is always taken.
    pub cpu_burst: u32,
    /// How many namespaces are out of scope: with none, nobody looks.
    pub far: u32,
    /// Bumped after every change of what addresses and published ports mean, and of which namespaces are out of scope; never 0.
    pub names: u32,
    /// Addresses of kernel functions that `dst->input` may hold: they tell the netfilter hook. 0 = unknown.
    pub ip_forward: u64,
    /// See `ip_forward`.
    pub ip6_forward: u64,
    /// See `ip_forward`.
    pub ip_local_deliver: u64,
    /// See `ip_forward`.
    pub ip6_input: u64,
    /// Where `nf_hook_slow` begins: on kernels without a reason for it, what it frees is a netfilter drop. 0 = unknown.
    pub nf_hook_slow: u64,
    /// Where it ends.
    pub nf_hook_slow_end: u64,
}

const _: () = assert!(size_of::<Control>() == 72);
crate::pod!(Control);
