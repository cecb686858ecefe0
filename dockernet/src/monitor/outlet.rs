//! Standard output, written by a thread of its own.

use std::{
    io::Write,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::host::privileges;

/// Lines that wait for a reader at most. One with a long cause has some 2 KiB.
const WAITING: usize = 2048;
/// How long the end of the service waits for the reader.
const FAREWELL: Duration = Duration::from_secs(1);

/// A reader that does not read (a pipe, a container's log driver) holds up nobody: lines wait, and those for which there is no room are
/// counted instead.
pub(super) struct Outlet {
    /// Where lines go, until the thread that writes them is started.
    out: Mutex<Option<Box<dyn Write + Send>>>,
    queue: OnceLock<Option<Queue>>,
    lost: AtomicU64,
    /// Of these: those of which no line told yet.
    untold: AtomicU64,
}

struct Queue {
    lines: SyncSender<Order>,
}

impl Queue {
    /// Waits for room until then.
    fn insist(&self, mut order: Order, end: Instant) -> bool {
        loop {
            match self.lines.try_send(order) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) if Instant::now() < end => order = back,
                Err(_) => return false,
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

enum Order {
    Write(String),
    /// Tells when everything before it was written.
    Report(Sender<()>),
}

impl Outlet {
    /// To this.
    pub(super) fn new(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Mutex::new(Some(Box::new(out))),
            queue: OnceLock::new(),
            lost: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    /// Writes a line (with its line break) soon, or counts it. `about` makes one that says how many were lost before it.
    pub(super) fn write(&self, line: String, about: impl FnOnce(u64) -> String) {
        let untold = self.untold.swap(0, Ordering::Relaxed);
        if untold > 0 && !self.send(about(untold)) {
            self.untold.fetch_add(untold, Ordering::Relaxed);
        }
        if !self.send(line) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send(&self, line: String) -> bool {
        self.queue()
            .is_some_and(|queue| queue.lines.try_send(Order::Write(line)).is_ok())
    }

    /// Lines that found no room so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes the last line, and waits until all is written; not for long, should nobody read.
    pub(super) fn finish(&self, line: String, about: impl FnOnce(u64) -> String) {
        let Some(queue) = self.queue() else { return };
        let end = Instant::now() + FAREWELL;
        let (done, wait) = channel();
        let untold = self.untold.swap(0, Ordering::Relaxed);
        let is_written = (untold == 0 || queue.insist(Order::Write(about(untold)), end))
            && queue.insist(Order::Write(line), end)
            && queue.insist(Order::Report(done), end)
            && wait
                .recv_timeout(end.saturating_duration_since(Instant::now()))
                .is_ok();
        if !is_written {
            log::warn!("standard output is not read: its last lines are lost");
        }
    }

    /// Started with the first line: the service makes its helper process before.
    fn queue(&self) -> Option<&Queue> {
        let start = || {
            let out = self
                .out
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()?;
            let (lines, orders) = sync_channel(WAITING);
            let started = thread::Builder::new().name("lines".into()).spawn(move || {
                // Started before the service gives up its own.
                privileges::give_up();
                serve(out, &orders);
            });
            if let Err(error) = &started {
                log::error!("no thread can be started for standard output: {error}");
            }
            started.ok().map(|_| Queue { lines })
        };
        self.queue.get_or_init(start).as_ref()
    }
}

/// A service goes on when nobody reads its lines: the numbers are elsewhere.
fn serve(mut out: impl Write, orders: &Receiver<Order>) {
    for order in orders {
        match order {
            Order::Write(line) => {
                if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                    log::warn!("writing to standard output: {error}");
                }
            }
            Order::Report(done) => {
                // Who asked may have gone.
                let _gone = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{
        io::{BufRead as _, BufReader, pipe},
        sync::Arc,
    };

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_loses_lines_and_is_told() {
        let (reader, writer) = pipe().unwrap();
        let outlet = Outlet::new(writer);
        let about = |lost: u64| format!("lost {lost}\n");
        // More than the pipe and the queue hold together.
        for number in 0..10_000 {
            outlet.write(format!("{number:0>99}\n"), about);
        }
        let lost = outlet.lost();
        assert!(lost > 0);
        let read = thread::spawn(move || {
            let lines = BufReader::new(reader).lines();
            lines.map(Result::unwrap).collect::<Vec<_>>()
        });
        // There is room again.
        outlet.finish("last\n".into(), about);
        let all_lost = outlet.lost();
        drop(outlet);
        let lines = read.join().unwrap();
        let told: u64 = lines
            .iter()
            .filter_map(|line| line.strip_prefix("lost ")?.parse::<u64>().ok())
            .sum();
        assert_eq!(told, all_lost);
        let numbers = lines.iter().filter(|line| line.len() == 99).count();
        assert_eq!(numbers as u64 + lost, 10_000);
    }

    /// Takes its time.
    struct Slow(Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            thread::sleep(Duration::from_millis(2));
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_is_written_before_the_end() {
        let written = Arc::default();
        let outlet = Outlet::new(Slow(Arc::clone(&written)));
        for number in 0..40 {
            outlet.write(format!("{number}\n"), |_| String::new());
        }
        outlet.finish("last\n".into(), |_| String::new());
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 41);
        assert!(text.ends_with("39\nlast\n"), "{text}");
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let (_reader, writer) = pipe().unwrap();
        let outlet = Outlet::new(writer);
        for _ in 0..3 * WAITING {
            outlet.write(
                "a line that is longer than the pipe allows for\n".repeat(2),
                |_| String::new(),
            );
        }
        outlet.finish("last\n".into(), |_| String::new());
        assert!(outlet.lost() > 0);
    }
}
