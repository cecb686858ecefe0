//! What the service costs: its process from /proc, its kernel half from the kernel's BPF statistics.

use std::{
    fs, io,
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use crate::host::helper;

/// The service as /proc shows it, its helper for namespaces included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// CPU time of all threads, and of programs that ran for it (`nft`), seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes; of the helper's what it does not share with the service.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: usize,
    /// How many it may have.
    pub max_fds: u64,
    /// When it was started, seconds since the epoch.
    pub started: f64,
}

/// The kernel half's programs and maps, as their file descriptors' `fdinfo` tells (kernel/bpf/syscall.c).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// CPU time of all programs while statistics were on.
    pub run_time: Duration,
    /// Runs in that time.
    pub runs: u64,
    /// Memory of all maps, bytes. The kernel counts per-CPU maps for every possible CPU.
    pub map_bytes: u64,
}

impl Process {
    /// Reads it; what cannot be read is as it was, or 0.
    #[must_use]
    pub fn read() -> Self {
        static OWN: Mutex<Option<Used>> = Mutex::new(None);
        static HELPER: Mutex<Option<Used>> = Mutex::new(None);
        let own = used("self", &OWN);
        let helper = helper::pid().map(|pid| used(&pid.to_string(), &HELPER));
        let of_helper = helper.unwrap_or_default();
        let max_fds = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
            .map_or(0, |(soft, _)| soft);
        Self {
            cpu_seconds: own.cpu_seconds + of_helper.cpu_seconds,
            resident_bytes: (own.resident + of_helper.resident - of_helper.shared) * page_size(),
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            max_fds,
            started: started(own.since_boot),
        }
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    cpu_seconds: f64,
    /// Pages, and those of them that are a file's.
    resident: u64,
    shared: u64,
    /// When it was started, seconds.
    since_boot: f64,
}

impl Used {
    fn read(process: &str) -> Option<Self> {
        let folder = Path::new("/proc").join(process);
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let (cpu_seconds, since_boot) = times(&read("stat")?)?;
        let statm = read("statm")?;
        let mut pages = statm.split(' ').skip(1).map(|pages| pages.parse().ok());
        let resident = pages.next()??;
        Some(Self {
            cpu_seconds,
            resident,
            shared: pages.next()??.min(resident),
            since_boot,
        })
    }
}

/// Without a descriptor left it cannot be read: a counter does not go back to 0 for that.
fn used(process: &str, last: &Mutex<Option<Used>>) -> Used {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    *last = Used::read(process).or(*last);
    last.unwrap_or_default()
}

/// CPU time (utime, stime; cutime and cstime of children that have ended), and start since boot (starttime), seconds; the fields after
/// the name, which may hold spaces.
fn times(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // proc_pid_stat(5): state is field 3, and the first here.
    let ticks = |field: usize| -> Option<f64> { fields.get(field - 3)?.parse().ok() };
    let per_second = clock_ticks();
    Some((
        (14..=17).filter_map(ticks).sum::<f64>() / per_second,
        ticks(22)? / per_second,
    ))
}

fn clock_ticks() -> f64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    #[expect(clippy::cast_precision_loss, reason = "100 or 1000")]
    let ticks = ticks.ok().flatten().unwrap_or(100) as f64;
    ticks
}

fn page_size() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

/// When this process was started, seconds since the epoch. Reckoned once: from clocks that are read one after the other it would be
/// another each time, and where the wall clock is set the service would seem to have been restarted.
fn started(since_boot: f64) -> f64 {
    static STARTED: OnceLock<f64> = OnceLock::new();
    *STARTED.get_or_init(|| boot_time() + since_boot)
}

/// When the machine was started, seconds since the epoch.
fn boot_time() -> f64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime: f64 = uptime
        .split(' ')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(0.0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.as_secs_f64() - uptime
}

