//! How a checkpoint's manifest records which core owned which tablet, so that a restart finds rows where they were.
//!
//! Layout, little-endian: for each storage its id u32 and the length u32 of what follows: count u32, then for each tablet in key order: core u16, kind of lower end u8 (0 none, 1 integer,
//! 2 bytes), and for 1 an i64, for 2 a u32 length and the bytes.

use std::collections::BTreeMap;

use crate::base::{CoreId, StorageId};
use crate::shard::range_map::{RangeMap, StorageMap};
use crate::storage::Key;

/// A tablet's lower end and owner.
pub(super) type Placed = (Option<Key>, CoreId);

/// Bytes the routes may take in a manifest. A server can do without them: it then balances anew.
const BYTES_MAX: usize = 1 << 20;

/// Encodes the routes of all storages; nothing if they would be too long.
pub(super) fn encode_all_routes(ranges: &RangeMap) -> Vec<u8> {
    let mut storages: Vec<_> = ranges.storages().collect();
    storages.sort_by_key(|(storage, _)| *storage);
    let mut out = Vec::new();
    for (storage, map) in storages {
        let routes = encode_routes(map);
        out.extend_from_slice(&storage.0.to_le_bytes());
        out.extend_from_slice(&u32::try_from(routes.len()).expect("routes are far below 4 GiB").to_le_bytes());
        out.extend_from_slice(&routes);
    }
    if out.len() > BYTES_MAX { Vec::new() } else { out }
}

/// Decodes the routes of all storages.
pub(super) fn decode_all_routes(mut bytes: &[u8]) -> Result<BTreeMap<StorageId, Vec<Placed>>, String> {
    let mut all = BTreeMap::new();
    while !bytes.is_empty() {
        let storage = StorageId(u32::from_le_bytes(take(&mut bytes)?));
        let len = u32::from_le_bytes(take(&mut bytes)?) as usize;
        let (routes, rest) = bytes.split_at_checked(len).ok_or("a checkpoint's tablets are cut short")?;
        bytes = rest;
        all.insert(storage, decode_routes(routes)?);
    }
    Ok(all)
}

/// Encodes a storage's routes.
fn encode_routes(map: &StorageMap) -> Vec<u8> {
    let mut out = Vec::new();
    let count = u32::try_from(map.routes().len()).expect("tablets are bounded by memory");
    out.extend_from_slice(&count.to_le_bytes());
    for route in map.routes() {
        out.extend_from_slice(&route.core.0.to_le_bytes());
        match &route.lower {
            None => out.push(0),
            Some(Key::Int(lower)) => {
                out.push(1);
                out.extend_from_slice(&lower.to_le_bytes());
            }
            Some(Key::Bytes(lower)) => {
                out.push(2);
                out.extend_from_slice(&u32::try_from(lower.len()).expect("keys are bounded").to_le_bytes());
                out.extend_from_slice(lower);
            }
        }
    }
    out
}

/// Decodes a storage's routes: lower ends, strictly ascending after a first open one, and owners.
fn decode_routes(mut bytes: &[u8]) -> Result<Vec<Placed>, String> {
    let count = u32::from_le_bytes(take(&mut bytes)?);
    let mut routes: Vec<Placed> = Vec::new();
    for i in 0..count {
        let core = CoreId(u16::from_le_bytes(take(&mut bytes)?));
        let [kind] = take(&mut bytes)?;
        let lower = match kind {
            0 => None,
            1 => Some(Key::Int(i64::from_le_bytes(take(&mut bytes)?))),
            2 => {
                let len = u32::from_le_bytes(take(&mut bytes)?) as usize;
                let (key, rest) = bytes.split_at_checked(len).ok_or("a tablet's lower end is cut short")?;
                bytes = rest;
                Some(Key::Bytes(key.into()))
            }
            other => return Err(format!("a tablet's lower end has the unknown kind {other}")),
        };
        let in_order = if i == 0 { lower.is_none() } else { routes.last().is_some_and(|(last, _)| *last < lower) };
        if !in_order {
            return Err("a checkpoint's tablets are out of order".into());
        }
        routes.push((lower, core));
    }
    if bytes.is_empty() { Ok(routes) } else { Err("bytes follow the last tablet".into()) }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, rest) = bytes.split_at_checked(N).ok_or("a checkpoint's tablets are cut short")?;
    *bytes = rest;
    Ok(head.try_into().expect("the split gave N bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TabletId;
    use crate::shard::range_map::Route;
    use crate::storage::KeyKind;
    use proptest::prelude::*;

    #[test]
    fn routes_survive_and_garbage_is_refused() {
        let route = |lower: Option<&[u8]>, core| Route {
            lower: lower.map(|l| Key::Bytes(l.into())),
            tablet: TabletId(1),
            core: CoreId(core),
        };
        let map = StorageMap::new(KeyKind::Bytes, vec![route(None, 0), route(Some(b"k"), 3)]);
        let bytes = encode_routes(&map);
        assert_eq!(decode_routes(&bytes), Ok(vec![(None, CoreId(0)), (Some(Key::Bytes((*b"k").into())), CoreId(3))]));
        for cut in 0..bytes.len() {
            assert!(decode_routes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_routes(&bytes);
            let _ = decode_all_routes(&bytes);
        }
    }
}
