//! Keeps the inventory live.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};

use super::{
    EngineStatus, Snapshot,
    engine::{self, Update},
    observe::{Extent, Observation, observe},
    state::{Need, State},
};
use crate::host::{
    docker::{Client, DockerHost, EngineApi},
    link::{LinkWatch, Notice},
    netns::NetnsHandle,
};

/// What to watch.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace taken as the host.
    pub host_netns: NetnsHandle,
    /// `-H`; else `DOCKER_HOST`, else the usual sockets.
    pub docker_host: Option<String>,
}

/// The task that keeps the inventory live; it ends when this is dropped.
#[derive(Debug)]
pub struct InventoryService {
    receiver: watch::Receiver<Snapshot>,
    rescan: Arc<Notify>,
    docker_host: DockerHost,
    tasks: [JoinHandle<()>; 2],
}

/// News of the engine that may wait to be taken in; then the engine's task waits.
const NEWS: usize = 256;

impl InventoryService {
    /// Looks at the machine and returns with a first inventory in hand; the engine's answers come later.
    ///
    /// Fails only if the host's namespace cannot be entered or read. Needs a tokio runtime.
    pub async fn start(options: Options) -> Result<Self> {
        let docker_host = DockerHost::resolve(options.docker_host.as_deref());
        let client = Client::new(docker_host.clone());
        Self::start_with(options.host_netns, docker_host, client).await
    }

    async fn start_with<A: EngineApi>(
        host: NetnsHandle,
        docker_host: DockerHost,
        api: A,
    ) -> Result<Self> {
        // Notices from before the first look are in it, or come after it: none is missed.
        let watch = LinkWatch::open(&host)?;
        let mut state = State::new(host.key()?, host.inum());
        let known = state.known();
        let handle = host.clone();
        let first = tokio::task::spawn_blocking(move || {
            observe(&handle, &known, &Extent::All { files: true })
        });
        state.observed(first.await.context("looking at this machine")??);
        let (news, updates) = mpsc::channel(NEWS);
        let follow = if docker_host.url.starts_with("ssh://") {
            state.update(Update::Status(EngineStatus::Remote {
                why: format!(
                    "the engine is on another machine ({}): its names are not used; run this there",
                    docker_host.url
                ),
            }));
            tokio::spawn(async move {
                // The channel stays open while nobody speaks.
                news.closed().await;
            })
        } else {
            tokio::spawn(engine::follow(api, news))
        };
        let (sender, receiver) = watch::channel(Arc::new(state.snapshot()));
        let rescan = Arc::new(Notify::new());
        let keeper = Keeper::new(host, state, sender, updates, Arc::clone(&rescan));
        Ok(Self {
            receiver,
            rescan,
            docker_host,
            tasks: [tokio::spawn(keeper.run(watch)), follow],
        })
    }

    /// The inventory, now and after every change.
    #[must_use]
    pub fn receiver(&self) -> watch::Receiver<Snapshot> {
        self.receiver.clone()
    }

    /// The inventory as it is now.
    #[must_use]
    pub fn current(&self) -> Snapshot {
        self.receiver.borrow().clone()
    }

    /// Asks for a look at all processes, e.g. after an unknown namespace was seen. Cheap: many calls make one look.
    pub fn request_rescan(&self) {
        self.rescan.notify_one();
    }

    /// A handle to ask for rescans from elsewhere, with `notify_one`.
    #[must_use]
    pub fn rescan_handle(&self) -> Arc<Notify> {
        Arc::clone(&self.rescan)
    }

    /// The engine, as far as known.
    #[must_use]
    pub fn engine_status(&self) -> EngineStatus {
        self.receiver.borrow().engine_status().clone()
    }

    /// The engine, after waiting a little for a first answer if there is none yet.
    pub async fn engine_within(&self, limit: Duration) -> EngineStatus {
        let mut receiver = self.receiver();
        let answered = receiver
            .wait_for(|inventory| !matches!(inventory.engine_status(), EngineStatus::Unknown));
        let _ = tokio::time::timeout(limit, answered).await;
        self.engine_status()
    }

    /// Where the engine is asked.
    #[must_use]
    pub fn docker_host(&self) -> &DockerHost {
        &self.docker_host
    }
}

impl Drop for InventoryService {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Changes that come together make one snapshot.
const GATHER: Duration = Duration::from_millis(2);
/// From a wish for a look to the look.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// Between two looks, while they find something.
const SHORTEST_GAP: Duration = Duration::from_millis(10);
/// Between two looks that find nothing.
const LONGEST_GAP: Duration = Duration::from_millis(250);
/// Between two looks at everything, for a namespace that a look at what is new did not find.
const THOROUGH_GAP: Duration = Duration::from_secs(1);
/// From a look that failed to the next; twice as long each time that this fails too.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Notices that are kept while a look goes on; then everything is looked at once more instead.
const MOST_REPLAYED: usize = 4096;
/// Between two rounds of forgetting.
const SWEEP: Duration = Duration::from_secs(10);

struct Keeper {
    host: NetnsHandle,
    state: State,
    sender: watch::Sender<Snapshot>,
    updates: mpsc::Receiver<Update>,
    rescan: Arc<Notify>,
    /// Processes whose namespaces are to be looked at.
    pids: Vec<i32>,
    /// The look that is wanted.
    wanted: Need,
    due: Option<Instant>,
    last: Instant,
    gap: Duration,
    /// Whether somebody outside asked for the look.
    asked: bool,
    /// What the look that goes on was wanted for.
    looking_for: Need,
    /// Until the next look, should this one fail.
    pause: Duration,
    /// The last look failed.
    is_failing: bool,
    /// Notices that came during a look: it may have read what was before them.
    replay: Vec<Notice>,
}

type Look = JoinHandle<Result<Observation>>;

impl Keeper {
    fn new(
        host: NetnsHandle,
        state: State,
        sender: watch::Sender<Snapshot>,
        updates: mpsc::Receiver<Update>,
        rescan: Arc<Notify>,
    ) -> Self {
        Self {
            host,
            state,
            sender,
            updates,
            rescan,
            pids: Vec::new(),
            wanted: Need::Nothing,
            due: None,
            last: Instant::now(),
            gap: SHORTEST_GAP,
            asked: false,
            looking_for: Need::Nothing,
            pause: FIRST_PAUSE,
            is_failing: false,
            replay: Vec::new(),
        }
    }

