//! The NAT program on devices. Everything here happens on a thread that is inside the devices' namespace.

use std::{collections::HashMap, io};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        tc::{NlOptions, SchedClassifierLinkId, TcAttachOptions, TcHandle},
    },
};
use dockernet_common::names;

use super::stale;
use crate::{
    bpf::tc,
    host::{inside, netlink::interface_name},
};

/// How the program hangs on devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// tcx, 6.6+: links that go with the process.
    Tcx,
    /// A filter of a clsact qdisc.
    Clsact,
}

/// The program, and where it is attached.
pub(super) struct Attacher {
    ebpf: Ebpf,
    /// By interface index.
    watched: HashMap<u32, Watched>,
    hook: Hook,
    /// Whether the other hook may be tried.
    fixed: bool,
}

struct Watched {
    name: String,
    link: SchedClassifierLinkId,
    /// The clsact qdisc is our own.
    made_qdisc: bool,
}

impl Attacher {
    /// `only`: one hook alone.
    pub(super) fn new(ebpf: Ebpf, only: Option<Hook>) -> Self {
        Self {
            ebpf,
            watched: HashMap::new(),
            hook: only.unwrap_or(Hook::Tcx),
            fixed: only.is_some(),
        }
    }

    /// The hook in use.
    pub(super) fn hook(&self) -> Hook {
        self.hook
    }

    pub(super) fn watches(&self, index: u32) -> bool {
        self.watched.contains_key(&index)
    }

    /// Indexes of the devices that it is attached to.
    pub(super) fn indexes(&self) -> Vec<u32> {
        self.watched.keys().copied().collect()
    }

    /// Attaches to a device that is not watched yet.
    pub(super) fn attach(&mut self, index: u32) -> Result<()> {
        if self.hook == Hook::Tcx {
            match self.tcx(index) {
                Ok(()) => return Ok(()),
                Err(error) if self.fixed || !is_unsupported(&error) => return Err(error),
                Err(error) => {
                    log::info!(
                        "no tcx on {}: {error:#}; clsact from here on",
                        interface_name(index)
                    );
                    self.hook = Hook::Clsact;
                }
            }
        }
        self.clsact(index)
    }

    fn tcx(&mut self, index: u32) -> Result<()> {
        // Before other programs: one of theirs may end the chain, ours never does.
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        self.link(index, options, false)
    }

    fn clsact(&mut self, index: u32) -> Result<()> {
        let made = tc::add_clsact(index).context("adding a clsact qdisc")?;
        let handle = if made {
            stale::ON_OUR_QDISC
        } else {
            stale::ON_THEIR_QDISC
        };
        let options = TcAttachOptions::Netlink(NlOptions {
            handle: TcHandle::new(0, handle),
            ..NlOptions::default()
        });
        let attached = self.link(index, options, made);
        if made && attached.is_err() {
            let _gone_with_its_device = stale::remove_empty_qdisc(index);
        }
        attached
    }

    fn link(&mut self, index: u32, options: TcAttachOptions, made_qdisc: bool) -> Result<()> {
        // Names can move to another device at any time: the index is asked for before and after.
        let name = inside::device_name(index).context("it is gone")?;
        let link = program(&mut self.ebpf)?
            .attach_with_options(&name, TcAttachType::Egress, options)
            .context("attaching to its egress")?;
        if inside::device_index(&name).ok() != Some(index) {
            program(&mut self.ebpf)?.detach(link)?;
            return Err(anyhow!("it was renamed meanwhile"));
        }
        self.watched.insert(
            index,
            Watched {
                name,
                link,
                made_qdisc,
            },
        );
        Ok(())
    }

    /// Lets go of a device. One that is gone took its clsact filter with it; one that moved to another namespace its tcx link.
    pub(super) fn let_go(&mut self, index: u32) {
        let Some(watched) = self.watched.remove(&index) else {
            return;
        };
        let detached =
            program(&mut self.ebpf).and_then(|program| Ok(program.detach(watched.link)?));
        if let Err(error) = detached {
            log::debug!("detaching from {}: {error:#}", watched.name);
        }
        if watched.made_qdisc
            && let Err(error) = stale::remove_empty_qdisc(index)
        {
            log::debug!("removing the clsact qdisc of {}: {error:#}", watched.name);
        }
    }
}

impl Drop for Attacher {
    fn drop(&mut self) {
        for index in self.indexes() {
            self.let_go(index);
        }
    }
}

/// What a kernel without tcx says (before 6.6: an attach type that it does not know).
fn is_unsupported(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<ProgramError>()
        .and_then(|error| match error {
            ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
            _ => None,
        })
        .is_some_and(|errno| {
            errno == libc::EINVAL || errno == libc::EOPNOTSUPP || errno == libc::ENOSYS
        })
        || error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::Unsupported)
}

pub(super) fn program(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier> {
    let program = ebpf
        .program_mut(names::NAT_EGRESS)
        .with_context(|| format!("the kernel half has no program {}", names::NAT_EGRESS))?;
    Ok(program.try_into()?)
}
