//! Inner nodes route to leaves: separators in one array, leaves in another, and a model that says where to look.
//!
//! Nodes are wide and few, so that ten million integers need one; above them is only a list. A leaf holds the keys from its
//! separator up to the next one; the first separator of a node counts as minus infinity.

use std::cmp::Ordering;

use super::digest::Digest;
use super::key::IndexKey;
use super::lanes::{Lanes, Plain};
use super::leaf::Leaf;
use super::pool::Pooled;
use super::router::Router;

/// Leaves a node holds at most. Byte strings have to be looked at to fit a model, so there it is less.
pub(super) const fn leaves_max<K: IndexKey>() -> usize {
    if K::EXACT { 2048 } else { 512 }
}

/// Leaves in key order and how to find among them.
#[derive(Clone, Debug)]
pub(super) struct Node<K: IndexKey, V> {
    /// Digests of the separators behind `skip` bytes; 0 for the first, which stands for minus infinity.
    separators: Vec<K::Digest>,
    /// The separators themselves, where digests are not exact.
    keys: Vec<K::Rest>,
    pub(super) leaves: Vec<Pooled<Leaf<K, V>>>,
    router: Router<K::Digest>,
    /// Bytes that all separators but the first share.
    skip: usize,
}

/// A key as a node keeps it: its digest without skipping, and the rest.
pub(super) type Separator<K> = (<K as IndexKey>::Digest, <K as IndexKey>::Rest);

/// A leaf and where it begins.
pub(super) type Separated<K, V> = (Separator<K>, Pooled<Leaf<K, V>>);

/// Makes a separator.
pub(super) fn separator<K: IndexKey>(key: &K::View) -> Separator<K> {
    let rest = if K::EXACT { K::Rest::default() } else { K::from_view(key).into_rest() };
    (K::digest(key, 0), rest)
}

impl<K: IndexKey, V: Copy + Send> Node<K, V> {
    /// A node of leaves in key order with their separators.
    pub(super) fn new(leaves: Vec<Separated<K, V>>) -> Self {
        assert!(!leaves.is_empty() && leaves.len() <= leaves_max::<K>());
        let mut node = Self { separators: vec![], keys: vec![], leaves: vec![], router: Router::default(), skip: 0 };
        for ((digest, rest), leaf) in leaves {
            node.separators.push(digest);
            if !K::EXACT {
                node.keys.push(rest);
            }
            node.leaves.push(leaf);
        }
        node.refit();
        node
    }

    /// Takes the node apart again. Separators are made anew, because the first has none.
    pub(super) fn into_leaves(self) -> impl Iterator<Item = Separated<K, V>> {
        self.leaves.into_iter().map(|leaf| {
            let low = separator::<K>(K::ref_view(&leaf.ends().0));
            (low, leaf)
        })
    }

    /// The separator of leaf `at`, which is not the first.
    pub(super) fn separator(&self, at: usize) -> Separator<K> {
        assert!(at > 0);
        if K::EXACT {
            (self.separators[at], K::Rest::default())
        } else {
            (digest_of_rest::<K>(&self.keys[at], 0), self.keys[at].clone())
        }
    }

    /// Fits the model, and for byte strings the shared prefix, to the separators.
    fn refit(&mut self) {
        if !K::EXACT {
            let count = self.keys.len();
            self.skip = if count > 1 { self.shared_prefix(1, count - 1) } else { 0 };
            self.redigest();
        }
        self.separators[0] = K::Digest::default();
        self.router = Router::fit(&self.separators);
    }

    fn shared_prefix(&self, a: usize, b: usize) -> usize {
        let zero = K::Digest::default();
        let (a, b) = (K::key_ref(zero, &self.keys[a]), K::key_ref(zero, &self.keys[b]));
        K::shared_prefix(K::ref_view(&a), K::ref_view(&b))
    }

    fn redigest(&mut self) {
        for (digest, rest) in self.separators.iter_mut().zip(&self.keys).skip(1) {
            *digest = digest_of_rest::<K>(rest, self.skip);
        }
    }

    /// The leaf that holds `key` if any does.
    #[inline(always)]
    pub(super) fn route<L: Lanes>(&self, key: &K::View) -> usize {
        if K::EXACT {
            return self.route_digest::<L>(K::digest(key, 0));
        }
        self.route_bytes(key)
    }

    #[inline(always)]
    fn route_digest<L: Lanes>(&self, digest: K::Digest) -> usize {
        let (start, end) = self.router.range(digest);
        // Most buckets hold few separators: a fixed number of them is compared without a branch that depends on the key.
        let found = match L::upper_among_few(&self.separators, start, digest) {
            Some(found) => found,
            None => start + upper(&self.separators[start..end], digest),
        };
        // The first separator is not greater than any digest.
        found.wrapping_sub(1)
    }

