//! Who owns an address, an interface, a namespace: live, with tombstones.
