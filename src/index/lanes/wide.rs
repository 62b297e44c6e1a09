//! The version for processors with AVX-512, and the only place where its instructions are named.
//!
//! Digests of 64 bits are compared eight at once; a comparison leaves a bit each in a mask, where the plain version takes four
//! conditional moves that wait for each other. An insert moves whole vectors under masks, as many as the routing says and not
//! as the fetched digests say, so that no branch has to wait for memory. Digests of 128 bits take the plain steps.

use std::arch::asm;
use std::arch::x86_64::{
    __m512i, __mmask8, _mm256_cmpgt_epi32_mask, _mm256_loadu_si256, _mm256_set1_epi32, _mm512_add_epi64, _mm512_alignr_epi64,
    _mm512_cmpeq_epu64_mask, _mm512_cmpgt_epu64_mask, _mm512_cmple_epu64_mask, _mm512_cmplt_epu64_mask, _mm512_loadu_epi64,
    _mm512_mask_storeu_epi64, _mm512_set1_epi64, _mm512_setr_epi64, _mm512_sub_epi64,
};
use std::borrow::Borrow;

use super::super::block::SLOTS;
use super::super::digest::Digest;
use super::super::key::IndexKey;
use super::super::map::LearnedIndex;
use super::super::search::{LANES, WINDOW};
use super::super::seek::Position;
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

/// Defines what is compiled with the wider instructions: safe to call with a [`Proof`].
macro_rules! entries {
    ($(fn $name:ident<K, V $(, $generic:ident: $bound:path)?>($index:ident: $self:ty, $($argument:ident: $type:ty),*) -> $output:ty { $body:expr })*) => {$(
        #[inline]
        pub(in crate::index) fn $name<K: IndexKey, V: Copy + Send $(, $generic: $bound)?>(
            _proof: Proof, $index: $self, $($argument: $type),*
        ) -> $output {
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
            fn wide<K: IndexKey, V: Copy + Send $(, $generic: $bound)?>($index: $self, $($argument: $type),*) -> $output {
                $body
            }
            // SAFETY: the processor has these features, of which there is proof.
            unsafe { wide($index, $($argument),*) }
        }
    )*};
}

entries! {
    fn get<K, V>(index: &LearnedIndex<K, V>, key: &K::View) -> Option<V> { index.get_by::<Wide>(key) }
    fn find<K, V>(index: &LearnedIndex<K, V>, key: &K::View) -> Result<Position, Position> { index.find_by::<Wide>(key) }
    fn remove<K, V>(index: &mut LearnedIndex<K, V>, key: &K::View) -> Option<V> { index.remove_by::<Wide>(key) }
    fn insert<K, V>(index: &mut LearnedIndex<K, V>, key: K, value: V) -> Option<V> { index.insert_by::<Wide>(key, value) }
    fn get_batch<K, V, Q: Borrow<K::View>>(index: &LearnedIndex<K, V>, keys: &[Q], values: &mut [Option<V>]) -> () {
        index.get_batch_by::<Wide, Q>(keys, Borrow::borrow, values)
    }
    fn get_batch_keys<K, V>(index: &LearnedIndex<K, V>, keys: &[K], values: &mut [Option<V>]) -> () {
        index.get_batch_by::<Wide, K>(keys, IndexKey::view, values)
    }
}

/// The wide version; private, so that it is used with a [`Proof`] only.
#[derive(Clone, Copy, Debug)]
struct Wide;

