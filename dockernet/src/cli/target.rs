//! What `--from` and `--to` of a job may be.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// What a target's text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An address, with a port or any.
    Address(IpAddr, Option<u16>),
    /// A published port, on whatever address of the host.
    Published(u16),
    /// A container's name or id, or `host`; with a port of its own or any.
    Name(String, Option<u16>),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let port = |digits: &str| match digits.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("'{digits}' is no port (1 to 65535)")),
        };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical(), None));
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Self::Address(
                socket.ip().to_canonical(),
                Some(port(&socket.port().to_string())?),
            ));
        }
        let bracketed = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .and_then(|inner| inner.parse::<IpAddr>().ok());
        if let Some(address) = bracketed {
            return Ok(Self::Address(address, None));
        }
        match text.rsplit_once(':') {
            Some(("", digits)) => port(digits).map(Self::Published),
            Some((name, _)) if name.contains(':') => Err(format!(
                "'{text}' is neither an address nor NAME:PORT; an IPv6 address with a port is written [ADDRESS]:PORT"
            )),
            Some((name, digits)) => Ok(Self::Name(name.to_owned(), Some(port(digits)?))),
            None if text.is_empty() => {
                Err("expected NAME, NAME:PORT, ADDRESS, ADDRESS:PORT or :PORT".to_owned())
            }
            None => Ok(Self::Name(text.to_owned(), None)),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address, Some(port)) => write!(f, "{}", SocketAddr::new(*address, *port)),
            Self::Address(address, None) => write!(f, "{address}"),
            Self::Published(port) => write!(f, ":{port}"),
            Self::Name(name, Some(port)) => write!(f, "{name}:{port}"),
            Self::Name(name, None) => f.write_str(name),
        }
    }
}

impl Target {
    /// The port that it names.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Address(_, port) | Self::Name(_, port) => *port,
            Self::Published(port) => Some(*port),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn targets_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Target>().unwrap();
        assert_eq!(read(":10001"), Target::Published(10001));
        assert_eq!(read("web:80"), Target::Name("web".into(), Some(80)));
        assert_eq!(read("web"), Target::Name("web".into(), None));
        assert_eq!(
            read("198.51.100.10:10001"),
            Target::Address([198, 51, 100, 10].into(), Some(10001))
        );
        assert_eq!(
            read("[2001:db8::1]:80"),
            Target::Address("2001:db8::1".parse().unwrap(), Some(80))
        );
        assert_eq!(
            read("2001:db8::1"),
            Target::Address("2001:db8::1".parse().unwrap(), None)
        );
        for text in [
            "",
            ":",
            ":0",
            "web:http",
            "web:70000",
            "2001:db8::1::80",
            "a:b:80",
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(!error.is_empty(), "{text}");
        }
    }
}
