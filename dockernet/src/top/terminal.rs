//! The terminal, as it was and as the screen needs it. Whatever ends the process, it is given back as it was.

use std::{
    cell::Cell,
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use ratatui::crossterm::{
    cursor::{Hide, Show},
    execute,
    style::ResetColor,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen},
};

/// The screen is ours.
static ENTERED: AtomicBool = AtomicBool::new(false);
/// Something is being written to it.
static DRAWING: AtomicBool = AtomicBool::new(false);
/// How it was before.
static BEFORE: Mutex<Option<(Input, Termios)>> = Mutex::new(None);
/// The panic hook is set once.
static HOOK: Once = Once::new();

thread_local! {
    /// Whether this thread is the one that draws.
    static DRAWS: Cell<bool> = const { Cell::new(false) };
}

/// Where keys come from: standard input, or the controlling terminal where that is something else.
pub(super) enum Input {
    Standard(io::Stdin),
    Controlling(File),
}

impl Input {
    /// # Errors
    /// There is no terminal to read from.
    pub(super) fn open() -> io::Result<Self> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            Ok(Self::Standard(stdin))
        } else {
            File::open("/dev/tty").map(Self::Controlling)
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Standard(stdin) => stdin.as_fd(),
            Self::Controlling(file) => file.as_fd(),
        }
    }
}

/// Takes the terminal over.
///
/// # Errors
/// It cannot be set up.
pub(super) fn enter() -> Result<()> {
    HOOK.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            told(panic);
        }));
    });
    let input = Input::open().context("opening the terminal")?;
    let before = termios::tcgetattr(input.as_fd()).context("reading the terminal's settings")?;
    let mut raw = before.clone();
    termios::cfmakeraw(&mut raw);
    // Ctrl-C, Ctrl-Z and Ctrl-\ stay signals: they work while the screen is stuck, too.
    raw.local_flags.insert(LocalFlags::ISIG);
    termios::tcsetattr(input.as_fd(), SetArg::TCSANOW, &raw)
        .context("changing the terminal's settings")?;
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((input, before));
    ENTERED.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen, Hide).context("writing to the terminal")
}

/// Gives it back as it was; nothing, if that was done. Errors have nobody to be told to.
pub(super) fn leave() {
    if !ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    // Another thread may be in the middle of drawing; if the terminal takes nothing any more, not for ever.
    for _ in 0..100 {
        if DRAWS.get() || !DRAWING.load(Ordering::SeqCst) {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = execute!(io::stdout(), ResetColor, LeaveAlternateScreen, Show);
    let _ = io::stdout().flush();
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((input, before)) = before {
        let _ = termios::tcsetattr(input.as_fd(), SetArg::TCSANOW, &before);
    }
}

/// Writes to the screen, unless it was given back; whether it was written.
pub(super) fn draw<T>(write: impl FnOnce() -> T) -> Option<T> {
    DRAWS.set(true);
    DRAWING.store(true, Ordering::SeqCst);
    let written = ENTERED.load(Ordering::SeqCst).then(write);
    DRAWING.store(false, Ordering::SeqCst);
    written
}
