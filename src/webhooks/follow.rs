//! Follows the position lines and hands public events over to the endpoints that want them.

use super::endpoint::{Endpoint, Fresh};
use super::figures;
use super::hub::{Hub, Stopped};
use super::message::Told;
use super::unsettled::Place;
use domain::ids::Position;
use domain::order::public_events;
use domain::ports::StoreError;
use domain::shard::ShardId;
use persistence::{Delivery, Follower, TailRow};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// The follower's name in the store.
pub const NAME: &str = "webhooks";
/// Rows that are taken at a time.
const ROWS_MAX: usize = 512;
/// The pause between two looks while nobody is told.
const PAUSE_IDLE: Duration = Duration::from_millis(100);
const ROWS_IDLE_MAX: usize = 16_384;
/// Deliveries that are kept in one transaction.
const KEPT_AT_ONCE: usize = 512;
/// How often the cursor is written while somebody is told, ...
const SAVE: Duration = Duration::from_secs(1);
/// ... and every how many times of those while nobody is, since nothing is lost by passing over rows again; except
/// for the first times, when what was told just before settles.
const SAVES_IDLE: u32 = 30;
const SAVES_SETTLING: u32 = 3;

pub(super) struct Follow {
    hub: Arc<Hub>,
    follower: Follower,
    /// Up to where rows were handed over, on the lines where the cursor is not there yet. Also of lines that were lost: that
    /// a row is settled stays true, whoever owns it, and the follower moves no cursor back. What is not settled by then is
    /// not said to be, and comes again to the line's next owner.
    read: HashMap<ShardId, Position>,
}

/// The next rows. While nobody is told there is no hurry: looking at all lines costs more than passing over their rows.
async fn next(follower: &mut Follower, is_idle: bool) -> Result<Vec<Arc<TailRow>>, StoreError> {
    if !is_idle {
        return follower.next(ROWS_MAX).await;
    }
    tokio::time::sleep(PAUSE_IDLE).await;
    follower.next(ROWS_IDLE_MAX).await
}

impl Follow {
    pub(super) fn new(hub: &Arc<Hub>, follower: Follower) -> Self {
        Self {
            hub: Arc::clone(hub),
            follower,
            read: HashMap::new(),
        }
    }

    /// Hands over until the process stops.
    pub(super) async fn run(mut self) -> Self {
        let hub = Arc::clone(&self.hub);
        let mut saves = tokio::time::interval(SAVE);
        saves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = 0;
        loop {
            tokio::select! {
                () = hub.stopping.cancelled() => return self,
                rows = next(&mut self.follower, hub.endpoints().is_empty()) => match rows {
                    Ok(rows) => {
                        if self.hand_over(&rows).await.is_err() {
                            return self;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "events for webhooks cannot be read at present");
                        tokio::time::sleep(SAVE).await;
                    }
                },
                _ = saves.tick() => {
                    idle = if hub.endpoints().is_empty() { idle + 1 } else { 0 };
                    self.settle();
                    if idle <= SAVES_SETTLING || idle % SAVES_IDLE == 0 {
                        self.write().await;
                    }
                }
                () = hub.first.notified() => self.save().await,
            }
        }
    }

    /// Moves the cursor up to where everything is settled, and writes it.
    pub(super) async fn save(&mut self) {
        self.settle();
        self.write().await;
    }

    fn settle(&mut self) {
        let (hub, follower) = (&self.hub, &mut self.follower);
        self.read.retain(|shard, read| {
            let settled = hub.unsettled.settled_up_to(*shard, *read);
            follower.done(*shard, settled);
            settled < *read
        });
    }

    async fn write(&mut self) {
        if let Err(error) = self.follower.save().await {
            tracing::warn!(%error, "the cursor of webhooks cannot be written at present");
        }
    }

    /// Hands rows over. What finds no room at its endpoint is kept before anything else happens.
    async fn hand_over(&mut self, rows: &[Arc<TailRow>]) -> Result<(), Stopped> {
        let endpoints = self.hub.endpoints();
        if !endpoints.is_empty() {
            let mut late: Vec<Vec<Delivery>> = endpoints.iter().map(|_| Vec::new()).collect();
            for row in rows {
                self.tell(row, &endpoints, &mut late);
            }
            self.keep(&endpoints, late).await?;
        }
        for row in rows {
            self.read.insert(row.shard, row.row.position);
        }
        Ok(())
    }

    /// Offers the events of a row to whoever wants them.
    fn tell(&self, row: &TailRow, endpoints: &[Arc<Endpoint>], late: &mut [Vec<Delivery>]) {
        let place = Place {
            shard: row.shard,
            position: row.row.position,
        };
        let events = public_events(&row.row).unwrap_or_else(|error| {
            // Waiting for it would hold up everything behind it, for ever.
            let (stream, seq) = (row.row.stream, row.row.seq);
            tracing::error!(%error, %stream, %seq, "a row cannot be read: webhooks are not told of it");
            figures::unreadable();
            Vec::new()
        });
        for event in events {
            let name = event.name;
            if !endpoints.iter().any(|endpoint| endpoint.wants(name)) {
                continue;
            }
            let told = match Told::new(event, row.committed, self.hub.now()) {
                Ok(told) => Arc::new(told),
                Err(error) => {
                    tracing::error!(%error, name, "an event cannot be written out: webhooks are not told of it");
                    figures::unreadable();
                    continue;
                }
            };
            for (endpoint, late) in endpoints.iter().zip(late.iter_mut()) {
                if endpoint.wants(name) && !self.offer(endpoint, &told, place) {
                    late.push(endpoint.put_off(&told, &self.hub));
                }
            }
        }
    }

    fn offer(&self, endpoint: &Endpoint, told: &Arc<Told>, place: Place) -> bool {
        if endpoint.is_down() {
            return false;
        }
        // Before it is handed over: it may be settled before this returns.
        self.hub.unsettled.add(place);
        let taken = endpoint.offer(Fresh {
            told: Arc::clone(told),
            place,
        });
        if !taken {
            self.hub.unsettled.settle(place);
        }
        taken
    }

    async fn keep(&self, endpoints: &[Arc<Endpoint>], late: Vec<Vec<Delivery>>) -> Result<(), Stopped> {
        let mut any = false;
        for (endpoint, deliveries) in endpoints.iter().zip(late) {
            for deliveries in deliveries.chunks(KEPT_AT_ONCE) {
                self.hub.keep(deliveries).await?;
                let due = deliveries.iter().map(|one| one.next_at).min();
                endpoint.kept_more(deliveries.len(), due.unwrap_or(i64::MAX));
                figures::outcomes("put_off", deliveries.len());
                any = true;
            }
        }
        if any && let Err(error) = self.hub.enforce().await {
            tracing::warn!(%error, "a subscription that keeps too much cannot be switched off at present");
        }
        Ok(())
    }
}
