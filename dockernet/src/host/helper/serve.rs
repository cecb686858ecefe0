//! The helper's side: checks each question, and answers it on a thread of its own, which enters the namespace if it is about one.

use std::{
    fs::{self, File},
    io::{self, IoSlice, IoSliceMut, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, Signal},
        socket::{ControlMessage, MsgFlags, recvmsg, sendmsg},
    },
};
use serde::Serialize;

use super::{
    PATIENCE,
    client::descriptors,
    request::{
        Answer, DATA, DESCRIPTOR, ENGINE_FILES, IN_ROOT, LISTINGS, MOST, REFUSAL, Refusal, Request,
    },
};
use crate::host::{
    attached, firewall, inside,
    netns::{NetnsHandle, scan},
    privileges, regular, rooted,
};
use crate::memory;

/// Answers on standard input until the service closes its end.
///
/// # Errors
/// Standard input is not the service's socket.
pub fn serve() -> Result<()> {
    // The service's ending ends it: its last questions are asked after Ctrl-C.
    let signals = [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ];
    SigSet::from_iter(signals)
        .thread_block()
        .context("blocking signals")?;
    // Else it were called "exe".
    prctl::set_name(c"dockernet-names").context("naming the process")?;
    privileges::reduce(privileges::Process::Helper)?;
    let questions = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("taking over standard input")?;
    answer_all(&questions).context("reading a question; this is no command for people")
}

/// Answers until the other end is closed.
pub(super) fn answer_all(questions: &OwnedFd) -> io::Result<()> {
    let mut text = vec![0; MOST];
    let mut room = nix::cmsg_space!([RawFd; 2]);
    loop {
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let (length, handed) =
            match recvmsg::<()>(questions.as_raw_fd(), &mut parts, Some(&mut room), flags) {
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
                // More descriptors than a question has, or no room for them: nobody to answer to.
                Ok(message) => (message.bytes, descriptors(&message).unwrap_or_default()),
            };
        let mut handed = handed.into_iter();
        let to = match handed.next().map(answered_to) {
            Some(Ok(to)) => to,
            // The end.
            None if length == 0 => return Ok(()),
            None | Some(Err(_)) => continue,
        };
        let request = serde_json::from_slice(text.get(..length).unwrap_or_default());
        let netns = handed.next();
        let running = Running::begin();
        if running.count > MOST_AT_ONCE {
            // The service has few threads: so many answers hang, and it had better know.
            return Err(io::Error::other("too many questions at once"));
        }
        thread::Builder::new()
            .name("question".into())
            .spawn(move || {
                let _running = running;
                let answer = request
                    .map_err(|error| refuse(&format!("no question: {error}")))
                    .and_then(|request| answer(request, netns));
                if let Err(error) = reply(to, answer) {
                    log::debug!("an answer did not get through: {error}");
                }
            })?;
    }
}

/// Questions that are being answered at most.
const MOST_AT_ONCE: usize = 32;

/// One that is being answered.
struct Running {
    count: usize,
}

static RUNNING: AtomicUsize = AtomicUsize::new(0);

