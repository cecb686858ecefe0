//! A thread inside the host's namespace that attaches to devices as they come: a container's first packets do not wait
//! for the inventory.

use std::{
    collections::HashSet,
    io::{PipeWriter, pipe},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow};
use aya::Ebpf;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    attach::{Attacher, Hook},
    stale::{self, Leftover},
};
use crate::host::{
    link::{self, Change, LinkListener},
    netlink::interface_name,
    netns::NetnsHandle,
    privileges,
};

/// What the first look found.
pub(super) struct Start {
    /// Devices that could not be watched, and why.
    pub(super) problems: Vec<String>,
    /// Filters of earlier runs.
    pub(super) leftovers: Vec<Leftover>,
}

/// The thread; it detaches from everything when this is dropped.
pub(super) struct Follower {
    /// Its closing tells the thread to end.
    stop: Option<PipeWriter>,
    thread: Option<thread::JoinHandle<()>>,
    clsact: Arc<AtomicBool>,
}

impl Follower {
    /// Attaches to every device of the namespace, and follows what comes and goes.
    pub(super) fn start(
        ebpf: Ebpf,
        netns: NetnsHandle,
        only: Option<Hook>,
    ) -> Result<(Self, Start)> {
        let (stopped, stop) = pipe().context("making a pipe")?;
        let (first, result) = mpsc::channel();
        let clsact = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&clsact);
        let thread = thread::Builder::new()
            .name("nat-devices".into())
            .spawn(move || {
                let begun = netns.enter_for_good().and_then(|()| {
                    // Notices first: what comes during the look is heard after it.
                    let listener = LinkListener::open_here()?;
                    let leftovers = stale::clean_here()?;
                    let mut attacher = Attacher::new(ebpf, only);
                    let problems = look(&mut attacher)?;
                    shared.store(attacher.hook() == Hook::Clsact, Ordering::Relaxed);
                    let start = Start {
                        problems,
                        leftovers,
                    };
                    Ok((listener, attacher, start))
                });
                // What comes later is attached with less.
                privileges::give_up();
                let (listener, attacher) = match begun {
                    Ok((listener, attacher, start)) => {
                        let _nobody_waits = first.send(Ok(start));
                        (listener, attacher)
                    }
                    Err(error) => {
                        let _nobody_waits = first.send(Err(error));
                        return;
                    }
                };
                if let Err(error) = follow(listener, attacher, &stopped, &shared) {
                    log::error!("new devices are no longer watched for NAT: {error:#}");
                }
            })
            .context("starting a thread")?;
        let follower = Self {
            stop: Some(stop),
            thread: Some(thread),
            clsact,
        };
        let start = result
            .recv()
            .map_err(|_| anyhow!("the thread that watches devices ended"))??;
        Ok((follower, start))
    }

    /// The hook in use.
    pub(super) fn hook(&self) -> Hook {
        if self.clsact.load(Ordering::Relaxed) {
            Hook::Clsact
        } else {
            Hook::Tcx
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that watches devices panicked");
        }
    }
}

/// Makes what is watched what is there. Returns what could not be watched.
fn look(attacher: &mut Attacher) -> Result<Vec<String>> {
    let links = link::dump_here()?;
    let there: HashSet<u32> = links.iter().map(|link| link.ifindex).collect();
    for index in attacher.indexes() {
        if !there.contains(&index) {
            attacher.let_go(index);
        }
    }
    let mut problems = Vec::new();
    for link in &links {
        if !attacher.watches(link.ifindex)
            && let Err(error) = attacher.attach(link.ifindex)
        {
            problems.push(format!("{}: {error:#}", link.name));
        }
    }
    Ok(problems)
}

fn follow(
    mut listener: LinkListener,
    mut attacher: Attacher,
    stopped: &impl std::os::fd::AsFd,
    clsact: &AtomicBool,
) -> Result<()> {
    loop {
        let mut fds = [
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for link notices"),
        }
        if fds[0].any() == Some(true) {
            return Ok(());
        }
        let heard = Instant::now();
        for change in listener.read().context("reading link notices")? {
            take(&mut attacher, &change, heard)?;
        }
        clsact.store(attacher.hook() == Hook::Clsact, Ordering::Relaxed);
    }
}

fn take(attacher: &mut Attacher, change: &Change, heard: Instant) -> Result<()> {
    match change {
        Change::Link(link) if !attacher.watches(link.ifindex) => {
            match attacher.attach(link.ifindex) {
                Ok(()) => log::info!(
                    "watching {} for NAT, {:.2} ms after its notice",
                    interface_name(link.ifindex),
                    heard.elapsed().as_secs_f64() * 1e3
                ),
                // It may be gone, or in a container, before we get to it.
                Err(error) => log::info!("not watched for NAT: {}: {error:#}", link.name),
            }
        }
        Change::LinkGone(index) => attacher.let_go(*index),
        Change::Lost => {
            for problem in look(attacher)? {
                log::info!("not watched for NAT: {problem}");
            }
        }
        _ => {}
    }
    Ok(())
}
