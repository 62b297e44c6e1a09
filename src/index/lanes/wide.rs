//! The version for processors with AVX-512, and the only place where its instructions are named.
//!
//! Digests of 64 bits are compared eight at once; a comparison leaves a bit each in a mask, where the plain version takes four
//! conditional moves that wait for each other. An insert or a removal moves whole vectors under masks, as many as the routing
//! says and not as the fetched digests say, so that no branch has to wait for memory. Digests of 128 bits take the plain steps.

use std::arch::asm;
use std::arch::x86_64::{
    __m512i, __mmask8, _mm256_cmpgt_epi32_mask, _mm256_loadu_si256, _mm256_mask_storeu_epi32, _mm256_set1_epi32,
    _mm512_castsi512_si256, _mm512_cmpeq_epu64_mask, _mm512_cmpge_epu64_mask, _mm512_cmpgt_epu64_mask, _mm512_cmple_epu64_mask,
    _mm512_cmplt_epu64_mask, _mm512_loadu_epi64, _mm512_mask_cmplt_epu64_mask, _mm512_mask_storeu_epi64,
    _mm512_maskz_loadu_epi64, _mm512_set1_epi64,
};
use std::borrow::Borrow;

use super::super::block::SLOTS;
use super::super::digest::Digest;
use super::super::key::IndexKey;
use super::super::map::LearnedIndex;
use super::super::search::{LANES, WINDOW};
use super::{Lanes, Plain};

/// 64-bit lanes of a vector.
const WORDS: usize = 8;

/// That the processor has every feature named in this module: only `detect` makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::index) struct Proof(());

impl Proof {
    /// A proof, where there is one.
    pub(in crate::index) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        has.then_some(Self(()))
    }
}

/// Compiles functions with the wider instructions.
macro_rules! with_vectors {
    ($($function:item)*) => {$(
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
        $function
    )*};
}

/// Defines operations that are compiled with the wider instructions from end to end, and are safe to call with a [`Proof`].
macro_rules! entries {
    ($(fn $name:ident<K, V $(, $generic:ident: $bound:path)?>($index:ident: $self:ty, $($argument:ident: $type:ty),*) -> $output:ty { $body:expr })*) => {$(
        #[inline]
        pub(in crate::index) fn $name<K: IndexKey, V: Copy + Send $(, $generic: $bound)?>(
            _proof: Proof, $index: $self, $($argument: $type),*
        ) -> $output {
            with_vectors! {
                fn wide<K: IndexKey, V: Copy + Send $(, $generic: $bound)?>($index: $self, $($argument: $type),*) -> $output {
                    $body
                }
            }
            // SAFETY: the processor has these features, of which there is proof.
            unsafe { wide($index, $($argument),*) }
        }
    )*};
}

entries! {
    fn get<K, V>(index: &LearnedIndex<K, V>, key: &K::View) -> Option<V> { index.get_by::<Wide>(key) }
    fn remove<K, V>(index: &mut LearnedIndex<K, V>, key: &K::View) -> Option<V> { index.remove_by::<Wide>(key) }
    fn insert<K, V>(index: &mut LearnedIndex<K, V>, key: K, value: V) -> Option<V> { index.insert_by::<Wide>(key, value) }
    fn get_batch<K, V, Q: Borrow<K::View>>(index: &LearnedIndex<K, V>, keys: &[Q], values: &mut [Option<V>]) -> () {
        index.get_batch_by::<Wide, Q>(keys, Borrow::borrow, values)
    }
    fn get_batch_keys<K, V>(index: &LearnedIndex<K, V>, keys: &[K], values: &mut [Option<V>]) -> () {
        index.get_batch_by::<Wide, K>(keys, IndexKey::view, values)
    }
}

/// The wide version. Whoever names it has a [`Proof`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide;

impl Lanes for Wide {
    #[inline(always)]
    fn greater(bounds: &[i32; LANES], quantum: i32) -> u32 {
        // SAFETY: this and the steps below run where there is proof that the processor has the features.
        unsafe { greater(bounds, quantum) }
    }

    #[inline(always)]
    fn reads_at_once<D: Digest, V: Copy>() -> bool {
        size_of::<D>() == 8 && (size_of::<V>() == 8 || size_of::<V>() == 4)
    }

    #[inline(always)]
    fn upper_among_few<D: Digest>(separators: &[D], start: usize, digest: D) -> Option<usize> {
        let Some((separators, digest)) = D::words(separators).zip(digest.word()) else {
            return Plain::upper_among_few(separators, start, digest);
        };
        if separators.len() < WORDS {
            return None;
        }
        // Those before `start` are not greater, so that the last few do as well as fewer.
        let start = start.min(separators.len() - WORDS);
        let few = separators[start..].first_chunk()?;
        // SAFETY: as above.
        let count = unsafe { not_greater(few, digest) }.trailing_ones() as usize;
        if count < WORDS {
            return Some(start + count);
        }
        (start + WORDS == separators.len()).then_some(start + count)
    }