impl Running {
    fn begin() -> Self {
        Self {
            count: RUNNING.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where an answer goes to: a stream of this kind and nothing else, which takes it within a time.
fn answered_to(to: OwnedFd) -> io::Result<UnixStream> {
    use nix::sys::socket::{AddressFamily, SockType, SockaddrLike as _, getsockname, getsockopt};
    let kind = getsockopt(&to, nix::sys::socket::sockopt::SockType)?;
    let address: nix::sys::socket::SockaddrStorage = getsockname(to.as_raw_fd())?;
    if kind != SockType::Stream || address.family() != Some(AddressFamily::Unix) {
        return Err(refuse("answers go to Unix streams"));
    }
    let to = UnixStream::from(to);
    to.set_write_timeout(Some(PATIENCE))?;
    Ok(to)
}

fn reply(mut to: UnixStream, answer: io::Result<Answer>) -> io::Result<()> {
    match answer {
        Ok(Answer::Descriptor(descriptor)) => {
            let handed = [descriptor.as_raw_fd()];
            sendmsg::<()>(
                to.as_raw_fd(),
                &[IoSlice::new(&[DESCRIPTOR])],
                &[ControlMessage::ScmRights(&handed)],
                MsgFlags::MSG_NOSIGNAL,
                None,
            )?;
            Ok(())
        }
        Ok(Answer::Data(json)) => {
            to.write_all(&[DATA])?;
            to.write_all(&json)
        }
        Err(error) => {
            let refusal = Refusal {
                errno: error.raw_os_error(),
                why: error.to_string(),
            };
            to.write_all(&[REFUSAL])?;
            to.write_all(&serde_json::to_vec(&refusal)?)
        }
    }
}

fn answer(request: Request, netns: Option<OwnedFd>) -> io::Result<Answer> {
    // The namespace of this thread, which ends with its answer.
    let enter = |netns: Option<OwnedFd>| -> io::Result<NetnsHandle> {
        let netns = netns.ok_or_else(|| refuse("no namespace came with the question"))?;
        let netns = NetnsHandle::of(File::from(netns))?;
        netns.enter_for_good().map_err(plain)?;
        Ok(netns)
    };
    match request {
        Request::Alive => data(&true),
        Request::Processes => data(&scan::processes_here()),
        Request::NetnsOf { pid } => data(&scan::inum_here(pid)?),
        Request::Netns { path } => {
            let file = NetnsHandle::open_here(&path)?;
            Ok(Answer::Descriptor(file.into()))
        }
        Request::Socket { kind } => {
            enter(netns)?;
            inside::socket_here(kind).map(Answer::Descriptor)
        }
        Request::File { path } => {
            let path = of_network(&path)?;
            enter(netns)?;
            Ok(Answer::Descriptor(File::open(path)?.into()))
        }
        Request::InRoot { pid, file } => {
            if !IN_ROOT.contains(&file.as_str()) {
                return Err(refuse(&format!("{file} is none of {IN_ROOT:?}")));
            }
            data(&rooted::read_here(pid, &file)?)
        }
        Request::EngineFile { path } => {
            of_engine(&path)?;
            Ok(Answer::Descriptor(
                regular::file(Path::new(&path), false)?.into(),
            ))
        }
        Request::EngineFolder { data_root } => data(&folders(&data_root)?),
        Request::Listing { program, arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            if !LISTINGS.contains(&(program.as_str(), arguments.as_slice())) {
                return Err(refuse(&format!("{program} {arguments:?} is not to be run")));
            }
            enter(netns)?;
            let answer = data(&firewall::run::output_here(&program, &arguments));
            // Listings may be megabytes.
            memory::free_unused();
            answer
        }
        Request::OnDevice { device } => {
            enter(netns)?;
            data(&attached::at_device_here(&device).map_err(plain)?)
        }
        Request::OnProcess { pid } => data(&attached::on_process_here(pid).map_err(plain)?),
        Request::OwnsSocket { pid, inode } => data(&scan::owns_socket_here(pid, inode)),
        Request::Statistics => aya::sys::enable_stats(aya::sys::Stats::RunTime)
            .map(Answer::Descriptor)
            .map_err(|error| refuse(&error.to_string())),
    }
}

fn data<T: Serialize>(value: &T) -> io::Result<Answer> {
    Ok(Answer::Data(serde_json::to_vec(value)?))
}

fn refuse(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// With the system's number, if one is at the root of it: the service compares numbers.
fn plain(error: anyhow::Error) -> io::Error {
    let errno = error.chain().find_map(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.and_then(io::Error::raw_os_error)
            .or_else(|| cause.downcast_ref::<Errno>().map(|errno| *errno as i32))
    });
    match errno {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => refuse(&format!("{error:#}")),
    }
}

/// A path that leads to nothing but a network namespace's files and settings: no links are below these.
fn of_network(path: &str) -> io::Result<&Path> {
    let below = ["/proc/thread-self/net/", "/proc/sys/net/"]
        .iter()
        .find_map(|start| path.strip_prefix(start));
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    match below {
        Some(rest) if rest.split('/').all(is_plain) => Ok(Path::new(path)),
        _ => Err(refuse(&format!("{path} is no file of a network namespace"))),
    }
}

/// `…/containers/ID/config.v2.json`: what an engine keeps of a container, and nothing else.
fn of_engine(path: &Path) -> io::Result<()> {
    let parts: Vec<Component<'_>> = path.components().collect();
    let name = |from_end: usize| -> Option<&str> {
        match parts.get(parts.len().checked_sub(from_end)?)? {
            Component::Normal(name) => name.to_str(),
            _ => None,
        }
    };
    let is_plain = path.is_absolute() && !parts.contains(&Component::ParentDir);
    let fits = name(1).is_some_and(|name| ENGINE_FILES.contains(&name))
        && name(2).is_some_and(is_id)
        && name(3) == Some("containers");
    if is_plain && fits {
        Ok(())
    } else {
        Err(refuse(&format!("{} is no engine's file", path.display())))
    }
}

/// 64 hexadecimal digits.
fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn folders(data_root: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(data_root.join("containers"))?;
    Ok(entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(is_id))
        .map(|entry| entry.path())
        .collect())
}
