//! The service's side: one function for each question.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
};

use anyhow::Result;
use nix::{
    errno::Errno,
    sys::{
        signal::Signal,
        socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
    },
};
use serde::de::DeserializeOwned;

use super::{
    HELPER, Helper, PATIENCE, ended,
    request::{Answer, DATA, DESCRIPTOR, REFUSAL, Refusal, Request},
};
use crate::host::{attached::Attached, inside::Kind, netns::NetnsHandle};

/// Whether a helper answers at all.
pub(super) fn alive(helper: &Helper) -> io::Result<()> {
    match ask_of(helper, &Request::Alive, None)? {
        Answer::Data(_) => Ok(()),
        Answer::Descriptor(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Every process that may be looked at, with the inode number of its network namespace.
pub(crate) fn processes() -> io::Result<Vec<(i32, u32)>> {
    data(&Request::Processes, None)
}

/// Inode number of a process' network namespace.
pub(crate) fn netns_of(pid: i32) -> io::Result<u32> {
    data(&Request::NetnsOf { pid }, None)
}

/// Opens a namespace's file.
pub(crate) fn netns(path: &Path) -> io::Result<File> {
    let path = path.to_owned();
    descriptor(&Request::Netns { path }, None).map(File::from)
}

/// A socket in a namespace.
pub(crate) fn socket(netns: &NetnsHandle, kind: Kind) -> io::Result<OwnedFd> {
    descriptor(&Request::Socket { kind }, Some(netns))
}

/// A file of a namespace.
pub(crate) fn file(netns: &NetnsHandle, path: &str) -> io::Result<File> {
    let path = path.to_owned();
    descriptor(&Request::File { path }, Some(netns)).map(File::from)
}

/// A file as a process sees it.
pub(crate) fn in_root(pid: u32, file: &str) -> io::Result<String> {
    let file = file.to_owned();
    data(&Request::InRoot { pid, file }, None)
}

/// A file that an engine keeps of a container.
pub(crate) fn engine_file(path: &Path) -> io::Result<File> {
    let path = path.to_owned();
    descriptor(&Request::EngineFile { path }, None).map(File::from)
}

/// The folders of an engine's containers.
pub(crate) fn engine_folder(data_root: &Path) -> io::Result<Vec<PathBuf>> {
    let data_root = data_root.to_owned();
    data(&Request::EngineFolder { data_root }, None)
}

/// What a program that lists rules prints in a namespace.
pub(crate) fn output(
    netns: &NetnsHandle,
    program: &str,
    arguments: &[&str],
) -> Result<Option<String>, String> {
    let listing = Request::Listing {
        program: program.to_owned(),
        arguments: arguments.iter().map(ToString::to_string).collect(),
    };
    data(&listing, Some(netns)).unwrap_or_else(|error| Err(format!("running {program}: {error}")))
}

/// What is attached to a device.
pub(crate) fn on_device(netns: &NetnsHandle, device: &str) -> Result<Vec<Attached>> {
    let device = device.to_owned();
    Ok(data(&Request::OnDevice { device }, Some(netns))?)
}

/// What is attached to the cgroup of a process.
pub(crate) fn on_process(pid: u32) -> Result<Vec<Attached>> {
    Ok(data(&Request::OnProcess { pid }, None)?)
}

/// Whether a process holds a socket.
pub(crate) fn owns_socket(pid: u32, inode: u64) -> io::Result<bool> {
    data(&Request::OwnsSocket { pid, inode }, None)
}

/// The kernel's BPF statistics, on for as long as the descriptor is open.
pub(crate) fn statistics() -> io::Result<OwnedFd> {
    descriptor(&Request::Statistics, None)
}

fn descriptor(request: &Request, netns: Option<&NetnsHandle>) -> io::Result<OwnedFd> {
    match ask(request, netns)? {
        Answer::Descriptor(descriptor) => Ok(descriptor),
        Answer::Data(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn data<T: DeserializeOwned>(request: &Request, netns: Option<&NetnsHandle>) -> io::Result<T> {
    match ask(request, netns)? {
        Answer::Data(json) => Ok(serde_json::from_slice(&json)?),
        Answer::Descriptor(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn ask(request: &Request, netns: Option<&NetnsHandle>) -> io::Result<Answer> {
    let helper = HELPER.get().ok_or_else(ended)?;
    ask_of(helper, request, netns.map(NetnsHandle::as_fd))
}

fn send(
    questions: BorrowedFd<'_>,
    request: &Request,
    netns: Option<BorrowedFd<'_>>,
) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let question = serde_json::to_vec(request)?;
    let handed: Vec<RawFd> = std::iter::once(theirs.as_fd())
        .chain(netns)
        .map(|fd| fd.as_raw_fd())
        .collect();
    loop {
        let sent = sendmsg::<()>(
            questions.as_raw_fd(),
            &[IoSlice::new(&question)],
            &[ControlMessage::ScmRights(&handed)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => return Err(ended()),
            Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
    ours.set_read_timeout(Some(PATIENCE))?;
    Ok(ours)
}

pub(super) fn ask_of(
    helper: &Helper,
    request: &Request,
    netns: Option<BorrowedFd<'_>>,
) -> io::Result<Answer> {
    let answer = send(helper.questions.as_fd(), request, netns).and_then(|from| receive(&from));
    if let Err(error) = &answer
        && error.kind() == io::ErrorKind::TimedOut
        && let Some(pid) = helper.process()
    {
        // One that is stuck would blind a service for months; without it the service ends, and is started again.
        log::error!("the helper for namespaces is stuck: {request:?}");
        let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
    }
    answer
}

/// Reads an answer.
fn receive(from: &UnixStream) -> io::Result<Answer> {
    let mut kind = [0_u8];
    let mut room = nix::cmsg_space!(RawFd);
    let (length, handed) = loop {
        let mut parts = [IoSliceMut::new(&mut kind)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut room), flags) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
            Ok(message) => break (message.bytes, descriptors(&message)?.pop()),
        }
    };
    if length == 0 {
        return Err(io::Error::other("the helper for namespaces gave no answer"));
    }
    let rest = || -> io::Result<Vec<u8>> {
        let (mut from, mut rest) = (from, Vec::new());
        from.read_to_end(&mut rest)?;
        Ok(rest)
    };
    match (kind[0], handed) {
        (DESCRIPTOR, Some(descriptor)) => Ok(Answer::Descriptor(descriptor)),
        (DATA, None) => Ok(Answer::Data(rest()?)),
        (REFUSAL, None) => {
            let refusal: Refusal = serde_json::from_slice(&rest()?)?;
            Err(match refusal.errno {
                Some(errno) => io::Error::from_raw_os_error(errno),
                None => io::Error::other(refusal.why),
            })
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The descriptors that came with a message.
pub(super) fn descriptors<S>(
    message: &nix::sys::socket::RecvMsg<'_, '_, S>,
) -> io::Result<Vec<OwnedFd>> {
    let handed = message.cmsgs()?.filter_map(|message| match message {
        ControlMessageOwned::ScmRights(handed) => Some(handed),
        _ => None,
    });
    // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows them.
    let owned = |fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(handed.flatten().map(owned).collect())
}
