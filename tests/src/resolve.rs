//! Names in scenarios: `${ip:web}` and the like.

use anyhow::{Context, Result, bail};

use crate::{
    lab::Lab,
    netns::Place,
    wires::{HOST_IP, HOST_IP6, INTERNET_IP, OUTSIDE_IP, OUTSIDE_IP6},
};

impl Lab {
    /// Replaces `${…}` in a scenario's text:
    /// `${host}`, `${host6}`, `${outside}`, `${outside6}`, `${internet}` addresses of the lab;
    /// `${ip:NAME}`, `${ip:NAME@NETWORK}`, `${ip6:NAME@NETWORK}` a container's address;
    /// `${gateway:NETWORK}` a network's gateway, `${bridge:NETWORK}` its device;
    /// `${veth:NAME}` the host's end of a container's `eth0`, `${pid:NAME}` a container's process.
    ///
    /// # Errors
    /// An unknown name.
    pub fn expand(&self, text: &str) -> Result<String> {
        let mut done = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                bail!("`{text}` has a ${{ without its }}");
            };
            done += before;
            done += &self
                .lookup(name)
                .with_context(|| format!("replacing ${{{name}}} in `{text}`"))?;
            rest = after;
        }
        Ok(done + rest)
    }

    fn lookup(&self, name: &str) -> Result<String> {
        let fixed = match name {
            "host" => HOST_IP,
            "host6" => HOST_IP6,
            "outside" => OUTSIDE_IP,
            "outside6" => OUTSIDE_IP6,
            "internet" => INTERNET_IP,
            _ => return self.lookup_object(name),
        };
        Ok(fixed.to_owned())
    }

    fn lookup_object(&self, name: &str) -> Result<String> {
        let Some((kind, object)) = name.split_once(':') else {
            bail!("no such name");
        };
        let (container, network) = match object.split_once('@') {
            Some((container, network)) => (container, Some(network)),
            None => (object, None),
        };
        Ok(match kind {
            "ip" => self.container_ip(container, network)?.to_string(),
            "ip6" => self.container_ip6(container, network)?.to_string(),
            "pid" => self.container_pid(container)?.to_string(),
            "veth" => self.veth(container)?,
            "gateway" => self.gateway(object)?,
            "bridge" => self.bridge(object)?,
            _ => bail!("no such kind of name"),
        })
    }

    /// What containers of a network take for their gateway: the bridge's address. (Older engines do not tell it for
    /// their default network.)
    fn gateway(&self, network: &str) -> Result<String> {
        let script = format!("ip -4 -o addr show dev {}", self.bridge(network)?);
        let text = self.shell(&Place::Host, &script)?.stdout;
        text.split_once("inet ")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map(|(address, _)| address.to_owned())
            .context("its bridge has no address")
    }

    /// The bridge device of a network.
    ///
    /// # Errors
    /// There is no such network.
    pub fn bridge(&self, network: &str) -> Result<String> {
        let option = "{{index .Options \"com.docker.network.bridge.name\"}}";
        let name = self.docker(["network", "inspect", "--format", option, network])?;
        if !name.is_empty() {
            return Ok(name);
        }
        let id = self.docker(["network", "inspect", "--format", "{{.Id}}", network])?;
        Ok(format!("br-{}", id.get(..12).unwrap_or(&id)))
    }

    /// The host's end of a container's `eth0`.
    ///
    /// # Errors
    /// The container does not run, or its `eth0` is no veth of the host's.
    pub fn veth(&self, container: &str) -> Result<String> {
        let place = Place::Container(container.to_owned());
        let index = self.shell(&place, "ip -o link show eth0")?.stdout;
        // `2: eth0@if7: …`: 7 is the peer's index in the other namespace.
        let peer = index
            .split_once("eth0@if")
            .and_then(|(_, rest)| rest.split_once(':'))
            .with_context(|| format!("eth0 of {container} has no peer: {index}"))?
            .0
            .to_owned();
        let links = self.shell(&Place::Host, "ip -o link")?.stdout;
        links
            .lines()
            .find_map(|line| {
                let rest = line.strip_prefix(&format!("{peer}: "))?;
                Some(rest.split(['@', ':']).next()?.to_owned())
            })
            .with_context(|| format!("the host has no link {peer}"))
    }
}
