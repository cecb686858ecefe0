//! Whether the kernel has some code now, without asking for it: a question would load its module.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Whether a module is loaded, or its code is built in: then `symbol`, one of its functions, is in kallsyms.
///
/// Names are there even where addresses are hidden. It is a long file, so it is looked through once for each symbol:
/// what is built in stays.
#[must_use]
pub fn present(module: &str, symbol: &'static str) -> bool {
    static BUILT_IN: Mutex<Option<HashMap<&'static str, bool>>> = Mutex::new(None);
    if Path::new("/sys/module").join(module).exists() {
        return true;
    }
    let mut known = BUILT_IN.lock().unwrap_or_else(PoisonError::into_inner);
    *known
        .get_or_insert_default()
        .entry(symbol)
        .or_insert_with(|| is_built_in(symbol))
}

fn is_built_in(symbol: &str) -> bool {
    let Ok(file) = File::open("/proc/kallsyms") else {
        return false;
    };
    let wanted = format!(" {symbol}");
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        if line.trim_ascii_end().ends_with(wanted.as_bytes()) {
            return true;
        }
        line.clear();
    }
    false
}
