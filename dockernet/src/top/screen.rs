//! The thread that draws and reads keys. It takes the state's lock to make a picture, never to write it: the pipeline does not
//! wait for the terminal.

use std::{
    io::{self, BufWriter, Stdout},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use ratatui::{Terminal, backend::CrosstermBackend};

use super::{
    draw::{self, Setting},
    keys::Parser,
    signals::{self, Asked, Signals},
    state::State,
    terminal::{self, Input},
    ui::{Ui, Wish},
};

/// Between two pictures while something changes.
const BUSY: Duration = Duration::from_millis(250);
/// And while nothing does: the clock goes on.
const IDLE: Duration = Duration::from_secs(1);
/// How long the rest of a key's sequence may take.
const SEQUENCE: Duration = Duration::from_millis(50);
/// How long the end waits for a picture that is being written.
const LAST: Duration = Duration::from_secs(2);

/// What the pipeline and the screen share.
pub(super) struct Shared {
    state: Mutex<State>,
    has_changed: AtomicBool,
    is_over: AtomicBool,
}

impl Shared {
    /// The state. A panic elsewhere leaves it whole: it is changed by single steps.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, to be changed.
    pub(super) fn change(&self) -> MutexGuard<'_, State> {
        self.has_changed.store(true, Ordering::Relaxed);
        self.state()
    }
}

/// The running thread.
pub(super) struct Screen {
    pub(super) shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
    wake: Arc<EventFd>,
}

impl Screen {
    /// Takes the terminal over and starts to draw.
    ///
    /// # Errors
    /// The terminal cannot be set up.
    pub(super) fn start(state: State, setting: Setting) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            has_changed: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
        });
        let wake = Arc::new(
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .context("opening an eventfd")?,
        );
        terminal::enter().inspect_err(|_| terminal::leave())?;
        let (with, woken) = (Arc::clone(&shared), Arc::clone(&wake));
        let thread = thread::Builder::new()
            .name("screen".into())
            .spawn(move || Loop::new(with, setting)?.run(&woken))
            .inspect_err(|_| terminal::leave())
            .context("starting a thread")?;
        Ok(Self {
            shared,
            thread: Some(thread),
            wake,
        })
    }

    /// Fails if the screen cannot go on.
    ///
    /// # Errors
    /// Writing to the terminal failed.
    pub(super) fn check(&mut self) -> Result<()> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return self.join();
        }
        Ok(())
    }

    /// Whether nobody draws any more.
    pub(super) fn is_dead(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it and gives the terminal back.
    ///
    /// # Errors
    /// As for [`Self::check`].
    pub(super) fn end(&mut self) -> Result<()> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = self.wake.write(1);
        let start = Instant::now();
        while self
            .thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
            && start.elapsed() < LAST
        {
            thread::sleep(Duration::from_millis(2));
        }
        terminal::leave();
        self.check()
    }

    fn join(&mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.context("the screen"),
            Some(Err(_)) => bail!("the screen ended by a panic; --drops shows the same as text"),
            None => Ok(()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whoever drops it without ending it has an error of its own to tell.
        let _ = self.end();
    }
}

struct Loop {
    shared: Arc<Shared>,
    setting: Setting,
    ui: Ui,
    /// What a pause shows.
    frozen: Option<State>,
    parser: Parser,
    input: Input,
    signals: Signals,
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    drawn: Instant,
    /// Something that the user did is not on the screen yet.
    is_due: bool,
}

impl Loop {
    fn new(shared: Arc<Shared>, setting: Setting) -> Result<Self> {
        let backend = CrosstermBackend::new(BufWriter::new(io::stdout()));
        Ok(Self {
            shared,
            setting,
            ui: Ui::default(),
            frozen: None,
            parser: Parser::default(),
            input: Input::open().context("opening the terminal")?,
            signals: Signals::new()?,
            terminal: Terminal::new(backend).context("asking the terminal for its size")?,
            drawn: Instant::now(),
            is_due: true,
        })
    }

