//! What the index asks of a key type.
//!
//! A key has a *view*, the borrowed form that look-ups take (`&i64`, `&[u8]`), and a *reference*, the cheap copy that scans
//! yield (`i64`, `&[u8]`). Every key also has a *digest*: an unsigned integer whose order never contradicts the order of the
//! keys. Models are fitted to digests; where two digests are equal and the digest does not identify the key, the keys
//! themselves decide.

use std::fmt::Debug;

/// A key the index can hold: totally ordered, owned, and able to leave its core together with the index.
pub trait IndexKey: Clone + Ord + Debug + Send + 'static {
    /// The borrowed form by which keys are looked up, without allocating.
    type View: ?Sized + Ord + Debug;
    /// What scans yield: a copy of an integer, a borrowed slice of bytes.
    type Ref<'a>: Copy + Ord + Debug;

    /// The key as it is looked up.
    fn view(&self) -> &Self::View;
    /// An owned key equal to the view.
    fn from_view(view: &Self::View) -> Self;
    /// The key as scans yield it.
    fn as_ref(&self) -> Self::Ref<'_>;
    /// The view of what a scan yielded.
    fn ref_view<'a>(key: &'a Self::Ref<'_>) -> &'a Self::View;
    /// Bytes the key owns outside itself.
    fn heap_bytes(&self) -> usize;
}

macro_rules! integer_key {
    ($($int:ty),*) => {$(
        impl IndexKey for $int {
            type View = $int;
            type Ref<'a> = $int;

            fn view(&self) -> &$int {
                self
            }

            fn from_view(view: &$int) -> Self {
                *view
            }

            fn as_ref(&self) -> $int {
                *self
            }

            fn ref_view(key: &$int) -> &$int {
                key
            }

            fn heap_bytes(&self) -> usize {
                0
            }
        }
    )*};
}

integer_key!(i64, u64, u128);
