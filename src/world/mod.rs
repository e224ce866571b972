//! The simulated world: kitchens that cook and couriers that drive, reporting as real ones do.
//!
//! What comes next follows from the order's own state, so the world survives a kill of the process like everything else:
//! the first look at an order after a restart schedules what is due. Times follow the Meal Delivery Routing Problem (Reyes
//! et al. 2018): two minutes each for parking before and leaving after a stop.

mod plan;

use actors::{CallError, CommandOptions, Platform};
use dashmap::DashMap;
use domain::geo::Location;
use domain::ids::{OrderId, Seq};
use domain::order::Order;
use domain::ports::{Clock, OrderObserver};
use domain::saga::{Command, EffectKey};
use domain::time::{Millis, Timestamp};
use plan::{Carrier, Due, next};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The pause before a report that the platform could not take is made again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often that happens before the report is given up.
const ATTEMPTS_MAX: u32 = 240;
/// How often a courier that waits for something looks whether it has come, in business time.
const LOOK_MS: Millis = Millis::from_secs(15);

/// What the world plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// The kitchens.
    pub kitchens: bool,
    /// The couriers.
    pub couriers: bool,
}

/// The world. It watches every order, and reports what happens next to each.
pub struct World {
    roles: Roles,
    clock: Arc<dyn Clock>,
    platform: watch::Sender<Option<Platform>>,
    scheduled: Arc<DashMap<OrderId, Due>>,
}

impl World {
    /// A world that waits for its platform.
    pub fn new(roles: Roles, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (platform, _) = watch::channel(None);
        Arc::new(Self {
            roles,
            clock,
            platform,
            scheduled: Arc::default(),
        })
    }

    /// The platform to report to.
    pub fn join(&self, platform: Platform) {
        self.platform.send_replace(Some(platform));
    }
}

impl OrderObserver for World {
    fn observe(&self, id: OrderId, _seq: Seq, order: &Arc<Order>) {
        let Some(due) = next(order, self.roles, self.clock.now(), &Carrier::ALONE) else {
            if order.is_settled() {
                self.scheduled.remove(&id);
            }
            return;
        };
        // The same thing is due until it has happened; only something else is scheduled anew.
        let before = self.scheduled.insert(id, due.clone());
        if before.is_some_and(|before| before.same_as(&due)) {
            return;
        }
        let (platform, scheduled, clock) = (
            self.platform.subscribe(),
            Arc::clone(&self.scheduled),
            Arc::clone(&self.clock),
        );
        let (order, roles) = (Arc::clone(order), self.roles);
        tokio::spawn(async move {
            let Some(platform) = joined(platform).await else { return };
            let is_current = |due: &Due| scheduled.get(&id).is_some_and(|current| current.same_as(due));
            while let Some(due) = next(&order, roles, clock.now(), &carrier(&platform, &order)) {
                let at = due.at.unwrap_or_else(|| clock.now() + LOOK_MS);
                let wait_ms = at.ms_since(clock.now()).div_ceil(clock.scale().max(1));
                tokio::time::sleep(Duration::from_millis(wait_ms.max(1))).await;
                if !is_current(&due) {
                    return;
                }
                if due.at.is_some() {
                    return report(&platform, id, &due).await;
                }
            }
        });
    }
}

/// The platform, once there is one.
async fn joined(mut platform: watch::Receiver<Option<Platform>>) -> Option<Platform> {
    platform
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|platform| platform.clone())
}

/// What its zone knows of the order's courier.
fn carrier(platform: &Platform, order: &Order) -> Carrier {
    known(platform, order).unwrap_or(Carrier::ALONE)
}

fn known(platform: &Platform, order: &Order) -> Option<Carrier> {
    let zone = platform.directory().zone(&order.candidate()?.zone)?.state;
    let courier = zone.couriers.get(order.courier.as_ref()?)?;
    let is_this = |key: &EffectKey| key.order == order.id;
    let is_ready = |key: &EffectKey| is_this(key) || zone.jobs.get(key).is_none_or(|entry| entry.progress.is_ready);
    let last_seen = courier.located_at.map(|at| (courier.location, at));
    // What it says of its place later is on its way.
    let at_door = |(_, at): &(Location, Timestamp)| courier.leaves_at.is_some_and(|leaves_at| *at <= leaves_at);
    Some(Carrier {
        metres_per_min: courier.config.metres_per_min,
        last_seen,
        dropped_off: last_seen.filter(at_door),
        has_all: courier.trip.iter().all(is_ready),
        is_next: courier.trip.iter().position(is_this).is_none_or(|place| place == 0),
    })
}

async fn report(platform: &Platform, id: OrderId, due: &Due) {
    for _ in 0..ATTEMPTS_MAX {
        let command = Command::Report(due.report.clone());
        match platform.command(id, command, CommandOptions::default()).await {
            Ok(_) | Err(CallError::Fenced | CallError::Parked(_)) => return,
            Err(CallError::Rejected(rejection)) => {
                tracing::debug!(order = %id, %rejection, "the platform does not want a report");
                return;
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
    tracing::warn!(order = %id, "a report was given up");
}
