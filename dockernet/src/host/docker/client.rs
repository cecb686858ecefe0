//! The engine over HTTP.

use std::{collections::HashMap, future::Future, pin::Pin};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    query_parameters::{
        EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
        ListNetworksOptions,
    },
};
use futures_util::{Stream, StreamExt as _};
use tokio::{net::UnixStream, time::timeout};

use super::{About, DockerHost, EngineApi, EngineError, Event, LIMIT, convert};
use crate::model::{Container, Network};

/// Seconds after which bollard itself gives up; ours come first.
const BOLLARD_LIMIT: u64 = 10;
/// For the events: an engine may send no header before its first event.
const FOREVER: u64 = 365 * 24 * 3600;

/// A client of one engine. Making one asks nothing.
#[derive(Clone, Debug)]
pub struct Client {
    host: DockerHost,
}

impl Client {
    /// A client for the engine at `host`.
    #[must_use]
    pub fn new(host: DockerHost) -> Self {
        Self { host }
    }

    fn connect(&self, seconds: u64) -> Result<Docker, EngineError> {
        let url = &self.host.url;
        if url.starts_with("unix://") {
            Docker::connect_with_unix(url, seconds, API_DEFAULT_VERSION)
        } else if url.starts_with("tcp://") || url.starts_with("http://") {
            Docker::connect_with_http(url, seconds, API_DEFAULT_VERSION)
        } else {
            return Err(EngineError::Unsupported(url.clone()));
        }
        .map_err(|error| self.classify(error))
    }

    async fn ask<T, F>(&self, question: impl FnOnce(Docker) -> F + Send) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let docker = self.connect(BOLLARD_LIMIT)?;
        match timeout(LIMIT, question(docker)).await {
            Ok(answer) => answer.map_err(|error| self.classify(error)),
            Err(_) => Err(EngineError::Hung(self.host.url.clone())),
        }
    }

    fn classify(&self, error: Error) -> EngineError {
        let at = self.host.url.clone();
        match error {
            Error::RequestTimeoutError => EngineError::Hung(at),
            Error::SocketNotFoundError(_) => EngineError::NoSocket(at),
            Error::UnsupportedURISchemeError { .. } => EngineError::Unsupported(at),
            Error::DockerResponseServerError {
                status_code,
                message,
            } => EngineError::Status(status_code, message),
            Error::IOError { err } => EngineError::connecting(&at, &err),
            other => {
                let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&other);
                while let Some(error) = source {
                    if let Some(error) = error.downcast_ref::<std::io::Error>() {
                        return EngineError::connecting(&at, error);
                    }
                    source = error.source();
                }
                EngineError::Other(format!("{at}: {other}"))
            }
        }
    }

    /// Connects once by hand: the kernel's error says more than the client's.
    async fn reach(&self) -> Result<(), EngineError> {
        let Some(path) = self.host.path() else {
            return Ok(());
        };
        let at = &self.host.url;
        match timeout(LIMIT, UnixStream::connect(path)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                // The kernel refuses files that are no sockets in the same way.
                use std::os::unix::fs::FileTypeExt as _;
                let socket = std::fs::metadata(path).is_ok_and(|data| data.file_type().is_socket());
                Err(if socket {
                    EngineError::Refused(at.clone())
                } else {
                    EngineError::NotASocket(at.clone())
                })
            }
            Ok(Err(error)) => Err(EngineError::connecting(at, &error)),
            Err(_) => Err(EngineError::Hung(at.clone())),
        }
    }
}

/// How a container ended, and what was to happen then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// `no`, `always`, `unless-stopped`, `on-failure`.
    pub restart: String,
    /// Its exit status.
    pub status: i64,
    /// Why the engine could not start it; empty if it could.
    pub error: String,
    /// The kernel ended it for want of memory.
    pub out_of_memory: bool,
    /// The engine is about to start it again.
    pub restarting: bool,
    /// It has started it as often as its policy (`on-failure:N`) lets it.
    pub gave_up: bool,
}

impl Client {
    /// How a stopped container ended; none if there is no such container.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn ending(&self, id: &str) -> Result<Option<Ending>, EngineError> {
        let answer = self
            .ask(|docker| async move {
                docker
                    .inspect_container(id, None::<InspectContainerOptions>)
                    .await
            })
            .await;
        let answer = match answer {
            Err(EngineError::Status(404, _)) => return Ok(None),
            other => other?,
        };
        let state = answer.state.unwrap_or_default();
        let policy = answer.host_config.and_then(|config| config.restart_policy);
        let most = policy
            .as_ref()
            .and_then(|policy| policy.maximum_retry_count);
        let tries = answer.restart_count.unwrap_or_default();
        let gave_up = most.is_some_and(|most| most > 0 && tries >= most);
        let policy = policy.and_then(|policy| policy.name);
        Ok(Some(Ending {
            restart: policy.map_or_else(|| "no".to_owned(), |name| name.to_string()),
            status: state.exit_code.unwrap_or_default(),
            error: state.error.unwrap_or_default(),
            out_of_memory: state.oom_killed.unwrap_or_default(),
            restarting: state.restarting.unwrap_or_default(),
            gave_up,
        }))
    }
}

