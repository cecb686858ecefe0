//! The lab: a real Docker host in network namespaces of its own, faults as data, and the tool run against it.
//!
//! [`Lab`] brings up one namespace that plays the Docker host (with a real `dockerd` inside) and one that plays the
//! rest of the world. [`traffic`] sends bounded probes from any namespace. [`Tracer`] runs `dockernet-trace` and
//! collects its JSON lines. [`scenario`] reads `scenarios/*.toml` and runs each: healthy first, then broken.
//! Nothing leaves the lab's own namespaces, and nothing of the machine's is changed.

mod choice;
mod cleanup;
mod container;
mod counted_drop;
mod daemon;
mod dropper;
mod engine;
mod evidence;
mod exec;
pub mod foreign;
pub mod http;
mod image;
mod knock;
mod lab;
pub mod long_recording;
pub mod monitor;
mod netns;
mod offload;
mod policy;
pub mod prometheus;
mod resolve;
mod restore;
mod router;
pub mod scenario;
pub mod schema;
mod server;
mod tracer;
pub mod traffic;
mod wires;

pub use choice::{engines_of_run, is_full, seed};
pub use container::Run;
pub use counted_drop::CountedDrop;
pub use daemon::DaemonOptions;
pub use engine::{Engine, engines};
pub use evidence::Evidence;
pub use exec::{Cmd, Output, children_of, family, patient, wait_until};
pub use knock::knock;
pub use lab::{Lab, LabOptions};
pub use netns::{Netns, Place};
pub use policy::{Part, Refusal, can_run, group, kernel_since, missing_requirement, progress};
pub use server::{Kind as ServerKind, Server};
pub use tracer::{FATES, Finished, Tracer, replay, tool_for_anybody, tool_path};
pub use wires::{HOST_IP, HOST_IP6, INTERNET_IP, OUTSIDE_IP, OUTSIDE_IP6};
