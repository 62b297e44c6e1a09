//! Every version of a step against the plainest way to say it, and indexes of every level.

use std::cell::Cell;
use std::fmt::Debug;

use super::*;

thread_local! {
    /// Whether this thread makes indexes of the plain level.
    pub(in crate::index) static PLAINLY: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test once for each level that indexes can have here.
pub(in crate::index) fn at_each_level(mut test: impl FnMut()) {
    for plainly in [true, false] {
        PLAINLY.set(plainly);
        test();
    }
}

fn steps_agree<L: Lanes>() {
    let bounds = [i32::MIN, -5, 0, 3, 4, i32::MAX - 1, i32::MAX, i32::MAX];
    for quantum in bounds.iter().flat_map(|bound| [bound.wrapping_sub(1), *bound, bound.wrapping_add(1)]) {
        let expected = bounds.iter().enumerate().map(|(lane, bound)| u32::from(*bound > quantum) << lane).sum::<u32>();
        assert_eq!(L::greater(&bounds, quantum), expected);
    }
    searches_agree::<L, u64>([0, 1, 1 << 40, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 1, u64::MAX]);
    searches_agree::<L, u128>([0, 1, 1 << 64, u128::MAX / 2, u128::MAX / 2 + 1, u128::MAX - 1, u128::MAX]);
    moves_agree::<L, u64, u64>(|i| i as u64, |i| i as u64);
    moves_agree::<L, u64, u32>(|i| i as u64, |i| i as u32);
    moves_agree::<L, u64, (u8, u32)>(|i| i as u64, |i| (i as u8, i as u32));
    moves_agree::<L, u64, [u8; 3]>(|i| i as u64, |i| [i as u8; 3]);
    moves_agree::<L, u128, u64>(|i| i as u128, |i| i as u64);
}

/// Windows and separators that hold some of `held`, ascending, each once or several times.
fn searches_agree<L: Lanes, D: Digest>(held: [D; 7]) {
    for first in 0..held.len() {
        for width in 1..=5 {
            let separators: Vec<D> = (0..21).map(|at| held[(first + at / width).min(held.len() - 1)]).collect();
            let window: [D; WINDOW] = *separators.first_chunk().expect("more separators than a window has");
            for probe in held {
                let below = window.iter().filter(|digest| **digest < probe).count();
                assert_eq!(L::below_in_window(&window, probe), below);
                let place = L::place_in_window(&window, probe);
                assert_eq!(place.is_some(), window.contains(&probe));
                assert!(place.is_none_or(|place| window[place] == probe));
                for len in 1..=separators.len() {
                    let upper = separators[..len].iter().filter(|digest| **digest <= probe).count();
                    for start in 0..=upper {
                        let found = L::upper_among_few(&separators[..len], start, probe);
                        assert!(found.is_none_or(|found| found == upper), "{found:?} of {upper}");
                    }
                }
            }
        }
    }
}

/// Moves in blocks of every length, from and to every slot.
fn moves_agree<L: Lanes, D: Digest, V: Copy + PartialEq + Debug>(digest: impl Fn(usize) -> D, value: impl Fn(usize) -> V) {
    let block = |len: usize| {
        let digests: [D; SLOTS] = std::array::from_fn(|slot| if slot < len { digest(slot * 2) } else { D::MAX });
        (digests, std::array::from_fn::<V, SLOTS, _>(|slot| value(slot * 2)))
    };
    for len in 0..=SLOTS {
        for slot in 0..=len {
            for start in [0, slot / 16 * 8, slot / 8 * 8] {
                if len < SLOTS {
                    let (mut digests, mut values) = block(len);
                    L::open((&mut digests, &mut values), start, slot, len, (digest(1), value(1)));
                    let (mut expected, mut moved) = (block(len).0.to_vec(), block(len).1.to_vec());
                    expected.insert(slot, digest(1));
                    moved.insert(slot, value(1));
                    assert_eq!(digests[..], expected[..SLOTS]);
                    assert_eq!(values[..=len], moved[..=len]);
                }
                if slot < len {
                    let (mut digests, mut values) = block(len);
                    L::close((&mut digests, &mut values), start, slot, len);
                    let (mut expected, mut moved) = (block(len).0.to_vec(), block(len).1.to_vec());
                    expected.remove(slot);
                    expected.push(D::MAX);
                    moved.remove(slot);
                    assert_eq!(digests[..], expected[..]);
                    assert_eq!(values[..len - 1], moved[..len - 1]);
                }
            }
        }
    }
}

#[test]
fn plain_steps_agree() {
    steps_agree::<Plain>();
}

/// On a processor without AVX-512 there is nothing to test.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[test]
fn wide_steps_agree() {
    if wide::Proof::detect().is_some() {
        steps_agree::<wide::Wide>();
    }
}