impl EngineApi for Client {
    async fn about(&self) -> Result<About, EngineError> {
        self.reach().await?;
        let version = self
            .ask(|docker| async move { docker.version().await })
            .await?;
        // Version answers at once; info counts images and may take its time: what it adds is not needed.
        let info = self
            .ask(|docker| async move { docker.info().await })
            .await
            .unwrap_or_default();
        let podman = version
            .components
            .iter()
            .flatten()
            .any(|component| component.name.to_lowercase().contains("podman"));
        let rootless = info
            .security_options
            .iter()
            .flatten()
            .any(|option| option.contains("rootless"));
        Ok(About {
            version: version
                .version
                .or(info.server_version)
                .unwrap_or_else(|| "unknown".to_owned()),
            kernel: version.kernel_version.or(info.kernel_version),
            system: info.operating_system,
            data_root: info.docker_root_dir,
            podman,
            rootless,
        })
    }

    async fn ping(&self) -> Result<(), EngineError> {
        self.ask(|docker| async move { docker.ping().await })
            .await
            .map(drop)
    }

    async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let list = self
            .ask(|docker| async move { docker.list_containers(Some(options)).await })
            .await?;
        Ok(list.into_iter().filter_map(convert::listed).collect())
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        let answer = self
            .ask(|docker| async move {
                docker
                    .inspect_container(id, None::<InspectContainerOptions>)
                    .await
            })
            .await;
        match answer {
            Ok(answer) => Ok(convert::inspected(answer)),
            Err(EngineError::Status(404, _)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn networks(&self) -> Result<Vec<Network>, EngineError> {
        let list = self
            .ask(|docker| async move { docker.list_networks(None::<ListNetworksOptions>).await })
            .await?;
        Ok(list.into_iter().filter_map(convert::network).collect())
    }

    fn events(
        &self,
        since: &str,
    ) -> impl Stream<Item = Result<Event, EngineError>> + Send + Unpin + 'static {
        // Asking for these only keeps health checks' exec events away, which can be hundreds a second.
        let only = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let filters: HashMap<String, Vec<String>> = HashMap::from([
            ("type".to_owned(), only(&["container", "network"])),
            (
                "event".to_owned(),
                only(&[
                    "create",
                    "start",
                    "die",
                    "died",
                    "pause",
                    "unpause",
                    "rename",
                    "destroy",
                    "remove",
                    "connect",
                    "disconnect",
                ]),
            ),
        ]);
        let options = EventsOptionsBuilder::default()
            .since(since)
            .filters(&filters)
            .build();
        type Events = Pin<Box<dyn Stream<Item = Result<Event, EngineError>> + Send>>;
        let events: Events = match self.connect(FOREVER) {
            Err(error) => Box::pin(futures_util::stream::iter([Err(error)])),
            Ok(docker) => {
                let client = self.clone();
                Box::pin(docker.events(Some(options)).filter_map(move |message| {
                    let event = match message {
                        Ok(message) => convert::event(message).map(Ok),
                        // One that cannot be read is skipped; the stream goes on.
                        Err(Error::JsonDataError { .. } | Error::JsonSerdeError { .. }) => None,
                        Err(error) => Some(Err(client.classify(error))),
                    };
                    std::future::ready(event)
                }))
            }
        };
        events
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::host::docker::Origin;

    async fn about(url: &str) -> EngineError {
        let host = DockerHost {
            url: url.to_owned(),
            origin: Origin::Option,
        };
        Client::new(host).about().await.unwrap_err()
    }

    #[tokio::test]
    async fn errors_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let url = |name: &str| format!("unix://{}", folder.path().join(name).display());
        std::fs::write(folder.path().join("file"), "").unwrap();
        let dead = folder.path().join("dead");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let silent = folder.path().join("silent");
        let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
        assert_eq!(
            about(&url("none")).await,
            EngineError::NoSocket(url("none"))
        );
        assert_eq!(
            about(&url("file")).await,
            EngineError::NotASocket(url("file"))
        );
        assert_eq!(about(&url("dead")).await, EngineError::Refused(url("dead")));
        assert_eq!(
            about(&url("silent")).await,
            EngineError::Hung(url("silent"))
        );
        assert_eq!(
            about("ssh://host").await,
            EngineError::Unsupported("ssh://host".to_owned())
        );
    }
}
