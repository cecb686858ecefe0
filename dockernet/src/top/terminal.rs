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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::{
        io::Read as _,
        os::fd::OwnedFd,
        process::{Command, Stdio},
    };

    use nix::pty::openpty;

    use super::*;

    /// Set in the process that is to panic, to the thread that does.
    const PANICS: &str = "DOCKERNET_TEST_PANICS_IN";

    /// A process of its own in a terminal of its own takes the screen and panics.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        if let Some(thread) = std::env::var_os(PANICS) {
            enter().unwrap();
            draw(|| print!("the screen")).unwrap();
            if thread == "another" {
                thread::spawn(|| panic!("as asked")).join().unwrap_err();
            }
            panic!("as asked");
        }
        for thread in ["this", "another"] {
            let pty = openpty(None, None).unwrap();
            let before = termios::tcgetattr(&pty.slave).unwrap();
            let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", "--test-threads=1"])
                .arg("top::terminal::tests::a_panic_gives_the_terminal_back")
                .env(PANICS, thread)
                .env("RUST_BACKTRACE", "0")
                .stdin(end(&pty.slave))
                .stdout(end(&pty.slave))
                .stderr(end(&pty.slave))
                .spawn()
                .unwrap();
            assert!(!child.wait().unwrap().success());
            let after = termios::tcgetattr(&pty.slave).unwrap();
            assert_eq!(after, before, "{thread}");
            // The last one to hold the terminal's other end: reading ends.
            drop(pty.slave);
            let mut bytes = Vec::new();
            let ended = File::from(pty.master).read_to_end(&mut bytes);
            assert_eq!(ended.unwrap_err().raw_os_error(), Some(libc::EIO));
            let text = String::from_utf8_lossy(&bytes);
            let at = |what: &str| {
                text.find(what)
                    .unwrap_or_else(|| panic!("no {what:?}: {text:?}"))
            };
            // Taken, drawn on, given back, the cursor shown: and only then is it told, where it stays to be read.
            let order = [
                "\x1b[?1049h",
                "the screen",
                "\x1b[?1049l",
                "\x1b[?25h",
                "as asked",
            ];
            assert!(order.map(at).is_sorted(), "{text:?}");
            assert_eq!(text.matches("\x1b[?1049l").count(), 1, "{text:?}");
        }
    }
}
