//! Firewall rules as the kernel holds them, and what they would do to a packet.
