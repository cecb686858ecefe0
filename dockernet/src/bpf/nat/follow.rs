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
use nix::poll::{PollFd, PollFlags, poll};

use super::{
    attach::{Attacher, Hook},
    debt::Debt,
    stale::{self, Leftover},
};
use crate::{
    host::{
        inside,
        link::{self, Change, LinkListener},
        netlink::{interface_name, poll_timeout},
        netns::NetnsHandle,
        privileges,
    },
    model::Link,
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
                    let mut debt = Debt::default();
                    let start = Start {
                        problems: debt.untold(problems),
                        leftovers,
                    };
                    Ok((listener, attacher, debt, start))
                });
                // What comes later is attached with less.
                privileges::give_up();
                let (listener, attacher, debt) = match begun {
                    Ok((listener, attacher, debt, start)) => {
                        let _nobody_waits = first.send(Ok(start));
                        (listener, attacher, debt)
                    }
                    Err(error) => {
                        let _nobody_waits = first.send(Err(error));
                        return;
                    }
                };
                if let Err(error) = follow(listener, attacher, debt, &stopped, &shared) {
                    log::error!("devices are no longer watched for NAT: {error:#}");
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

/// A device that could not be watched: its index, and what was wrong.
pub(super) type Problem = (u32, String);

/// Makes what is watched what is there. Returns what could not be watched.
fn look(attacher: &mut Attacher) -> Result<Vec<Problem>> {
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
            && is_there(link)
        {
            problems.push((link.ifindex, format!("{}: {error:#}", link.name)));
        }
    }
    Ok(problems)
}

/// Whether the device has not gone, nor to another namespace, nor got another name, of which a notice tells.
fn is_there(link: &Link) -> bool {
    inside::device_name(link.ifindex).is_ok_and(|name| name == link.name)
}

/// Follows until it is told to stop. What fails is tried again; only where nothing can be waited for it ends.
fn follow(
    listener: LinkListener,
    mut attacher: Attacher,
    mut debt: Debt,
    stopped: &impl std::os::fd::AsFd,
    clsact: &AtomicBool,
) -> Result<()> {
    let mut listener = Some(listener);
    loop {
        let mut fds = vec![PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            listener
                .as_ref()
                .map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut fds, poll_timeout(debt.rest(Instant::now()))) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for link notices"),
        }
        let is_ready = |place: usize| fds.get(place).and_then(PollFd::any) == Some(true);
        let (is_stopped, has_notices) = (is_ready(0), is_ready(1));
        if is_stopped {
            return Ok(());
        }
        let heard = Instant::now();
        if has_notices && let Some(open) = &mut listener {
            match open.read() {
                Ok(changes) => {
                    for change in &changes {
                        take(&mut attacher, change, heard, &mut debt);
                    }
                }
                Err(error) => {
                    // With a new socket, and a look at what came before it.
                    listener = None;
                    debt.failed(&anyhow!(error).context("reading link notices"), heard);
                }
            }
        }
        if debt.rest(heard).is_some_and(|rest| rest.is_zero()) {
            match look_again(&mut listener, &mut attacher) {
                Ok(problems) => {
                    for problem in debt.paid(problems) {
                        log::warn!("not watched for NAT: {problem}");
                    }
                }
                Err(error) => debt.failed(&error, heard),
            }
        }
        clsact.store(attacher.hook() == Hook::Clsact, Ordering::Relaxed);
    }
}

fn look_again(
    listener: &mut Option<LinkListener>,
    attacher: &mut Attacher,
) -> Result<Vec<Problem>> {
    if listener.is_none() {
        *listener = Some(LinkListener::open_here()?);
    }
    look(attacher)
}

fn take(attacher: &mut Attacher, change: &Change, heard: Instant, debt: &mut Debt) {
    match change {
        Change::Link(link) if !attacher.watches(link.ifindex) => {
            match attacher.attach(link.ifindex) {
                Ok(()) => log::info!(
                    "watching {} for NAT, {:.2} ms after its notice",
                    interface_name(link.ifindex),
                    heard.elapsed().as_secs_f64() * 1e3
                ),
                // It may be gone, renamed or in a container before we get to it.
                Err(error) => {
                    log::info!("not watched for NAT: {}: {error:#}", link.name);
                    if is_there(link) {
                        debt.refused(link.ifindex, heard);
                    }
                }
            }
        }
        Change::LinkGone(index) => {
            attacher.let_go(*index);
            debt.gone(*index);
        }
        Change::Lost => debt.lost(heard),
        _ => {}
    }
}
