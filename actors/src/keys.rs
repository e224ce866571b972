//! Idempotency keys: one order for one key, and the first answer again for whoever asks again.

use crate::ask::{Applied, IdempotencyKey, Placed};
use crate::cluster::{Cluster, HOMES, Request, Response};
use crate::error::CallError;
use crate::node::Node;
use crate::restore::restore;
use domain::ids::{HashSlot, OrderId, Seq, StreamId};
use domain::order::Order;
use domain::ports::{ClaimRecord, KeyClaim, Recorded, StoreError, StreamKind};
use domain::rejection::Rejection;
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;

/// Until authentication brings others, everybody is this tenant.
const TENANT: &str = "default";

/// How long another node has to say whether a key is in use there.
const UNDER_WAY_MAX: Duration = Duration::from_secs(1);

/// Frees an idempotency key when its request is over.
pub(crate) struct KeyGuard<'a>(&'a Node, String);

impl Drop for KeyGuard<'_> {
    fn drop(&mut self) {
        self.0.keys_in_flight.remove(&self.1);
    }
}

/// The key of a command for an order, as it is kept: a key belongs to its order.
pub(crate) fn claim_of(order: OrderId, key: IdempotencyKey) -> KeyClaim {
    KeyClaim {
        home: None,
        key: format!("{TENANT}:{order}:{}", key.key),
        fingerprint: key.fingerprint,
    }
}

impl Node {
    /// The id of a new order, and its key as it is kept. A key belongs to the shard of its own slot, wherever it is used: that
    /// is where it is unique. Its order lives there, too, if that shard is here; else in another one of this node's, so
    /// that it need not cross a link. A node that takes no orders now leaves it to whoever has the key's shard.
    pub(crate) fn mint(&self, key: Option<&IdempotencyKey>) -> (OrderId, Option<KeyClaim>) {
        let ids = &self.ports.ids;
        let wanted = match key {
            Some(key) => HashSlot::of(&[TENANT.as_bytes(), key.key.as_bytes()]),
            None => HashSlot::of(&[&ids.random().to_be_bytes()]),
        };
        let takes = self.takes_orders();
        let slot = self.map.slot_at_hand(wanted, ids.random(), |shard| {
            takes && self.holds(shard) && self.has_room_in(shard)
        });
        let (home, lives) = (self.map.shard_of_slot(wanted), self.map.shard_of_slot(slot));
        let claim = key.map(|key| KeyClaim {
            home: (home != lives).then_some(home),
            key: format!("{TENANT}:{}", key.key),
            fingerprint: key.fingerprint.clone(),
        });
        (OrderId::mint(self.ports.clock.now(), slot, ids.random()), claim)
    }

    /// Whether orders are to live here because they were submitted here: this node can take them now and will have its shards
    /// in a moment, and all others look for a key where it belongs.
    fn takes_orders(&self) -> bool {
        let is_understood = |cluster: &Arc<Cluster>| cluster.all_understand(HOMES);
        self.has_room()
            && !self.is_leaving()
            && self.lease_holds()
            && self.ports.journal.trouble().is_none()
            && self.cluster.get().is_none_or(is_understood)
    }

