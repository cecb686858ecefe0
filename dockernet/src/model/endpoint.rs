//! The ends of a packet's journey.

use serde::{Deserialize, Serialize};

/// What an address belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    /// A container on this host.
    Container,
    /// This host itself.
    Host,
    /// Another machine.
    External,
    /// A multicast or broadcast group.
    Multicast,
    /// Cannot be told, e.g. a packet without an IP header.
    #[default]
    Unknown,
}

/// A container, as far as a packet's line needs to name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ContainerRef {
    /// First 12 characters of the id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// Image as it was named at start.
    pub image: Option<String>,
    /// Compose project.
    pub project: Option<String>,
    /// Compose service.
    pub service: Option<String>,
    /// Names of the other containers in the same network namespace.
    pub shared_with: Vec<String>,
}

/// One end of a packet's journey.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Endpoint {
    /// What it is.
    pub kind: EndpointKind,
    /// Which container, where `kind` is `container`.
    pub container: Option<ContainerRef>,
    /// The Docker network whose subnet holds the address.
    pub network: Option<String>,
}
