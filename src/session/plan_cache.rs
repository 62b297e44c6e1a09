//! Plans of texts that come again: least recently used ones go first, and there is a bound on how many stay.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::session::prepared::Prepared;
use crate::types::SqlType;

/// Plans kept for one kind of text.
pub const PLANS_MAX: usize = 128;

/// Longer texts are not kept: they are bulk loads and migrations, which do not come again.
pub const TEXT_BYTES_MAX: usize = 8 << 10;

#[derive(Debug)]
struct Slot {
    prepared: Arc<Prepared>,
    /// The types of parameters that were declared for it.
    declared: Box<[SqlType]>,
    used: u64,
}

/// A bounded map from text (as it is, or in normal form) to plan.
#[derive(Debug, Default)]
pub struct PlanCache {
    plans: FxHashMap<Box<str>, Slot>,
    clock: u64,
}

impl PlanCache {
    /// The plan for a text with these declared types of parameters, if it is still good.
    #[inline]
    pub fn get(&mut self, text: &str, declared: &[SqlType], catalog_version: u64, plan_epoch: u64) -> Option<&Arc<Prepared>> {
        self.find(text, catalog_version, plan_epoch, |slot| *slot.declared == *declared)
    }

    /// The plan for a text whose parameters have these types, declared or not, if it is still good.
    pub fn get_typed(&mut self, text: &str, params: &[SqlType], catalog_version: u64, plan_epoch: u64) -> Option<&Arc<Prepared>> {
        self.find(text, catalog_version, plan_epoch, |slot| slot.prepared.params() == params)
    }

    #[inline]
    fn find(
        &mut self,
        text: &str,
        catalog_version: u64,
        plan_epoch: u64,
        fits: impl FnOnce(&Slot) -> bool,
    ) -> Option<&Arc<Prepared>> {
        self.clock += 1;
        let slot = self.plans.get_mut(text)?;
        if !slot.prepared.is_current(catalog_version, plan_epoch) || !fits(slot) {
            return None;
        }
        slot.used = self.clock;
        Some(&slot.prepared)
    }

    /// Keeps a plan, in the place of the one that has not been used for the longest time if there are too many.
    pub fn insert(&mut self, text: &str, declared: &[SqlType], prepared: Arc<Prepared>) {
        if text.len() > TEXT_BYTES_MAX {
            return;
        }
        if self.plans.len() >= PLANS_MAX && !self.plans.contains_key(text) {
            let oldest = self.plans.iter().min_by_key(|(_, slot)| slot.used).map(|(text, _)| text.clone());
            if let Some(oldest) = oldest {
                self.plans.remove(&oldest);
            }
        }
        self.clock += 1;
        self.plans.insert(text.into(), Slot { prepared, declared: declared.into(), used: self.clock });
        assert!(self.plans.len() <= PLANS_MAX, "the cache is bounded");
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.plans.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Arc<Prepared> {
        Arc::new(Prepared::new(text.into(), None, 0))
    }

    #[test]
    fn what_is_used_stays_and_there_is_a_bound() {
        let mut cache = PlanCache::default();
        for i in 0..10 * PLANS_MAX {
            cache.insert(&format!("text {i}"), &[], plan("x"));
            assert!(cache.get("text 0", &[], 1, 0).is_some(), "the plan that is used all the time is never the oldest");
        }
        assert_eq!(cache.plans.len(), PLANS_MAX);
        cache.insert(&"long".repeat(TEXT_BYTES_MAX), &[], plan("x"));
        assert_eq!(cache.plans.len(), PLANS_MAX);
        assert!(cache.get("text 0", &[SqlType::Int4], 1, 0).is_none(), "with other types it is another statement");
        cache.clear();
        assert!(cache.get("text 0", &[], 1, 0).is_none());
    }
}