    /// Keeps others with the same key out while a request is under way here.
    pub(crate) fn guard(&self, claim: &KeyClaim) -> Result<KeyGuard<'_>, CallError> {
        if self.keys_in_flight.insert(claim.key.clone()) {
            Ok(KeyGuard(self, claim.key.clone()))
        } else {
            Err(CallError::InProgress)
        }
    }

    /// Whether another node has a request with this key under way. For whoever would refuse: what another one accepts at this
    /// moment is not in the store yet.
    ///
    /// # Errors
    /// Unavailable: one of the others does not answer, and may be accepting it.
    pub(crate) async fn is_under_way_elsewhere(&self, claim: &KeyClaim) -> Result<bool, CallError> {
        let Some(cluster) = self.cluster.get() else {
            return Ok(false);
        };
        let key = &claim.key;
        let asked = cluster.others().into_iter().map(|node| async move {
            let request = Request::UnderWay { key: key.clone() };
            cluster.ask(&node, request, UNDER_WAY_MAX).await
        });
        let mut is_known = true;
        for answer in join_all(asked).await {
            match answer {
                Ok(Response::UnderWay(true)) => return Ok(true),
                Ok(Response::UnderWay(false)) => {}
                _ => is_known = false,
            }
        }
        if is_known {
            Ok(false)
        } else {
            let why = "another node cannot say whether it is accepting an order under this key";
            Err(CallError::Unavailable(why.into()))
        }
    }

    /// Who used a key, if somebody has. `near`: the stream that it came with.
    pub(crate) async fn find_claim(&self, near: StreamId, claim: &KeyClaim) -> Result<Option<ClaimRecord>, CallError> {
        let shard = claim.home.unwrap_or_else(|| self.map.shard_of(near));
        self.ports.store.claim(shard, &claim.key).await.map_err(away)
    }

    /// The same of a key that is known to be used.
    pub(crate) async fn used(&self, near: StreamId, claim: &KeyClaim) -> Result<ClaimRecord, CallError> {
        let found = self.find_claim(near, claim).await?;
        found.ok_or_else(|| CallError::Unavailable("the idempotency key vanished".into()))
    }

    /// What the attempt to place an order came to, if it had a key that an earlier one has used.
    pub(crate) async fn placed(
        &self,
        asked: Result<Applied<Order>, CallError>,
        id: OrderId,
        claim: Option<&KeyClaim>,
    ) -> Result<Placed, CallError> {
        match asked {
            Ok(applied) => Ok(Placed {
                order: applied.entity,
                replayed: false,
            }),
            Err(CallError::KeyUsed) => {
                let claim = claim.ok_or_else(|| CallError::Unavailable("a key clashed that nobody gave".into()))?;
                let used = self.used(id.stream(), claim).await?;
                self.first_answer(used, id, claim).await
            }
            Err(error) => Err(error),
        }
    }

    /// The first answer to an order that was accepted under this key, if one was. For whoever would not be accepted now.
    ///
    /// # Errors
    /// The key came with another request, or the store is away.
    pub(crate) async fn placed_before(&self, id: OrderId, claim: &KeyClaim) -> Result<Option<Placed>, CallError> {
        match self.find_claim(id.stream(), claim).await? {
            Some(used) => self.first_answer(used, id, claim).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same when there is no room for a new order: one that was accepted before needs none. But a refusal must be cheap:
    /// when many look, the others are refused unseen, and will find their order when they come back.
    pub(crate) async fn placed_despite(
        &self,
        what: String,
        id: OrderId,
        claim: Option<&KeyClaim>,
    ) -> Result<Placed, CallError> {
        if let Some(claim) = claim
            && let Ok(_place) = self.lookups.try_acquire()
            && let Some(placed) = self.placed_before(id, claim).await?
        {
            return Ok(placed);
        }
        Err(CallError::Overloaded { what })
    }

    /// The order that used the key first, as its first row left it.
    async fn first_answer(&self, found: ClaimRecord, id: OrderId, claim: &KeyClaim) -> Result<Placed, CallError> {
        if found.fingerprint != claim.fingerprint {
            return Err(CallError::KeyReused);
        }
        let rows = self.ports.store.rows(found.stream, Seq(0), 1).await.map_err(away)?;
        let recorded = Recorded {
            stream: found.stream,
            kind: StreamKind::Order,
            snapshot: None,
            rows,
        };
        let order = restore::<Order>(&recorded)
            .map_err(away)?
            .ok_or(Rejection::NotFound("order"))?;
        Ok(Placed {
            order,
            // It may be this very request, whose earlier attempt was carried out and whose answer was lost.
            replayed: found.stream != id.stream(),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn away(error: StoreError) -> CallError {
    CallError::Unavailable(error.to_string())
}
