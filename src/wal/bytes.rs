//! Little-endian fields taken from the front of a slice: what every decoder of the log and the checkpoint is made of.
//!
//! Every accessor answers `None` at the end of the input, so that a decoder over hostile bytes cannot index out of range.

/// The rest of an input being decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

macro_rules! number {
    ($($name:ident: $type:ty),* $(,)?) => {
        $(
            #[doc = concat!("Takes a little-endian `", stringify!($type), "`.")]
            pub(crate) fn $name(&mut self) -> Option<$type> {
                let (head, rest) = self.rest.split_first_chunk::<{ size_of::<$type>() }>()?;
                self.rest = rest;
                Some(<$type>::from_le_bytes(*head))
            }
        )*
    };
}

impl<'a> Fields<'a> {
    /// Decodes from the front of `input`.
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    number! { u8: u8, u16: u16, u32: u32, u64: u64, i64: i64 }

    /// Takes `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    /// Takes bytes that are preceded by their count as a `u32`.
    pub(crate) fn take_counted(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()?;
        self.take(usize::try_from(count).ok()?)
    }

    /// What has not been taken yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Appends bytes preceded by their count as a `u32`; the pair of [`Fields::take_counted`].
pub(crate) fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    let count = u32::try_from(bytes.len()).expect("callers keep fields far below 4 GiB");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// `value` rounded up to a multiple of `unit` (a power of two).
pub(crate) fn align_up(value: u64, unit: u64) -> u64 {
    assert!(unit.is_power_of_two());
    value.checked_add(unit - 1).expect("log positions stay far below 2^64") & !(unit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stop_at_the_end_instead_of_panicking() {
        let mut fields = Fields::new(&[1, 2, 0, 9]);
        assert_eq!(fields.u8(), Some(1));
        assert_eq!(fields.u16(), Some(2));
        assert_eq!(fields.u32(), None);
        assert_eq!(fields.take(2), None);
        assert_eq!(fields.take(1), Some(&[9][..]));
        assert!(fields.is_empty());
        assert_eq!(Fields::new(&[255, 255, 255, 255, 1]).take_counted(), None);
    }

    #[test]
    fn aligning_rounds_up_to_the_unit() {
        for (value, expected) in [(0, 0), (1, 4096), (4096, 4096), (4097, 8192)] {
            assert_eq!(align_up(value, 4096), expected);
        }
    }
}
