//! Fitting leaves to their keys: base, width of a quantum and shared prefix, such that every bound between two blocks falls
//! between two quanta.
//!
//! A fit uses half of the quanta and leaves the other half for keys that will be appended. It looks at the first and last
//! entry of each block only, so it costs at most two fetches a block.

use super::block::Block;
use super::digest::Digest;
use super::fill::Fill;
use super::key::IndexKey;
use super::leaf::{BLOCKS, Frame, Leaf, Part, QUANTUM_MAX};
use super::pool::Pooled;

/// Quanta a fresh fit spreads the keys over.
const FITTED_QUANTUM_BITS: u32 = 30;

/// Blocks that are being fetched while one is looked at.
const BLOCKS_AHEAD: usize = 3;

/// How digests of a leaf become quanta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale<D> {
    base: D,
    shift: u32,
    skip: usize,
}

impl<D: Digest> Scale<D> {
    fn quantum(&self, digest: D) -> i32 {
        digest.distance(self.base).scale(self.shift, QUANTUM_MAX as u32) as i32
    }
}

/// The scale for keys from `first` to `last`.
fn scale_for<K: IndexKey>(first: &K::View, last: &K::View) -> Scale<K::Digest> {
    let skip = K::shared_prefix(first, last);
    let base = K::digest(first, skip);
    let range = K::digest(last, skip).distance(base);
    Scale { base, shift: range.bits().saturating_sub(FITTED_QUANTUM_BITS), skip }
}

/// First quanta of blocks, and the one behind the last key.
struct Bounds {
    bounds: Vec<i32>,
    limit: i32,
}