impl Lanes for Wide {
    #[inline(always)]
    fn greater(bounds: &[i32; LANES], quantum: i32) -> u32 {
        // SAFETY: this and the steps below run inside of `entries` alone, where the processor has the features.
        unsafe { greater(bounds, quantum) }
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
        (count < WORDS || start + WORDS == separators.len()).then_some(start + count)
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
            Some(words) if size_of::<V>() == 8 || size_of::<V>() == 4 => {
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
            Some(words) if size_of::<V>() == 8 || size_of::<V>() == 4 => {
                assert!(start <= slot && slot < len && len <= SLOTS);
                // SAFETY: as above; and the slots are inside of the arrays.
                unsafe { close(words, values, start, slot, len) };
                digests[len - 1] = D::MAX;
            }
            _ => Plain::close((digests, values), start, slot, len),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn greater(bounds: &[i32; LANES], quantum: i32) -> u32 {
    // SAFETY: the load reads the eight bounds.
    let bounds = unsafe { _mm256_loadu_si256(bounds.as_ptr().cast()) };
    u32::from(_mm256_cmpgt_epi32_mask(bounds, _mm256_set1_epi32(quantum)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn load(words: &[u64; WORDS]) -> __m512i {
    // SAFETY: the load reads the eight words.
    unsafe { _mm512_loadu_epi64(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn not_greater(words: &[u64; WORDS], probe: u64) -> u8 {
    // SAFETY: the caller has the features.
    _mm512_cmple_epu64_mask(unsafe { load(words) }, _mm512_set1_epi64(probe as i64))
}

/// The two vectors of a window.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn halves(window: &[u64; WINDOW]) -> (__m512i, __m512i) {
    const { assert!(WINDOW == 2 * WORDS) };
    // SAFETY: both loads are inside of the window.
    unsafe { (_mm512_loadu_epi64(window.as_ptr().cast()), _mm512_loadu_epi64(window.as_ptr().add(WORDS).cast())) }
}

/// One bit for each word below `probe`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn below(window: &[u64; WINDOW], probe: u64) -> u32 {
    let probe = _mm512_set1_epi64(probe as i64);
    // SAFETY: the caller has the features.
    let (low, high) = unsafe { halves(window) };
    u32::from(_mm512_cmplt_epu64_mask(low, probe)) | u32::from(_mm512_cmplt_epu64_mask(high, probe)) << WORDS
}

/// One bit for each word equal to `probe`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn equal(window: &[u64; WINDOW], probe: u64) -> u32 {
    let probe = _mm512_set1_epi64(probe as i64);
    // SAFETY: the caller has the features.
    let (low, high) = unsafe { halves(window) };
    u32::from(_mm512_cmpeq_epu64_mask(low, probe)) | u32::from(_mm512_cmpeq_epu64_mask(high, probe)) << WORDS
}

/// The numbers of eight slots.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn slots_from(first: usize) -> __m512i {
    _mm512_add_epi64(_mm512_set1_epi64(first as i64), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7))
}

/// Moves what is at `slot` and behind one further, in digests and values, eight at a time from the end to where the eight of
/// `start` are. Only the masks depend on `slot`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn open<V>(digests: &mut [u64; SLOTS], values: &mut [V; SLOTS], start: usize, slot: usize, len: usize) {
    let (digests, values) = (digests.as_mut_ptr(), values.as_mut_ptr());
    let (first, mut at) = (start / WORDS * WORDS, len / WORDS * WORDS);
    // SAFETY: `first <= at < SLOTS` and both are multiples of eight, so that all vectors are inside of the arrays, but for what
    // masks leave out: slot 0 takes nothing.
    unsafe {
        let slot = _mm512_set1_epi64(slot as i64);
        let mut slots = slots_from(at);
        let mut held = _mm512_loadu_epi64(digests.add(at).cast());
        loop {
            let moved = _mm512_cmpgt_epu64_mask(slots, slot);
            let before = _mm512_loadu_epi64(digests.add(if at > first { at - WORDS } else { at }).cast());
            _mm512_mask_storeu_epi64(digests.add(at).cast(), moved, _mm512_alignr_epi64::<7>(held, before));
            take_from_before(values.add(at), moved);
            if at == first {
                break;
            }
            held = before;
            slots = _mm512_sub_epi64(slots, _mm512_set1_epi64(WORDS as i64));
            at -= WORDS;
        }
    }
}

/// Each of the eight values that `mask` names becomes the one before it. In assembly, because a value may have bytes that hold nothing.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn take_from_before<V>(values: *mut V, mask: __mmask8) {
    // SAFETY: the caller's values are there where the mask is set, and nothing else is touched.
    unsafe {
        if size_of::<V>() == 8 {
            asm!("vmovdqu64 {held}{{{mask}}}{{z}}, [{values} - 8]", "vmovdqu64 [{values}]{{{mask}}}, {held}",
                values = in(reg) values, mask = in(kreg) mask, held = out(zmm_reg) _, options(nostack, preserves_flags));
        } else {
            asm!("vmovdqu32 {held:y}{{{mask}}}{{z}}, [{values} - 4]", "vmovdqu32 [{values}]{{{mask}}}, {held:y}",
                values = in(reg) values, mask = in(kreg) mask, held = out(ymm_reg) _, options(nostack, preserves_flags));
        }
    }
}

/// Moves what is behind `slot` back by one, in digests and values, eight at a time from where those of `start` are to the end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn close<V>(digests: &mut [u64; SLOTS], values: &mut [V; SLOTS], start: usize, slot: usize, len: usize) {
    let (digests, values) = (digests.as_mut_ptr(), values.as_mut_ptr());
    let (mut at, last) = (start / WORDS * WORDS, (len - 1) / WORDS * WORDS);
    // SAFETY: `at <= last < SLOTS` and both are multiples of eight, so that all vectors are inside of the arrays, but for what
    // masks leave out: the last slot takes nothing.
    unsafe {
        // Slots from `slot` to before the last one, counted from `slot` on, in one comparison.
        let mut slots = _mm512_sub_epi64(slots_from(at), _mm512_set1_epi64(slot as i64));
        let moving = _mm512_set1_epi64((SLOTS - 1 - slot) as i64);
        let mut held = _mm512_loadu_epi64(digests.add(at).cast());
        loop {
            let moved = _mm512_cmplt_epu64_mask(slots, moving);
            let behind = _mm512_loadu_epi64(digests.add(if at < SLOTS - WORDS { at + WORDS } else { at }).cast());
            _mm512_mask_storeu_epi64(digests.add(at).cast(), moved, _mm512_alignr_epi64::<1>(behind, held));
            take_from_behind(values.add(at), moved);
            if at == last {
                break;
            }
            held = behind;
            slots = _mm512_add_epi64(slots, _mm512_set1_epi64(WORDS as i64));
            at += WORDS;
        }
    }
}

/// Each of the eight values that `mask` names becomes the one behind it. See [`take_from_before`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn take_from_behind<V>(values: *mut V, mask: __mmask8) {
    // SAFETY: the caller's values are there where the mask is set, and nothing else is touched.
    unsafe {
        if size_of::<V>() == 8 {
            asm!("vmovdqu64 {held}{{{mask}}}{{z}}, [{values} + 8]", "vmovdqu64 [{values}]{{{mask}}}, {held}",
                values = in(reg) values, mask = in(kreg) mask, held = out(zmm_reg) _, options(nostack, preserves_flags));
        } else {
            asm!("vmovdqu32 {held:y}{{{mask}}}{{z}}, [{values} + 4]", "vmovdqu32 [{values}]{{{mask}}}, {held:y}",
                values = in(reg) values, mask = in(kreg) mask, held = out(ymm_reg) _, options(nostack, preserves_flags));
        }
    }
}
