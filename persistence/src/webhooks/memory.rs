//! Webhooks of a process that keeps nothing.

use super::{Attempted, Changed, Delivery, Kept, SubscriptionRecord, WebhookId, WebhookStore};
use async_trait::async_trait;
use domain::ports::StoreError;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Subscriptions and deliveries in this process, for as long as it runs.
#[derive(Default)]
pub struct MemoryWebhooks(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    subscriptions: BTreeMap<WebhookId, SubscriptionRecord>,
    deliveries: BTreeMap<String, Delivery>,
}

impl Contents {
    fn version(&self, id: &WebhookId) -> u64 {
        self.subscriptions.get(id).map_or(0, |record| record.version)
    }

    fn waiting(&self, id: &WebhookId) -> impl Iterator<Item = &Delivery> {
        let own = move |delivery: &&Delivery| delivery.subscription == *id && delivery.dead_at.is_none();
        self.deliveries.values().filter(own)
    }
}

impl MemoryWebhooks {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl WebhookStore for MemoryWebhooks {
    async fn subscriptions(&self) -> Result<Vec<SubscriptionRecord>, StoreError> {
        Ok(self.contents().subscriptions.values().cloned().collect())
    }

    async fn put(
        &self,
        id: &WebhookId,
        settings: &str,
        expected: u64,
        count_max: usize,
    ) -> Result<Changed, StoreError> {
        let mut contents = self.contents();
        let version = contents.version(id);
        if version != expected {
            return Ok(Changed::Conflict(version));
        }
        if version == 0 && contents.subscriptions.len() >= count_max {
            return Ok(Changed::Full);
        }
        let record = SubscriptionRecord {
            id: id.clone(),
            version: version + 1,
            settings: settings.to_owned(),
        };
        contents.subscriptions.insert(id.clone(), record);
        Ok(Changed::Done(version + 1))
    }

    async fn remove(&self, id: &WebhookId, expected: u64) -> Result<Changed, StoreError> {
        let mut contents = self.contents();
        let version = contents.version(id);
        if version != expected || version == 0 {
            return Ok(Changed::Conflict(version));
        }
        contents.subscriptions.remove(id);
        contents.deliveries.retain(|_, delivery| delivery.subscription != *id);
        Ok(Changed::Done(0))
    }

    async fn keep(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        let mut contents = self.contents();
        for delivery in deliveries {
            if contents.subscriptions.contains_key(&delivery.subscription) {
                let entry = contents.deliveries.entry(delivery.id.clone());
                entry.or_insert_with(|| delivery.clone());
            }
        }
        Ok(())
    }

    async fn update(&self, attempted: &[Attempted]) -> Result<(), StoreError> {
        let mut contents = self.contents();
        for Attempted { delivery, claim } in attempted {
            let known = contents.deliveries.get_mut(&delivery.id);
            if let Some(known) = known.filter(|known| known.next_at == *claim && known.dead_at.is_none()) {
                known.attempts = delivery.attempts;
                known.next_at = delivery.next_at;
                known.dead_at = delivery.dead_at;
                known.error.clone_from(&delivery.error);
            }
        }
        Ok(())
    }

    async fn forget(&self, ids: &[&str]) -> Result<(), StoreError> {
        let mut contents = self.contents();
        for id in ids {
            contents.deliveries.remove(*id);
        }
        Ok(())
    }

    async fn claim(&self, id: &WebhookId, now: i64, until: i64, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let mut contents = self.contents();
        let mut due: Vec<Delivery> = contents.waiting(id).filter(|one| one.next_at <= now).cloned().collect();
        due.sort_by(|a, b| (a.next_at, &a.id).cmp(&(b.next_at, &b.id)));
        due.truncate(limit);
        for delivery in &mut due {
            delivery.next_at = until;
            contents.deliveries.insert(delivery.id.clone(), delivery.clone());
        }
        Ok(due)
    }

    async fn next_due(&self, id: &WebhookId) -> Result<Option<i64>, StoreError> {
        Ok(self.contents().waiting(id).map(|delivery| delivery.next_at).min())
    }

    async fn dead(
        &self,
        of: Option<&WebhookId>,
        after: Option<(&WebhookId, &str)>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let contents = self.contents();
        let wanted = |delivery: &&Delivery| {
            let place = (&delivery.subscription, delivery.id.as_str());
            delivery.dead_at.is_some()
                && of.is_none_or(|of| *of == delivery.subscription)
                && after.is_none_or(|after| place > after)
        };
        let mut dead: Vec<Delivery> = contents.deliveries.values().filter(wanted).cloned().collect();
        dead.sort_by(|a, b| (&a.subscription, &a.id).cmp(&(&b.subscription, &b.id)));
        dead.truncate(limit);
        Ok(dead)
    }

    async fn replay(&self, id: &str, now: i64) -> Result<Option<WebhookId>, StoreError> {
        let mut contents = self.contents();
        let dead = contents.deliveries.get_mut(id).filter(|one| one.dead_at.is_some());
        Ok(dead.map(|delivery| {
            delivery.dead_at = None;
            delivery.attempts = 0;
            delivery.next_at = now;
            delivery.subscription.clone()
        }))
    }

    async fn purge(&self, before: i64) -> Result<u64, StoreError> {
        let mut contents = self.contents();
        let held = contents.deliveries.len();
        let stays = |dead_at: Option<i64>| dead_at.is_none_or(|at| at >= before);
        contents.deliveries.retain(|_, delivery| stays(delivery.dead_at));
        Ok(u64::try_from(held - contents.deliveries.len()).unwrap_or(u64::MAX))
    }

    async fn kept(&self) -> Result<Vec<(WebhookId, Kept)>, StoreError> {
        let mut kept: BTreeMap<WebhookId, Kept> = BTreeMap::new();
        for delivery in self.contents().deliveries.values() {
            let kept = kept.entry(delivery.subscription.clone()).or_default();
            match delivery.dead_at {
                Some(_) => kept.dead += 1,
                None => kept.waiting += 1,
            }
        }
        Ok(kept.into_iter().collect())
    }
}
