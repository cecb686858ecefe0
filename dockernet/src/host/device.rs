//! What a network device does to packets in hardware, or leaves undone.

use std::io;

use anyhow::{Context as _, Result};

use super::{
    ethtool::{Ethtool, number, words},
    netns::NetnsHandle,
};

/// `ETHTOOL_GTXCSUM` (include/uapi/linux/ethtool.h): any kind of transmit checksum offload.
const GET_TX_CHECKSUM: u32 = 0x16;

/// True where the device leaves it to the hardware to fill in transport checksums (`ethtool -k`: tx-checksumming).
///
/// # Errors
/// No such device in the namespace, or its driver does not say.
pub fn transmit_checksum_offload(netns: &NetnsHandle, device: &str) -> Result<bool> {
    netns
        .run(|| -> io::Result<bool> {
            // struct ethtool_value: command, value.
            let mut value = words(&[GET_TX_CHECKSUM, 0]);
            Ethtool::open(device)?.ask(&mut value)?;
            Ok(value.get(4..8).and_then(number) != Some(0))
        })?
        .with_context(|| format!("asking {device} for its checksum offload"))
}