    async fn run(mut self, watch: LinkWatch) {
        let mut watch = Some(watch);
        let mut look: Option<Look> = None;
        let mut publish: Option<Instant> = None;
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            if look.is_none() {
                look = self.next_look();
            }
            if publish.is_none() && self.state.changed() {
                publish = Some(Instant::now() + GATHER);
            }
            let looking = look.is_some();
            tokio::select! {
                () = until(publish) => {
                    publish = None;
                    self.sender.send_replace(Arc::new(self.state.snapshot()));
                }
                notices = next(&mut watch) => match notices {
                    Ok(notices) => self.notices(notices, looking),
                    Err(error) => {
                        log::warn!("link changes are no longer heard: {error:#}");
                        watch = None;
                    }
                },
                Some(update) = self.updates.recv() => {
                    let pids = self.state.update(update);
                    self.pids.extend(pids);
                    // Many come at once after a list.
                    while let Ok(update) = self.updates.try_recv() {
                        let pids = self.state.update(update);
                        self.pids.extend(pids);
                    }
                }
                observation = finished(&mut look) => {
                    look = None;
                    self.looked(observation);
                }
                () = self.rescan.notified() => {
                    self.asked = true;
                    self.want(Need::New);
                }
                () = until(self.due), if !looking => {}
                _ = sweep.tick() => {
                    if self.state.sweep(Instant::now()) {
                        self.want(Need::New);
                    }
                    // Without notices only looking helps.
                    if watch.is_none() {
                        self.want(Need::All);
                    }
                }
                () = self.sender.closed() => return,
            }
        }
    }

    fn notices(&mut self, notices: Vec<Notice>, looking: bool) {
        let need = notices
            .iter()
            .map(|notice| self.state.noticed(notice))
            .max()
            .unwrap_or(Need::Nothing);
        self.want(need);
        if looking {
            if self.replay.len() + notices.len() > MOST_REPLAYED {
                self.replay.clear();
                self.want(Need::All);
            }
            self.replay.extend(notices);
        }
    }

    fn want(&mut self, need: Need) {
        if need == Need::Nothing {
            return;
        }
        self.wanted = self.wanted.max(need);
        if self.due.is_none() {
            let soonest = Instant::now() + DEBOUNCE;
            self.due = Some(soonest.max(self.last + self.gap));
        }
    }

    /// Starts the look that is due.
    fn next_look(&mut self) -> Option<Look> {
        let due = self.due.is_some_and(|due| due <= Instant::now());
        let extent = if !self.pids.is_empty() {
            // A look for what is new finds their namespaces, too.
            self.looking_for = Need::New;
            Extent::Processes(std::mem::take(&mut self.pids))
        } else if due {
            self.due = None;
            self.looking_for = std::mem::replace(&mut self.wanted, Need::Nothing);
            match self.looking_for {
                Need::All => Extent::All {
                    files: !matches!(self.state.status(), EngineStatus::Up { .. }),
                },
                Need::New | Need::Nothing => Extent::New,
            }
        } else {
            return None;
        };
        let host = self.host.clone();
        let known = self.state.known();
        Some(tokio::task::spawn_blocking(move || {
            observe(&host, &known, &extent)
        }))
    }

    fn looked(&mut self, observation: Result<Observation>) {
        let was_failing = std::mem::replace(&mut self.is_failing, observation.is_err());
        let observation = match observation {
            Ok(observation) => observation,
            Err(error) => {
                // It is tried again and again.
                if !was_failing {
                    log::warn!("looking at this machine's namespaces failed: {error:#}");
                }
                self.replay.clear();
                self.wanted = self.wanted.max(self.looking_for);
                self.due = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                return;
            }
        };
        self.pause = FIRST_PAUSE;
        if observation.complete {
            self.last = Instant::now();
            let found = self.state.is_news(&observation);
            if found {
                self.gap = SHORTEST_GAP;
            } else {
                self.gap = (self.gap * 2).min(LONGEST_GAP);
                if self.asked {
                    // Its number may be one that is known, used again by another namespace.
                    self.wanted = self.wanted.max(Need::All);
                    self.due = Some(self.last + THOROUGH_GAP);
                }
            }
            self.asked = false;
        }
        self.state.observed(observation);
        for notice in std::mem::take(&mut self.replay) {
            let need = self.state.noticed(&notice);
            self.want(need);
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

async fn next(watch: &mut Option<LinkWatch>) -> Result<Vec<Notice>> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

async fn finished(look: &mut Option<Look>) -> Result<Observation> {
    match look {
        Some(look) => look.await.context("the look was stopped")?,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
