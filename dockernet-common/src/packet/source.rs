//! Where header bytes come from: a slice here, kernel memory in the kernel half.

/// Bytes that can be read a few at a time, at an offset.
pub trait ByteSource {
    /// Reads `N` bytes at `offset`; `None` if not all of them are there.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Reads a fixed header and the four bytes behind it, if those are there; `BOTH` is `HEADER + 4`. Where bytes may always be
    /// read beyond a packet's end one read does for both.
    #[inline(always)]
    fn start<const HEADER: usize, const BOTH: usize>(
        &self,
        offset: usize,
    ) -> Option<([u8; HEADER], Option<[u8; 4]>)> {
        Some((self.read(offset)?, self.read(offset.wrapping_add(HEADER))))
    }
}

impl ByteSource for [u8] {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

impl<S: ByteSource + ?Sized> ByteSource for &S {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        S::read(self, offset)
    }
}

/// Reads a big-endian `u16`.
pub(super) fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.read(offset).map(u16::from_be_bytes)
}

/// Reads a big-endian `u32`.
pub(super) fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.read(offset).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_inside_and_never_outside() {
        let bytes: &[u8] = &[1, 2, 3];
        assert_eq!(bytes.read::<2>(1), Some([2, 3]));
        assert_eq!(bytes.read::<0>(3), Some([]));
        assert_eq!(bytes.read::<2>(2), None);
        assert_eq!(bytes.read::<1>(usize::MAX), None);
        assert_eq!((&bytes).read::<1>(0), Some([1]));
        assert_eq!(be16(bytes, 0), Some(0x0102));
        assert_eq!(be32(bytes, 0), None);
    }
}