    #[inline(always)]
    fn below_in_window<D: Digest>(window: &[D; WINDOW], digest: D) -> usize {
        match D::words(window).and_then(|words| words.first_chunk()).zip(digest.word()) {
            // SAFETY: as above.
            Some((window, digest)) => unsafe { below(window, digest) }.trailing_ones() as usize,
            None => Plain::below_in_window(window, digest),
        }
    }

    #[inline(always)]
    fn place_in_window<D: Digest>(window: &[D; WINDOW], digest: D) -> Option<usize> {
        match D::words(window).and_then(|words| words.first_chunk()).zip(digest.word()) {
            Some((window, digest)) => {
                // SAFETY: as above.
                let equal = unsafe { equal(window, digest) };
                (equal != 0).then_some(equal.trailing_zeros() as usize % WINDOW)
            }
            None => Plain::place_in_window(window, digest),
        }
    }

    #[inline(always)]
    fn open<D: Digest, V: Copy>(
        (digests, values): (&mut [D; SLOTS], &mut [V; SLOTS]),
        start: usize,
        slot: usize,
        len: usize,
        (digest, value): (D, V),
    ) {
        match D::words_mut(digests).and_then(|words| words.first_chunk_mut()) {
            Some(words) if Self::reads_at_once::<D, V>() => {
                assert!(start <= slot && slot <= len && len < SLOTS);
                // SAFETY: as above; and the slots are inside of the arrays.
                unsafe { open(words, values, start, slot, len) };
                digests[slot] = digest;
                values[slot] = value;
            }
            _ => Plain::open((digests, values), start, slot, len, (digest, value)),
        }
    }

    #[inline(always)]
    fn close<D: Digest, V: Copy>((digests, values): (&mut [D; SLOTS], &mut [V; SLOTS]), start: usize, slot: usize, len: usize) {
        match D::words_mut(digests).and_then(|words| words.first_chunk_mut()) {
            Some(words) if Self::reads_at_once::<D, V>() => {
                assert!(start <= slot && slot < len && len <= SLOTS);
                // SAFETY: as above; and the slots are inside of the arrays.
                unsafe { close(words, values, start, slot, len) };
                digests[len - 1] = D::MAX;
            }
            _ => Plain::close((digests, values), start, slot, len),
        }
    }
}

/// The numbers of all slots.
static NUMBERS: [u64; SLOTS] = {
    let mut numbers = [0; SLOTS];
    let mut slot = 0;
    while slot < SLOTS {
        numbers[slot] = slot as u64;
        slot += 1;
    }
    numbers
};

