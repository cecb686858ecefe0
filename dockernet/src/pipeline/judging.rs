//! The thread that finds causes. To find one the host is asked, which takes some milliseconds, and seconds where it hangs;
//! whoever drains the rings does not wait for that.

use std::{
    collections::VecDeque,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::judge::{Judge, Opinion};
use crate::{evidence::Evidence, inventory::Inventory};

/// Drops that wait for an answer at most. With more of them the rest stays in the ring, which may fill: then the kernel half
/// only counts.
const CROWD: usize = 1024;
/// Between two answers so much time passes before the second is told of: a storm's come by the dozen. The last of those that
/// were asked together is told of at once.
const RING: Duration = Duration::from_millis(5);
/// How long the end waits for the thread to come to an end, too.
const GRACE: Duration = Duration::from_secs(1);

/// What is asked at once.
struct Batch {
    drops: Vec<Arc<Evidence>>,
    inventory: Arc<Inventory>,
}

/// Asks, and is answered in the order of the questions.
pub(super) struct Judging {
    questions: Option<Sender<Batch>>,
    answers: Receiver<Opinion>,
    bell: Arc<EventFd>,
    /// Nobody waits for answers any more.
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Those that are not answered yet, oldest first, each with when it was asked.
    open: VecDeque<(Instant, Arc<Evidence>)>,
    /// When the last answer came.
    answered: Option<Instant>,
}

impl Judging {
    /// Starts the thread; it ends with this. `judge` is called on it.
    ///
    /// # Errors
    /// There is no descriptor or no thread left.
    pub(super) fn start(judge: impl FnOnce() -> Judge + Send + 'static) -> Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map(Arc::new)
            .context("opening an eventfd")?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (questions, asked) = mpsc::channel();
        let (told, answers) = mpsc::channel();
        let desk = Desk {
            asked,
            told,
            bell: bell.clone(),
            is_over: is_over.clone(),
        };
        let thread = thread::Builder::new()
            .name("causes".into())
            .spawn(move || desk.run(judge()))
            .context("starting the thread that finds causes")?;
        Ok(Self {
            questions: Some(questions),
            answers,
            bell,
            is_over,
            thread: Some(thread),
            open: VecDeque::new(),
            answered: None,
        })
    }

    /// Asks about drops, in the order of time.
    ///
    /// # Errors
    /// The thread is gone.
    pub(super) fn ask(
        &mut self,
        drops: Vec<Arc<Evidence>>,
        inventory: &Arc<Inventory>,
    ) -> Result<()> {
        if drops.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        self.open
            .extend(drops.iter().map(|evidence| (now, evidence.clone())));
        let batch = Batch {
            drops,
            inventory: inventory.clone(),
        };
        let questions = self.questions.as_ref();
        let sent = questions.and_then(|questions| questions.send(batch).ok());
        sent.context(GONE)
    }

    /// What has been answered since, in the order of the questions.
    ///
    /// # Errors
    /// The thread is gone.
    pub(super) fn answered(&mut self) -> Result<Vec<Opinion>> {
        // It is only a bell: whether it rang does not matter.
        let _rang = self.bell.read();
        let mut answers = Vec::new();
        loop {
            match self.answers.try_recv() {
                Ok(answer) => answers.push(answer),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => bail!(GONE),
            }
        }
        self.open.drain(..answers.len().min(self.open.len()));
        if !answers.is_empty() {
            self.answered = Some(Instant::now());
        }
        if self.open.is_empty() {
            // A crowd's room is given back.
            self.open = VecDeque::new();
        }
        Ok(answers)
    }

    /// Readable when there are answers.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// How many more may be asked about now.
    pub(super) fn room(&self) -> usize {
        CROWD.saturating_sub(self.open.len())
    }

    /// How long the thread has been at one drop, if it is at any.
    pub(super) fn at_work(&self) -> Option<Duration> {
        let (asked, _) = self.open.front()?;
        let since = self
            .answered
            .map_or(*asked, |answered| answered.max(*asked));
        Some(since.elapsed())
    }

    /// Those that are not answered, oldest question first, each with when it was asked.
    pub(super) fn open(&self) -> impl Iterator<Item = (Instant, &Evidence)> {
        let open = self.open.iter();
        open.map(|(since, evidence)| (*since, evidence.as_ref()))
    }

    /// Asks no more, and waits for no answer: those that are not answered.
    pub(super) fn give_up(&mut self) -> Vec<Arc<Evidence>> {
        self.questions = None;
        self.is_over.store(true, Ordering::Relaxed);
        self.open.drain(..).map(|(_, evidence)| evidence).collect()
    }
}

impl Drop for Judging {
    /// What the thread has written into the firewall (`--trace-rules`) is removed before the process ends, unless it hangs.
    fn drop(&mut self) {
        let _unanswered = self.give_up();
        let Some(thread) = self.thread.take() else {
            return;
        };
        let end = Instant::now() + GRACE;
        while !thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        // One that hangs ends with the process.
        if thread.is_finished() && thread.join().is_err() {
            log::error!("{GONE}");
        }
    }
}

const GONE: &str = "the thread that finds causes has ended; this is a bug";

/// The thread's end of it.
struct Desk {
    asked: Receiver<Batch>,
    told: Sender<Opinion>,
    bell: Arc<EventFd>,
    is_over: Arc<AtomicBool>,
}

impl Desk {
    fn run(&self, mut judge: Judge) {
        loop {
            let batch = match judge.tick(Instant::now()) {
                Some(wait) => self.asked.recv_timeout(wait),
                // Nothing is remembered: it sleeps until there is a drop, for months if need be.
                None => self.asked.recv().map_err(RecvTimeoutError::from),
            };
            match batch {
                Ok(batch) => {
                    if !self.answer(&mut judge, batch) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Answers all of them. False: nobody listens any more.
    fn answer(&self, judge: &mut Judge, batch: Batch) -> bool {
        let mut rung = Instant::now();
        for evidence in batch.drops {
            if self.is_over.load(Ordering::Relaxed) {
                return false;
            }
            if self
                .told
                .send(judge.judge(evidence, &batch.inventory))
                .is_err()
            {
                return false;
            }
            if rung.elapsed() >= RING {
                rung = Instant::now();
                self.ring();
            }
        }
        self.ring();
        true
    }

    fn ring(&self) {
        // It fails only when it has rung 2^64 times unheard.
        let _rung = self.bell.write(1);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::report::samples;

    #[test]
    fn a_thread_that_hangs_is_known_by_how_long_it_is_at_one_drop() {
        let mut judging = Judging::start(|| {
            loop {
                thread::park();
            }
        })
        .unwrap();
        assert_eq!(judging.at_work(), None);
        let evidence = Evidence::recorded(&samples::incident(), crate::cause::tests::record());
        judging
            .ask(vec![Arc::new(evidence)], &Arc::default())
            .unwrap();
        thread::sleep(Duration::from_millis(20));
        assert!(judging.at_work().unwrap() >= Duration::from_millis(20));
        // It is at the next one since its last answer.
        judging.answered = Some(Instant::now() + Duration::from_secs(60));
        assert_eq!(judging.at_work(), Some(Duration::ZERO));
        let _unanswered = judging.give_up();
        assert_eq!(judging.at_work(), None);
    }
}