    fn run(mut self, wake: &EventFd) -> Result<()> {
        while !self.shared.is_over.load(Ordering::SeqCst) {
            if self.is_time() {
                self.draw()?;
            }
            let wait = if self.parser.is_waiting() {
                SEQUENCE
            } else {
                // Not asleep for longer: what comes meanwhile wakes nobody.
                BUSY
            };
            let mut fds = [self.input.as_fd(), self.signals.as_fd(), wake.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(
                &mut fds,
                PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX),
            ) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("waiting for keys"),
            }
            let has_keys = fds[0].any() == Some(true);
            while let Some(asked) = self.signals.take()? {
                self.obey(asked)?;
            }
            if !self.keys(has_keys)? {
                signals::end();
                break;
            }
        }
        Ok(())
    }

    fn is_time(&self) -> bool {
        let since = self.drawn.elapsed();
        let moves = self.frozen.is_none();
        let has_changed = self.shared.has_changed.load(Ordering::Relaxed);
        self.is_due || moves && (since >= IDLE || has_changed && since >= BUSY)
    }

    fn draw(&mut self) -> Result<()> {
        self.is_due = false;
        self.drawn = Instant::now();
        self.shared.has_changed.store(false, Ordering::Relaxed);
        let Self {
            shared,
            setting,
            ui,
            frozen,
            terminal,
            ..
        } = self;
        let drawn = terminal::draw(|| {
            terminal.draw(|frame| match frozen {
                Some(state) => draw::screen(frame, state, ui, setting, true),
                None => draw::screen(frame, &shared.state(), ui, setting, false),
            })
        });
        match drawn {
            Some(Err(error)) => Err(error).context("writing to the terminal"),
            // Nobody but a panic's hook gives the terminal back meanwhile.
            None if !self.shared.is_over.load(Ordering::SeqCst) => {
                bail!("a part of it panicked; --drops shows the same as text")
            }
            _ => Ok(()),
        }
    }

    fn obey(&mut self, asked: Asked) -> Result<()> {
        match asked {
            Asked::End => signals::end(),
            Asked::Resized => self.is_due = true,
            Asked::Suspend => {
                terminal::leave();
                signals::stop()?;
                self.enter()?;
            }
            Asked::Resumed => {
                // Whoever had the terminal meanwhile may have left anything on it.
                terminal::leave();
                self.enter()?;
            }
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        terminal::enter()?;
        self.redraw()
    }

    fn redraw(&mut self) -> Result<()> {
        self.is_due = true;
        self.terminal.clear().context("writing to the terminal")
    }

    /// Reads keys and does what they ask for. Whether to go on.
    fn keys(&mut self, has_keys: bool) -> Result<bool> {
        let keys = if has_keys {
            let mut bytes = [0; 1024];
            match nix::unistd::read(self.input.as_fd(), &mut bytes) {
                // The terminal has gone.
                Ok(0) | Err(Errno::EIO) => return Ok(false),
                Ok(length) => self.parser.feed(&bytes[..length.min(bytes.len())]),
                Err(Errno::EINTR | Errno::EAGAIN) => Vec::new(),
                Err(error) => return Err(error).context("reading keys"),
            }
        } else if self.parser.is_waiting() {
            self.parser.flush()
        } else {
            Vec::new()
        };
        for key in keys {
            self.is_due = true;
            let wish = match &self.frozen {
                Some(state) => self.ui.press(key, state),
                None => self.ui.press(key, &self.shared.state()),
            };
            match wish {
                Wish::Draw => {}
                Wish::Redraw => self.redraw()?,
                Wish::Pause => {
                    self.frozen = match self.frozen.take() {
                        Some(_) => None,
                        None => Some(self.shared.state().clone()),
                    };
                }
                Wish::Quit => return Ok(false),
            }
        }
        Ok(true)
    }
}
