//! Key sets made from a seed.

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().max(1e-300).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// Names of the integer sets, the easy three first.
pub const NAMES: [&str; 6] = ["uniform", "autoinc", "lognormal", "osm", "facebook", "bursty"];

fn spread(half: u32) -> u64 {
    let mut v = u64::from(half);
    v = (v | v << 16) & 0x0000_FFFF_0000_FFFF;
    v = (v | v << 8) & 0x00FF_00FF_00FF_00FF;
    v = (v | v << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    v = (v | v << 2) & 0x3333_3333_3333_3333;
    (v | v << 1) & 0x5555_5555_5555_5555
}

/// Distinct keys in ascending order, about `count` of them.
pub fn integers(name: &str, count: usize) -> Vec<u64> {
    let random = &mut Random(42);
    let mut keys: Vec<u64> = match name {
        "uniform" => (0..count).map(|_| random.next()).collect(),
        "autoinc" => running(count, 1, || 1 + u64::from(random.below(20) == 0) * random.below(50) as u64),
        "lognormal" => (0..count).map(|_| ((random.normal() * 2.0).exp() * 1e12) as u64).collect(),
        "osm" => {
            let centres: Vec<(f64, f64, f64)> =
                (0..2000).map(|_| (random.unit(), random.unit(), 10_f64.powf(-1.5 - 3.5 * random.unit()))).collect();
            let at = |centre: f64, width: f64, random: &mut Random| {
                ((centre + width * random.normal()).clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32
            };
            (0..count)
                .map(|_| {
                    let (x, y, width) = centres[(random.unit() * random.unit() * 2000.0) as usize];
                    spread(at(x, width, random)) | spread(at(y, width, random)) << 1
                })
                .collect()
        }
        "facebook" => {
            let mut keys = running(count - 20, 1 << 20, || 1 + ((1.0 / (1.0 - random.unit())).powf(1.6) * 50.0).min(1e11) as u64);
            keys.extend((0..20).map(|i| u64::MAX - (1 << (62 - i))));
            keys
        }
        "bursty" => {
            let mut left = 0;
            running(count, 1_600_000_000_000_000, || {
                if left == 0 {
                    left = 1 + random.below(2000);
                    return 1 + ((-random.unit().max(1e-12).ln()) * 5e8) as u64;
                }
                left -= 1;
                1 + random.below(40) as u64
            })
        }
        _ => panic!("no key set is called {name}"),
    };
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn running(count: usize, start: u64, mut gap: impl FnMut() -> u64) -> Vec<u64> {
    let mut key = start;
    (0..count)
        .map(|_| {
            key += gap();
            key
        })
        .collect()
}