/// The bounds of the blocks under `scale`, if all of them fall between quanta.
fn bounds_under<'a, K: IndexKey, V: Copy + Send + 'a>(
    scale: &Scale<K::Digest>,
    blocks: impl Iterator<Item = (&'a Block<K, V>, usize)> + Clone,
) -> Option<Bounds> {
    blocks.clone().for_each(|(block, len)| block.prefetch_ends(len));
    let quantum = |block: &Block<K, V>, slot: usize| {
        let key = block.key(slot);
        scale.quantum(K::digest(K::ref_view(&key), scale.skip))
    };
    let mut bounds = Vec::with_capacity(BLOCKS);
    let mut last = -1;
    for (block, len) in blocks {
        let bound = quantum(block, 0);
        if bound <= last {
            return None;
        }
        bounds.push(bound);
        last = quantum(block, len - 1);
    }
    Some(Bounds { bounds, limit: last + 1 })
}

/// Makes leaves of blocks in key order: one if one scale suits them all, else more.
pub(super) fn fit<K: IndexKey, V: Copy + Send>(
    mut blocks: Vec<Pooled<Block<K, V>>>,
    mut lens: Vec<u8>,
    emit: &mut impl FnMut(Pooled<Leaf<K, V>>),
) {
    assert!(!blocks.is_empty() && blocks.len() <= BLOCKS && blocks.len() == lens.len());
    let last_len = usize::from(*lens.last().expect("a length a block"));
    let last = blocks[blocks.len() - 1].key(last_len - 1);
    let first = blocks[0].key(0);
    let scale = scale_for::<K>(K::ref_view(&first), K::ref_view(&last));
    let parts = blocks.iter().zip(&lens).map(|(block, len)| (&**block, usize::from(*len)));
    let Some(Bounds { bounds, limit }) = bounds_under(&scale, parts) else {
        let middle = blocks.len() / 2;
        let (right_blocks, right_lens) = (blocks.split_off(middle), lens.split_off(middle));
        fit(blocks, lens, emit);
        fit(right_blocks, right_lens, emit);
        return;
    };
    let frame = Frame { base: scale.base, shift: scale.shift, limit, skip: 0, sample: K::Rest::default() };
    let parts = blocks.into_iter().zip(bounds).zip(lens);
    let mut leaf =
        Leaf::from_parts(frame, parts.map(|((block, bound), len)| Part { block, bound, fill: Fill::even(usize::from(len)) }));
    if !K::EXACT {
        leaf.redigest(scale.skip);
    }
    leaf.measure_all();
    emit(leaf);
}

/// How two leaves become one.
pub(super) struct Join<D> {
    scale: Scale<D>,
    bounds: Bounds,
}

impl<K: IndexKey, V: Copy + Send> Leaf<K, V> {
    fn measure_all(&mut self) {
        for at in 0..self.blocks.len() {
            // Searched at three places each, blocks that lie in memory take longer to come than to be counted.
            if let Some(ahead) = self.blocks.get(at + BLOCKS_AHEAD) {
                ahead.prefetch();
            }
            self.measure(at, self.len_of(at));
        }
    }

    /// Takes all digests anew behind `skip` bytes.
    fn redigest(&mut self, skip: usize) {
        for at in 0..self.blocks.len() {
            let len = self.len_of(at);
            self.blocks[at].redigest(len, skip);
        }
        let sample = K::from_view(K::ref_view(&self.blocks[0].key(0))).into_rest();
        self.sample = sample;
        self.skip = skip as u32;
    }

    /// Fits the leaf to the keys it has now; whether anything changed. Nothing does if there are other blocks and `key`, for
    /// which room is made, would not share the prefix any more: its block can be isolated instead.
    pub(super) fn refit_for(&mut self, key: &K::View) -> bool {
        let (first, last) = self.ends();
        let first = K::ref_view(&first);
        let scale = scale_for::<K>(first, K::ref_view(&last));
        if self.blocks.len() > 1 && K::compare_prefix(key, first, scale.skip).is_ne() {
            return false;
        }
        let now = Scale { base: self.base, shift: self.shift, skip: self.skip as usize };
        scale != now && self.apply(&scale)
    }

    /// Fits the leaf to its keys and `key`, which lies outside them; whether that was possible.
    pub(super) fn refit_with(&mut self, key: &K::View) -> bool {
        let (first, last) = self.ends();
        let (first, last) = (K::ref_view(&first), K::ref_view(&last));
        assert!(key < first || last < key, "the key extends the leaf");
        let scale = if key < first { scale_for::<K>(key, last) } else { scale_for::<K>(first, key) };
        self.apply(&scale)
    }

    fn apply(&mut self, scale: &Scale<K::Digest>) -> bool {
        let Some(bounds) = bounds_under(scale, self.parts()) else {
            return false;
        };
        if !K::EXACT && scale.skip != self.skip as usize {
            self.redigest(scale.skip);
        }
        self.take_on(scale, &bounds);
        true
    }

    fn take_on(&mut self, scale: &Scale<K::Digest>, Bounds { bounds, limit }: &Bounds) {
        assert_eq!(bounds.len(), self.blocks.len());
        self.base = scale.base;
        self.shift = scale.shift;
        self.limit = *limit;
        bounds.iter().enumerate().for_each(|(at, bound)| self.set_bound(at, *bound));
        self.bounds_changed();
        self.measure_all();
    }

    /// How this leaf and the one behind it become one, if one scale suits both.
    pub(super) fn plan_join(&self, right: &Self) -> Option<Join<K::Digest>> {
        let (first, last) = (self.ends().0, right.ends().1);
        let scale = scale_for::<K>(K::ref_view(&first), K::ref_view(&last));
        let bounds = bounds_under(&scale, self.parts().chain(right.parts()))?;
        (bounds.bounds.len() <= BLOCKS).then_some(Join { scale, bounds })
    }

    /// Takes the blocks of the leaf behind.
    pub(super) fn join(&mut self, right: Self, plan: &Join<K::Digest>) {
        self.push_blocks(right);
        if !K::EXACT {
            self.redigest(plan.scale.skip);
        }
        self.take_on(&plan.scale, &plan.bounds);
    }
}
