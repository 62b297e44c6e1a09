//! What the index asks of a key type.
//!
//! A key has a *view*, the borrowed form that look-ups take (`&i64`, `&[u8]`), and a *reference*, the cheap copy that scans
//! yield (`i64`, `&[u8]`). Every key also has a *digest*: an unsigned integer whose order never contradicts the order of the
//! keys. Models are fitted to digests and leaves are searched by them. For integers the digest is the key; for byte strings
//! it is seven bytes behind a prefix that all keys of a leaf share, and where two digests are equal the keys decide.

use std::cmp::Ordering;
use std::fmt::Debug;

use super::digest::Digest;

/// A key the index can hold: totally ordered, owned, and able to leave its core together with the index.
///
/// Laws, for keys `a` and `b` that share their first `skip` bytes: `a < b` implies `digest(a, skip) <= digest(b, skip)`;
/// equal digests of different keys imply that they share at least one more byte than `skip`; and if [`EXACT`](Self::EXACT),
/// equal digests imply equal keys and `skip` is not used.
pub trait IndexKey: Clone + Ord + Debug + Send + 'static {
    /// The borrowed form by which keys are looked up, without allocating.
    type View: ?Sized + Ord + Debug;
    /// What scans yield: a copy of an integer, a borrowed slice of bytes.
    type Ref<'a>: Copy + Ord + Debug;
    /// The integer that models and searches work on.
    type Digest: Digest;
    /// What must be kept beside the digest to have the key back: nothing for integers, the key itself for byte strings.
    type Rest: Clone + Default + Debug + Send;
    /// A byte of a hash of the key, by which a look-up tells keys with equal digests apart; nothing for integers.
    type Mark: Copy + Eq + Default + Debug + Send;
    /// Whether the digest alone identifies the key.
    const EXACT: bool;

    /// The key as it is looked up.
    fn view(&self) -> &Self::View;
    /// An owned key equal to the view.
    fn from_view(view: &Self::View) -> Self;
    /// The view of what a scan yielded.
    fn ref_view<'a>(key: &'a Self::Ref<'_>) -> &'a Self::View;
    /// The digest behind the first `skip` bytes.
    fn digest(view: &Self::View, skip: usize) -> Self::Digest;
    /// The mark of a key; equal keys have equal ones.
    fn mark(view: &Self::View) -> Self::Mark;
    /// What is kept beside the digest.
    fn into_rest(self) -> Self::Rest;
    /// The key again, as scans yield it.
    fn key_ref(digest: Self::Digest, rest: &Self::Rest) -> Self::Ref<'_>;
    /// How a kept key compares with a view whose digest is the same.
    fn compare_rest(rest: &Self::Rest, view: &Self::View) -> Ordering;
    /// Fetches what a kept key owns on the heap.
    fn prefetch_rest(rest: &Self::Rest);
    /// Number of leading bytes two keys share; 0 where digests are exact.
    fn shared_prefix(a: &Self::View, b: &Self::View) -> usize;
    /// How the first `skip` bytes of `key` compare with those of `sample`, which has that many.
    fn compare_prefix(key: &Self::View, sample: &Self::View, skip: usize) -> Ordering;
    /// Bytes the kept part owns on the heap.
    fn rest_heap_bytes(rest: &Self::Rest) -> usize;
}

macro_rules! integer_key {
    ($($int:ty as $digest:ty, flip $flip:expr);*) => {$(
        impl IndexKey for $int {
            type View = $int;
            type Ref<'a> = $int;
            type Digest = $digest;
            type Rest = ();
            type Mark = ();
            const EXACT: bool = true;

            fn view(&self) -> &$int {
                self
            }

            fn from_view(view: &$int) -> Self {
                *view
            }

            fn ref_view<'a>(key: &'a Self::Ref<'_>) -> &'a $int {
                key
            }

            #[inline(always)]
            fn digest(view: &$int, _skip: usize) -> $digest {
                (*view as $digest) ^ $flip
            }

            #[inline(always)]
            fn mark(_view: &$int) {}

            fn into_rest(self) {}

            #[inline(always)]
            fn key_ref(digest: $digest, _rest: &()) -> $int {
                (digest ^ $flip) as $int
            }

            #[inline(always)]
            fn compare_rest(_rest: &(), _view: &$int) -> Ordering {
                Ordering::Equal
            }

            fn prefetch_rest(_rest: &()) {}

            fn shared_prefix(_a: &$int, _b: &$int) -> usize {
                0
            }

            #[inline(always)]
            fn compare_prefix(_key: &$int, _sample: &$int, _skip: usize) -> Ordering {
                Ordering::Equal
            }

            fn rest_heap_bytes(_rest: &()) -> usize {
                0
            }
        }
    )*};
}

integer_key!(u64 as u64, flip 0; i64 as u64, flip 1 << 63; u128 as u128, flip 0);
