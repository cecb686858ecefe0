//! An HTTP client of a few lines, for servers in namespaces.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::netns::Netns;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Header lines.
    pub head: String,
    /// What follows them.
    pub body: String,
}

/// `GET PATH` from within a namespace (`None`: the one of the test), with more header lines, each ended by `\r\n`.
///
/// # Errors
/// There is no answer within 10 s, or it is no HTTP.
pub fn get(from: Option<&Netns>, to: SocketAddr, path: &str, more: &str) -> Result<Answer> {
    let ask = || -> Result<Answer> {
        let limit = Duration::from_secs(10);
        let mut stream = TcpStream::connect_timeout(&to, limit)
            .with_context(|| format!("connecting to {to}"))?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{more}\r\n"
        )?;
        let mut text = String::new();
        stream
            .read_to_string(&mut text)
            .with_context(|| format!("reading the answer of {to}{path}"))?;
        let (head, body) = text
            .split_once("\r\n\r\n")
            .with_context(|| format!("no HTTP: {text}"))?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = if head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            unchunked(body)
        } else {
            body.to_owned()
        };
        Ok(Answer {
            status: status.with_context(|| format!("no HTTP: {head}"))?,
            head: head.to_owned(),
            body,
        })
    };
    match from {
        Some(netns) => netns.within(ask),
        None => ask(),
    }
}

/// Chunks put together (RFC 9112, 7.1).
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        whole.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}
