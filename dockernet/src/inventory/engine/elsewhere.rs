//! Whether the engine's containers are this machine's.

use crate::{
    host::{docker::About, engine_files, netns::scan},
    model::Container,
};

/// A sentence if the engine runs on another kernel.
pub(super) fn other_kernel(about: &About) -> Option<String> {
    let ours = nix::sys::utsname::uname().ok()?;
    let ours = ours.release().to_str()?.to_owned();
    let theirs = about
        .kernel
        .as_deref()
        .filter(|kernel| !kernel.is_empty())?;
    let system = about.system.as_deref().unwrap_or("another machine");
    (theirs != ours).then(|| {
        format!(
            "the engine runs on another kernel ({theirs}, {system}; here it is {ours}): its names are not used; run \
             this where the engine runs"
        )
    })
}

/// Docker Desktop's engine under WSL2 shares the kernel, but not the processes: then its addresses are not this
/// host's either.
pub(super) fn processes_elsewhere(containers: &[Container]) -> Option<String> {
    let mut running = containers
        .iter()
        .filter_map(|container| Some((container, container.pid?)))
        .peekable();
    running.peek()?;
    let here = running.any(|(container, pid)| {
        engine_files::of_process(pid).is_some_and(|found| found.id == container.id)
            || scan::lives(pid)
    });
    (!here).then(|| {
        "none of the engine's containers is a process of this machine (Docker Desktop, or a container without \
         --pid=host): its names are not used; run this where the engine runs"
            .to_owned()
    })
}
