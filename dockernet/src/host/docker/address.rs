//! Where the engine listens.

use std::path::{Path, PathBuf};

/// Who chose the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `-H`.
    Option,
    /// `DOCKER_HOST`.
    Environment,
    /// The first usual socket that is there.
    Default,
}

/// Where the engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerHost {
    /// URL: `unix://…`, `tcp://…`, `http://…`, `https://…`, `ssh://…`.
    pub url: String,
    /// Who chose it.
    pub origin: Origin,
}

const USUAL: &str = "/var/run/docker.sock";

impl DockerHost {
    /// `-H`, else `DOCKER_HOST`, else the first of the usual sockets that exists: Docker's, rootless Docker's (of the
    /// user behind sudo too), Podman's.
    #[must_use]
    pub fn resolve(option: Option<&str>) -> Self {
        Self::choose(
            option,
            |name| std::env::var(name).ok(),
            nix::unistd::getuid().as_raw(),
            Path::exists,
        )
    }

    fn choose(
        option: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
        uid: u32,
        exists: impl Fn(&Path) -> bool,
    ) -> Self {
        if let Some(url) = option {
            return Self {
                url: with_scheme(url),
                origin: Origin::Option,
            };
        }
        if let Some(url) = variable("DOCKER_HOST").filter(|url| !url.trim().is_empty()) {
            return Self {
                url: with_scheme(&url),
                origin: Origin::Environment,
            };
        }
        let users = variable("SUDO_UID")
            .and_then(|uid| uid.parse().ok())
            .into_iter()
            .chain([uid]);
        let of_users = |socket: &str| -> Vec<PathBuf> {
            users
                .clone()
                .filter(|uid| *uid != 0)
                .map(|uid| PathBuf::from(format!("/run/user/{uid}/{socket}")))
                .collect()
        };
        let path = [PathBuf::from(USUAL)]
            .into_iter()
            .chain(of_users("docker.sock"))
            .chain([PathBuf::from("/run/podman/podman.sock")])
            .chain(of_users("podman/podman.sock"))
            .find(|path| exists(path))
            .unwrap_or_else(|| PathBuf::from(USUAL));
        Self {
            url: format!("unix://{}", path.display()),
            origin: Origin::Default,
        }
    }

    /// The socket's path, for `unix://`.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.url.strip_prefix("unix://").map(Path::new)
    }
}

fn with_scheme(url: &str) -> String {
    let url = url.trim();
    if url.contains("://") {
        url.to_owned()
    } else if url.starts_with('/') {
        format!("unix://{url}")
    } else {
        format!("tcp://{url}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(option: Option<&str>, variables: &[(&str, &str)], sockets: &[&str]) -> String {
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let exists = |path: &Path| sockets.iter().any(|socket| path == Path::new(socket));
        DockerHost::choose(option, variable, 0, exists).url
    }

    #[test]
    fn in_order() {
        let environment = [("DOCKER_HOST", "tcp://192.0.2.1:2375")];
        assert_eq!(choose(Some("/a.sock"), &environment, &[]), "unix:///a.sock");
        assert_eq!(choose(Some("h:2375"), &[], &[]), "tcp://h:2375");
        assert_eq!(choose(None, &environment, &[]), "tcp://192.0.2.1:2375");
        assert_eq!(
            choose(None, &[("DOCKER_HOST", "")], &[]),
            "unix:///var/run/docker.sock"
        );
        assert_eq!(
            choose(
                None,
                &[("SUDO_UID", "1000")],
                &["/run/user/1000/docker.sock", "/run/podman/podman.sock"]
            ),
            "unix:///run/user/1000/docker.sock"
        );
        assert_eq!(
            choose(None, &[], &["/run/podman/podman.sock"]),
            "unix:///run/podman/podman.sock"
        );
    }
}