impl Kernel {
    /// Reads the fdinfo of every program and map that this process holds open.
    ///
    /// # Errors
    /// /proc/self cannot be read.
    pub fn read() -> Result<Self> {
        let mut sum = Self::default();
        // A map has several descriptors if it was duplicated.
        let mut counted = std::collections::HashSet::new();
        for entry in fs::read_dir("/proc/self/fd").context("reading /proc/self/fd")? {
            let Ok(entry) = entry else { continue };
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let kind = target.to_string_lossy().into_owned();
            if kind != "anon_inode:bpf-map" && kind != "anon_inode:bpf-prog" {
                continue;
            }
            let fd = entry.file_name();
            let info =
                fs::read_to_string(Path::new("/proc/self/fdinfo").join(fd)).unwrap_or_default();
            let field = |name: &str| field(&info, name);
            let is_map = kind == "anon_inode:bpf-map";
            let id = field(if is_map { "map_id" } else { "prog_id" });
            if !counted.insert((is_map, id)) {
                continue;
            }
            if is_map {
                sum.map_bytes += map_bytes(&info);
            } else {
                sum.run_time += Duration::from_nanos(field("run_time_ns"));
                sum.runs += field("run_cnt");
            }
        }
        Ok(sum)
    }
}

/// A number of an fdinfo file; 0 if it has none of that name.
fn field(info: &str, name: &str) -> u64 {
    info.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

/// Bytes of a map, as far as the kernel tells them. From 5.11 to 6.3 that is its entries' keys and values
/// (kernel/bpf/syscall.c, `bpf_map_memory_footprint`), of which a ring has none.
fn map_bytes(info: &str) -> u64 {
    /// `BPF_MAP_TYPE_RINGBUF` (include/uapi/linux/bpf.h).
    const RING: u64 = 27;
    match (field(info, "map_type"), field(info, "memlock")) {
        (RING, 0) => field(info, "max_entries"),
        (_, told) => told,
    }
}

/// What of the maps is in [`Process::resident_bytes`] too, bytes: rings are mapped, each of their data pages twice in a row
/// (kernel/bpf/ringbuf.c, `ringbuf_map_mmap_*`), and all of their pages count as resident.
#[must_use]
pub fn mapped_map_bytes() -> u64 {
    mapped(&fs::read_to_string("/proc/self/maps").unwrap_or_default())
}

fn mapped(maps: &str) -> u64 {
    maps.lines()
        .filter(|line| line.ends_with("anon_inode:bpf-map"))
        .filter_map(|line| {
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            number(end)?.checked_sub(number(start)?)
        })
        .sum()
}

/// Switches the kernel's BPF statistics on for as long as the value lives. Each program of the machine then takes two time
/// stamps per run, so it should not live long. `None`: the kernel refuses (before 5.8).
#[must_use]
pub fn statistics() -> Option<std::os::fd::OwnedFd> {
    let switched = if helper::is_there() {
        helper::statistics()
    } else {
        aya::sys::enable_stats(aya::sys::Stats::RunTime).map_err(io::Error::other)
    };
    switched
        .map_err(|error| log::debug!("no BPF statistics: {error}"))
        .ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_ring_has_its_size_where_the_kernel_counts_entries() {
        let info = |kind: u32, memlock: u64| {
            format!(
                "pos:\t0\nflags:\t02000002\nmap_type:\t{kind}\nkey_size:\t0\nmax_entries:\t4194304\nmemlock:\t{memlock}\nmap_id:\t7\n"
            )
        };
        assert_eq!(map_bytes(&info(27, 0)), 4 << 20);
        assert_eq!(map_bytes(&info(27, 4_276_520)), 4_276_520);
        assert_eq!(map_bytes(&info(1, 0)), 0);
        assert_eq!(map_bytes(""), 0);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 7 3 20 0 1 0 300 0 0";
        let ticks = clock_ticks();
        assert_eq!(times(stat).unwrap(), (210.0 / ticks, 300.0 / ticks));
    }

    #[test]
    fn rings_are_found_among_mappings() {
        let maps = "\
7f5cb9d7b000-7f5cb9d7d000 r--s 00001000 00:10 1038                       anon_inode:bpf-map
7f5cbc000000-7f5cbc658000 rw-p 00000000 00:00 0
7f5cc10d7000-7f5cc10d8000 rw-s 00000000 00:10 1038                       anon_inode:bpf-map
";
        assert_eq!(mapped(maps), 3 * 4096);
    }

    #[test]
    fn this_process_is_alive() {
        let process = Process::read();
        assert!(process.resident_bytes > 100_000, "{process:?}");
        assert!(process.open_fds >= 3 && process.max_fds >= 3, "{process:?}");
        assert!(process.started > 1.5e9, "{process:?}");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(process.started.to_bits(), Process::read().started.to_bits());
        assert_eq!(Kernel::read().unwrap(), Kernel::default());
    }
}
