//! Giving memory back: what only the start needed, and what a long life leaves between what is still used.

use std::fs;

/// All threads take memory from one heap: glibc's default, a heap for each, is made for speed, and what the threads of the start had
/// needed would stay in theirs (5 MB). Before the first thread.
pub fn one_heap() {
    #[cfg(target_env = "gnu")]
    set(libc::M_ARENA_MAX, 1);
}

/// For a process that lives long: [`one_heap`], and large blocks go back to the kernel when they are freed. By glibc's defaults the
/// limit for large blocks grows to the largest ever freed (mallopt(3)). Before the first thread.
pub fn prefer_small() {
    one_heap();
    #[cfg(target_env = "gnu")]
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        set(parameter, LARGE);
    }
}

#[cfg(target_env = "gnu")]
fn set(parameter: libc::c_int, value: libc::c_int) {
    // SAFETY: a number that is set; no other thread runs yet.
    if unsafe { libc::mallopt(parameter, value) } == 0 {
        log::debug!("mallopt({parameter}, {value}) was refused");
    }
}

/// Bytes of a block that is large: glibc's own first value for both limits.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Start-up reads tens of megabytes (symbols, type information) that are not needed again; glibc would keep them.
pub fn free_unused() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without arguments that matter; it only returns free pages to the kernel.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of the pages of program and libraries: those that are needed come back, from the page cache, and the code of the
/// start does not. For a process that lives long.
pub fn unmap_code() {
    let Ok(text) = fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    for (start, length) in pristine(&text) {
        // SAFETY: the mapping is of a file, read-only, and no page of it is other than the file's (`Anonymous: 0`): what is
        // dropped is read from the file again (madvise(2), MADV_DONTNEED of file mappings).
        let result = unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(start),
                length,
                libc::MADV_DONTNEED,
            )
        };
        if result != 0 {
            log::debug!("madvise: {}", std::io::Error::last_os_error());
        }
    }
}

/// Start and length of read-only mappings of files that are exactly the file. Relocated data is read-only too, but the process's own.
fn pristine(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut here = None;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.nth(3)) {
            // 7f12a0000000-7f12a0400000 r-xp 00001000 08:01 1234 /usr/bin/dockernet-trace
            (Some(range), Some(flags @ ("r--p" | "r-xp")), Some(path)) if flags.len() == 4 => {
                here = path.starts_with('/').then(|| bounds(range)).flatten();
            }
            (Some(range), ..) if range.contains('-') => here = None,
            (Some("Anonymous:"), Some("0"), _) => found.extend(here.take()),
            _ => {}
        }
    }
    found
}

fn bounds(range: &str) -> Option<(usize, usize)> {
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_the_process_has_changed_stays() {
        let smaps = "\
1000-3000 r-xp 00001000 08:01 12                 /usr/bin/dockernet-trace
Rss:                   8 kB
Anonymous:             0 kB
3000-4000 r--p 00003000 08:01 12                 /usr/bin/dockernet-trace
Anonymous:             4 kB
4000-5000 rw-p 00004000 08:01 12                 /usr/bin/dockernet-trace
Anonymous:             0 kB
5000-6000 r--p 00000000 00:00 0
Anonymous:             0 kB
6000-7000 r--s 00001000 00:10 1038               anon_inode:bpf-map
Anonymous:             0 kB
8000-9000 r--p 00000000 00:00 0                  [vvar]
Anonymous:             0 kB
a000-c000 r--p 00000000 08:01 99                 /usr/lib/libc.so.6
Anonymous:             0 kB
";
        assert_eq!(pristine(smaps), [(0x1000, 0x2000), (0xa000, 0x2000)]);
    }

    #[test]
    fn a_process_outlives_it() {
        prefer_small();
        unmap_code();
        free_unused();
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(!pristine(&smaps).is_empty(), "{smaps}");
    }
}