with_vectors! {
    unsafe fn greater(bounds: &[i32; LANES], quantum: i32) -> u32 {
        // SAFETY: the load reads the eight bounds.
        let bounds = unsafe { _mm256_loadu_si256(bounds.as_ptr().cast()) };
        u32::from(_mm256_cmpgt_epi32_mask(bounds, _mm256_set1_epi32(quantum)))
    }

    unsafe fn load(words: &[u64; WORDS]) -> __m512i {
        // SAFETY: the load reads the eight words.
        unsafe { _mm512_loadu_epi64(words.as_ptr().cast()) }
    }

    unsafe fn not_greater(words: &[u64; WORDS], probe: u64) -> u8 {
        // SAFETY: the caller has the features.
        _mm512_cmple_epu64_mask(unsafe { load(words) }, _mm512_set1_epi64(probe as i64))
    }

    /// The two vectors of a window.
    unsafe fn halves(window: &[u64; WINDOW]) -> (__m512i, __m512i) {
        const { assert!(WINDOW == 2 * WORDS) };
        // SAFETY: both loads are inside of the window.
        unsafe { (_mm512_loadu_epi64(window.as_ptr().cast()), _mm512_loadu_epi64(window.as_ptr().add(WORDS).cast())) }
    }

    /// One bit for each word below `probe`.
    unsafe fn below(window: &[u64; WINDOW], probe: u64) -> u32 {
        let probe = _mm512_set1_epi64(probe as i64);
        // SAFETY: the caller has the features.
        let (low, high) = unsafe { halves(window) };
        u32::from(_mm512_cmplt_epu64_mask(low, probe)) | u32::from(_mm512_cmplt_epu64_mask(high, probe)) << WORDS
    }

    /// One bit for each word equal to `probe`.
    unsafe fn equal(window: &[u64; WINDOW], probe: u64) -> u32 {
        let probe = _mm512_set1_epi64(probe as i64);
        // SAFETY: the caller has the features.
        let (low, high) = unsafe { halves(window) };
        u32::from(_mm512_cmpeq_epu64_mask(low, probe)) | u32::from(_mm512_cmpeq_epu64_mask(high, probe)) << WORDS
    }

    /// Eight values, whatever their bytes hold: in assembly, because some of them may hold nothing.
    unsafe fn load_values<V>(values: *const V) -> __m512i {
        let held: __m512i;
        // SAFETY: the caller has eight values there.
        unsafe {
            if size_of::<V>() == 8 {
                asm!("vmovdqu64 {held}, [{values}]", values = in(reg) values, held = out(zmm_reg) held,
                    options(nostack, preserves_flags, readonly));
            } else {
                asm!("vmovdqu {held:y}, [{values}]", values = in(reg) values, held = out(zmm_reg) held,
                    options(nostack, preserves_flags, readonly));
            }
        }
        held
    }

    /// The same of those that `mask` names; reads no others.
    unsafe fn load_some_values<V>(values: *const V, mask: __mmask8) -> __m512i {
        let held: __m512i;
        // SAFETY: the caller has values there.
        unsafe {
            if size_of::<V>() == 8 {
                asm!("vmovdqu64 {held}{{{mask}}}{{z}}, [{values}]", values = in(reg) values, mask = in(kreg) mask, held = out(zmm_reg) held,
                    options(nostack, preserves_flags, readonly));
            } else {
                asm!("vmovdqu32 {held:y}{{{mask}}}{{z}}, [{values}]", values = in(reg) values, mask = in(kreg) mask,
                    held = out(zmm_reg) held, options(nostack, preserves_flags, readonly));
            }
        }
        held
    }

    /// Stores the values that `mask` names.
    unsafe fn store_values<V>(values: *mut V, mask: __mmask8, held: __m512i) {
        // SAFETY: the caller has values there.
        unsafe {
            if size_of::<V>() == 8 {
                _mm512_mask_storeu_epi64(values.cast(), mask, held);
            } else {
                _mm256_mask_storeu_epi32(values.cast(), mask, _mm512_castsi512_si256(held));
            }
        }
    }

    /// Moves what is at `slot` and behind one further, in digests and values, eight at a time from the end to where the eight of
    /// `start` are. Only masks depend on `slot`; all reads but the last begin without them.
    unsafe fn open<V>(digests: &mut [u64; SLOTS], values: &mut [V; SLOTS], start: usize, slot: usize, len: usize) {
        let (digests, values) = (digests.as_mut_ptr(), values.as_mut_ptr());
        let (first, mut at) = (start / WORDS * WORDS, len / WORDS * WORDS);
        // SAFETY: `first <= at < SLOTS` and both are multiples of eight, so that all vectors are inside of the arrays, but for slot 0
        // of the last, which takes nothing.
        unsafe {
            let slot = _mm512_set1_epi64(slot as i64);
            while at > first {
                let moved = _mm512_cmpgt_epu64_mask(_mm512_loadu_epi64(NUMBERS.as_ptr().add(at).cast()), slot);
                let digests_before = _mm512_loadu_epi64(digests.add(at - 1).cast());
                let values_before = load_values(values.add(at - 1));
                _mm512_mask_storeu_epi64(digests.add(at).cast(), moved, digests_before);
                store_values(values.add(at), moved, values_before);
                at -= WORDS;
            }
            let moved = _mm512_cmpgt_epu64_mask(_mm512_loadu_epi64(NUMBERS.as_ptr().add(at).cast()), slot);
            let digests_before = _mm512_maskz_loadu_epi64(moved, digests.add(at).wrapping_sub(1).cast());
            let values_before = load_some_values(values.add(at).wrapping_sub(1), moved);
            _mm512_mask_storeu_epi64(digests.add(at).cast(), moved, digests_before);
            store_values(values.add(at), moved, values_before);
        }
    }

    /// Moves what is behind `slot` back by one, in digests and values, eight at a time from where those of `start` are to the end.
    unsafe fn close<V>(digests: &mut [u64; SLOTS], values: &mut [V; SLOTS], start: usize, slot: usize, len: usize) {
        let (digests, values) = (digests.as_mut_ptr(), values.as_mut_ptr());
        let (mut at, last) = (start / WORDS * WORDS, (len - 1) / WORDS * WORDS);
        // SAFETY: `at <= last < SLOTS` and both are multiples of eight, so that all vectors are inside of the arrays, but for the slot
        // behind all of the last, which is read where it takes something only.
        unsafe {
            let slot = _mm512_set1_epi64(slot as i64);
            while at < last {
                let moved = _mm512_cmpge_epu64_mask(_mm512_loadu_epi64(NUMBERS.as_ptr().add(at).cast()), slot);
                let digests_behind = _mm512_loadu_epi64(digests.add(at + 1).cast());
                let values_behind = load_values(values.add(at + 1));
                _mm512_mask_storeu_epi64(digests.add(at).cast(), moved, digests_behind);
                store_values(values.add(at), moved, values_behind);
                at += WORDS;
            }
            let most = _mm512_set1_epi64(len as i64 - 1);
            let numbers = _mm512_loadu_epi64(NUMBERS.as_ptr().add(at).cast());
            let moved = _mm512_mask_cmplt_epu64_mask(_mm512_cmpge_epu64_mask(numbers, slot), numbers, most);
            let digests_behind = _mm512_maskz_loadu_epi64(moved, digests.add(at + 1).cast());
            let values_behind = load_some_values(values.add(at + 1), moved);
            _mm512_mask_storeu_epi64(digests.add(at).cast(), moved, digests_behind);
            store_values(values.add(at), moved, values_behind);
        }
    }
}
