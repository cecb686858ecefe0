//! What is asked of an engine: the seam where tests put canned answers.

use std::future::Future;

use futures_util::Stream;

use super::EngineError;
use crate::model::{Container, Network};

/// The engine itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Version, e.g. `28.5.2`.
    pub version: String,
    /// Kernel release it runs on.
    pub kernel: Option<String>,
    /// Operating system, e.g. `Docker Desktop`.
    pub system: Option<String>,
    /// Where it keeps its files.
    pub data_root: Option<String>,
    /// Podman behind Docker's interface.
    pub podman: bool,
    /// Runs without root.
    pub rootless: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A container was made.
    Create,
    /// A container's process runs.
    Start,
    /// A container's process ended.
    Die,
    /// A container was frozen.
    Pause,
    /// A container was thawed.
    Unpause,
    /// A container has a new name.
    Rename,
    /// A container was removed.
    Destroy,
    /// A container joined a network.
    Connect,
    /// A container left a network.
    Disconnect,
    /// A network was made or removed.
    Networks,
}

/// An event of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub action: Action,
    /// Full id of the container concerned.
    pub container: Option<String>,
    /// The container's name, as the event tells it.
    pub name: Option<String>,
    /// The container's image, as the event tells it.
    pub image: Option<String>,
    /// The container's labels that matter: project and service.
    pub project: Option<String>,
    /// See `project`.
    pub service: Option<String>,
    /// When, as `since` takes it: `seconds.nanoseconds`.
    pub time: String,
}

/// An engine. Every method gives up after [`super::LIMIT`].
pub trait EngineApi: Send + Sync + 'static {
    /// The engine itself. Tells the exact [`EngineError`] when it cannot be reached.
    fn about(&self) -> impl Future<Output = Result<About, EngineError>> + Send;

    /// Whether it answers at all: the cheapest of all questions (`/_ping`).
    fn ping(&self) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// All containers, stopped ones too, as far as a list tells them: no pid.
    fn containers(&self) -> impl Future<Output = Result<Vec<Container>, EngineError>> + Send;

    /// One container; none if there is none of this id.
    fn inspect(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<Option<Container>, EngineError>> + Send;

    /// All networks.
    fn networks(&self) -> impl Future<Output = Result<Vec<Network>, EngineError>> + Send;

    /// Events from `since` on; ends with the connection.
    fn events(
        &self,
        since: &str,
    ) -> impl Stream<Item = Result<Event, EngineError>> + Send + Unpin + 'static;
}