    fn route_bytes(&self, key: &K::View) -> usize {
        if self.keys.len() == 1 {
            return 0;
        }
        let zero = K::Digest::default();
        let sample = K::key_ref(zero, &self.keys[1]);
        match K::compare_prefix(key, K::ref_view(&sample), self.skip) {
            Ordering::Less => return 0,
            Ordering::Greater => return self.keys.len() - 1,
            Ordering::Equal => {}
        }
        let digest = K::digest(key, self.skip);
        let (start, end) = self.router.range(digest);
        let mut high = start + upper(&self.separators[start..end], digest);
        let mut low = start + self.separators[start..high].partition_point(|probe| *probe < digest);
        while low < high {
            let middle = low.midpoint(high);
            if K::compare_rest(&self.keys[middle], key).is_gt() {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low.saturating_sub(1)
    }

    /// Puts a leaf in at `at`, which is not the first place.
    pub(super) fn insert(&mut self, at: usize, key: &K::View, leaf: Pooled<Leaf<K, V>>) {
        assert!(at > 0 && self.leaves.len() < leaves_max::<K>());
        self.leaves.insert(at, leaf);
        if !K::EXACT {
            self.keys.insert(at, K::from_view(key).into_rest());
            let other = if at == 1 { self.keys.len() - 1 } else { 1 };
            let outside = other == at || self.shared_prefix(at, other) < self.skip;
            self.separators.insert(at, K::digest(key, self.skip));
            if outside || self.router.is_outgrown(self.leaves.len()) {
                self.refit();
            } else {
                self.router.inserted(self.separators[at]);
            }
            return;
        }
        let digest = K::digest(key, 0);
        self.separators.insert(at, digest);
        if self.router.is_outgrown(self.leaves.len()) {
            self.refit();
        } else {
            self.router.inserted(digest);
        }
    }

    /// Takes leaf `at` out. Its range falls to the leaf before it, or for the first to the one behind it.
    pub(super) fn remove(&mut self, at: usize) -> Pooled<Leaf<K, V>> {
        let leaf = self.leaves.remove(at);
        let digest = self.separators.remove(at);
        if !K::EXACT {
            self.keys.remove(at);
        }
        if self.leaves.is_empty() {
            return leaf;
        }
        if self.router.is_outgrown(self.leaves.len()) || at == 0 {
            self.separators.shrink_to(self.leaves.len() * 2);
            self.keys.shrink_to(self.leaves.len() * 2);
            self.leaves.shrink_to(self.leaves.len() * 2);
            self.refit();
        } else {
            self.router.removed(digest);
        }
        leaf
    }

    /// Keeps the leaves before `at` and returns a node of the others.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        assert!(0 < at && at < self.leaves.len(), "no node is empty");
        let right = Self {
            separators: self.separators.split_off(at),
            keys: if K::EXACT { vec![] } else { self.keys.split_off(at) },
            leaves: self.leaves.split_off(at),
            router: Router::default(),
            skip: self.skip,
        };
        let mut right = right;
        right.refit();
        self.separators.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.leaves.shrink_to_fit();
        self.refit();
        right
    }

    /// Takes over all leaves of the node behind, which begins at `low`. Looks at none of them.
    pub(super) fn append(&mut self, low: Separator<K>, right: Self) {
        assert!(self.leaves.len() + right.leaves.len() <= leaves_max::<K>());
        self.separators.push(low.0);
        if K::EXACT {
            self.separators.extend(right.separators.into_iter().skip(1));
        } else {
            // Digests are taken anew by the fit.
            self.separators.resize(self.separators.len() + right.leaves.len() - 1, K::Digest::default());
            self.keys.push(low.1);
            self.keys.extend(right.keys.into_iter().skip(1));
        }
        self.leaves.extend(right.leaves);
        self.refit();
    }

    /// Bytes of the node without its leaves.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.separators.capacity() * size_of::<K::Digest>()
            + self.keys.capacity() * size_of::<K::Rest>()
            + self.keys.iter().map(K::rest_heap_bytes).sum::<usize>()
            + self.leaves.capacity() * size_of::<Pooled<Leaf<K, V>>>()
            + self.router.bytes()
    }

    /// Asserts every invariant of the node and its leaves.
    pub(super) fn check(&self) {
        let count = self.leaves.len();
        assert!(0 < count && count <= leaves_max::<K>() && self.separators.len() == count);
        self.router.check(&self.separators);
        assert!(self.separators.is_sorted());
        for (at, leaf) in self.leaves.iter().enumerate() {
            leaf.check();
            let (first, last) = leaf.ends();
            assert_eq!(self.route::<Plain>(K::ref_view(&first)), at);
            assert_eq!(self.route::<Plain>(K::ref_view(&last)), at);
        }
    }
}

fn digest_of_rest<K: IndexKey>(rest: &K::Rest, skip: usize) -> K::Digest {
    let key = K::key_ref(K::Digest::default(), rest);
    K::digest(K::ref_view(&key), skip)
}

/// Number of separators not greater than `digest`.
#[inline(always)]
fn upper<D: Digest>(separators: &[D], digest: D) -> usize {
    let mut start = 0;
    let mut len = separators.len();
    while len > 0 {
        let half = len.div_ceil(2);
        start = std::hint::select_unpredictable(separators[start + half - 1] <= digest, start + half, start);
        len -= half;
    }
    start
}
