//! Exact search among the cores of a million pictures: multi-index hashing.
//!
//! The first 48 bits of a hash are three slots of 16. Of two codes at most 4 bits apart, the first or the second slot
//! differs in at most one bit, or the third in none (2 + 2 + 1 differing bits would be 5). So for each slot there is a
//! table of the codes by what the slot holds, and a search looks at 17 + 17 + 1 places of these tables.

use super::Fingerprint;

/// Two codes at most this far apart are candidates.
pub(super) const CODE_DISTANCE: u32 = 4;
/// Bits of a hash that are its code: the lowest frequencies.
pub(super) const CODE_BITS: u32 = 48;

/// How many bits each slot may differ in.
const SLACK: [u32; 3] = [1, 1, 0];
const PLACES: usize = 1 << 16;

/// What of a picture the index holds: the codes of its core, upright and mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    /// Of the core.
    pub core: u64,
    /// Of the mirrored core.
    pub mirrored: u64,
}

/// The codes of one slot by what the slot holds: those at `starts[value]..starts[value + 1]`.
#[derive(Debug, Clone)]
struct Table {
    starts: Vec<u32>,
    /// The other two slots.
    rests: Vec<u32>,
    /// Twice the place of the key, and one more for a mirrored core.
    owners: Vec<u32>,
}

/// The codes of pictures by their keys: 56 bytes a picture and less than a mebibyte beside them.
#[derive(Debug, Clone)]
pub struct Index<K> {
    keys: Vec<K>,
    tables: [Table; 3],
}

impl<K: Copy + Ord> Index<K> {
    /// An index over these; more than two thousand million are not looked at.
    pub fn new(entries: impl IntoIterator<Item = (K, Codes)>) -> Self {
        let (keys, codes): (Vec<K>, Vec<[u64; 2]>) = entries
            .into_iter()
            .take(u32::MAX as usize / 2)
            .map(|(key, codes)| (key, [codes.core, codes.mirrored]))
            .unzip();
        let codes: Vec<u64> = codes.into_flattened();
        Index {
            keys,
            tables: std::array::from_fn(|slot| Table::new(&codes, slot)),
        }
    }

    /// The keys of every picture of which the code of a core, upright or mirrored, is at most [`CODE_DISTANCE`] bits
    /// from that of a window of this one; sorted.
    pub fn candidates(&self, print: &Fingerprint) -> Vec<K> {
        let mut codes: Vec<u64> = print.window_codes().collect();
        codes.sort_unstable();
        codes.dedup();
        let mut owners = Vec::new();
        search_fast(&self.tables, &codes, &mut owners);
        let mut keys: Vec<K> = owners.into_iter().map(|owner| self.keys[owner as usize / 2]).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

impl Table {
    fn new(codes: &[u64], slot: usize) -> Table {
        let mut starts = vec![0u32; PLACES + 1];
        for code in codes {
            starts[split(*code, slot).0 as usize + 1] += 1;
        }
        for place in 0..PLACES {
            starts[place + 1] += starts[place];
        }
        let mut next = starts.clone();
        let (mut rests, mut owners) = (vec![0; codes.len()], vec![0; codes.len()]);
        for (owner, code) in (0u32..).zip(codes) {
            let (value, rest) = split(*code, slot);
            let at = &mut next[value as usize];
            rests[*at as usize] = rest;
            owners[*at as usize] = owner;
            *at += 1;
        }
        Table { starts, rests, owners }
    }

    /// Adds the owners of the codes that hold `value` in this slot and differ from `rest` in at most `distance` bits.
    #[inline(always)]
    fn near(&self, value: u16, rest: u32, distance: u32, owners: &mut Vec<u32>) {
        let range = self.starts[value as usize] as usize..self.starts[value as usize + 1] as usize;
        let rests = &self.rests[range.clone()];
        // Nearly always there is none, and counting is what vector instructions do best.
        let hits: u32 = rests
            .iter()
            .map(|other| u32::from((other ^ rest).count_ones() <= distance))
            .sum();
        if hits > 0 {
            let near = rests.iter().zip(&self.owners[range]);
            owners.extend(
                near.filter(|(other, _)| (*other ^ rest).count_ones() <= distance)
                    .map(|(_, owner)| owner),
            );
        }
    }
}

/// The owners of the codes at most [`CODE_DISTANCE`] from any of these.
#[inline(always)]
fn search(tables: &[Table; 3], codes: &[u64], owners: &mut Vec<u32>) {
    for (slot, table) in tables.iter().enumerate() {
        for code in codes {
            let (value, rest) = split(*code, slot);
            table.near(value, rest, CODE_DISTANCE, owners);
            if SLACK[slot] == 1 {
                for bit in 0..16 {
                    table.near(value ^ (1 << bit), rest, CODE_DISTANCE - 1, owners);
                }
            }
        }
    }
}

/// [`search`] with the instructions that this processor counts bits by.
fn search_fast(tables: &[Table; 3], codes: &[u64], owners: &mut Vec<u32>) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq,avx2,popcnt")]
        fn wide(tables: &[Table; 3], codes: &[u64], owners: &mut Vec<u32>) {
            search(tables, codes, owners);
        }
        #[target_feature(enable = "avx2,popcnt")]
        fn medium(tables: &[Table; 3], codes: &[u64], owners: &mut Vec<u32>) {
            search(tables, codes, owners);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vpopcntdq")
            {
                // SAFETY: the processor has just said that it has these features.
                return unsafe { wide(tables, codes, owners) };
            }
            // SAFETY: the processor has just said that it has these features.
            return unsafe { medium(tables, codes, owners) };
        }
    }
    search(tables, codes, owners);
}

/// A code as what one slot holds, and the other two.
fn split(code: u64, slot: usize) -> (u16, u32) {
    let [a, b, c] = [code as u16, (code >> 16) as u16, (code >> 32) as u16];
    let (value, high, low) = match slot {
        0 => (a, b, c),
        1 => (b, a, c),
        _ => (c, a, b),
    };
    (value, u32::from(high) << 16 | u32::from(low))
}
