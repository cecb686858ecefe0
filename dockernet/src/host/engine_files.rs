//! Names without an engine that answers: cgroup paths and the engine's own files.

mod cgroup;
mod config;
mod roots;

pub(crate) use config::parse as container_files;

pub use cgroup::{CgroupContainer, Manager, container_of, of_process};
pub use config::{networks, read_container, read_containers};
pub use roots::{Daemon, daemons, default_data_roots, folder_of, is_contained};
