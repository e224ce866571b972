//! The planners of the zones that live on this node: each looks at its zone after every change, and at least every so
//! often, plans all of its jobs together, and tells the zone whom to send off now.
//!
//! The zone's actor decides whether that still fits (see [`domain::zone::Command::Dispatch`]), so a plan can be late or
//! lost without harm. A plan is worked out on threads of its own, of which there are few, and never holds up an actor. What a planner
//! remembers only makes the next plan better; one that starts anew knows everything from the zone.

mod planner;
mod problem;

pub use planner::PlannerView;

use crate::ask::Versioned;
use crate::node::Node;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use domain::ids::ZoneId;
use domain::time::Millis;
use domain::zone::Zone;
use planner::Planner;
use routing::dispatch::{Policy, Rules};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How couriers are planned for.
#[derive(Clone, Debug)]
pub struct DispatchOptions {
    /// By which policy; `None`: zones assign by themselves, greedily, and nobody plans.
    pub policy: Option<Policy>,
    /// The rules that couriers follow.
    pub rules: Rules,
    /// How long before food is thought to be ready its courier is at the restaurant, since it may be ready sooner; in
    /// business time.
    pub head_start: Millis,
    /// Most moves of one plan.
    pub moves_max: u64,
    /// How long one plan may take, in wall time.
    pub budget: Duration,
    /// The longest time between two plans of a zone with open jobs, in business time.
    pub every: Millis,
    /// The pause between two plans of a zone, in wall time.
    pub pause: Duration,
    /// Plans that are worked out at a time.
    pub threads: usize,
}

impl Default for DispatchOptions {
    fn default() -> Self {
        Self {
            policy: None,
            rules: Rules {
                pickup_service_s: 240,
                dropoff_service_s: 240,
                target_s: 2_400,
                limit_s: 86_400,
                pay_per_order_minor: 1_000,
                pay_per_hour_minor: 1_500,
            },
            head_start: Millis::from_mins(2),
            moves_max: 200,
            budget: Duration::from_millis(200),
            every: Millis::from_mins(1),
            pause: Duration::from_millis(50),
            threads: 1,
        }
    }
}

/// The planners at work.
pub(crate) struct Dispatch {
    zones: DashMap<ZoneId, Desk>,
    threads: Arc<Semaphore>,
}

/// Where a planner hears of its zone, and says how it is doing.
struct Desk {
    zone: watch::Sender<Arc<Zone>>,
    view: watch::Receiver<PlannerView>,
}

impl Dispatch {
    pub(crate) fn new(options: &DispatchOptions) -> Self {
        Self {
            zones: DashMap::new(),
            threads: Arc::new(Semaphore::new(options.threads.max(1))),
        }
    }

    /// A zone that lives here has changed.
    pub(crate) fn changed(&self, node: &Arc<Node>, zone: &Versioned<Zone>) {
        let Some(policy) = node.options.dispatch.policy else {
            return;
        };
        match self.zones.entry(zone.state.id.clone()) {
            Entry::Occupied(desk) => {
                desk.get().zone.send_replace(Arc::clone(&zone.state));
            }
            Entry::Vacant(place) => {
                let (zone, changes) = watch::channel(Arc::clone(&zone.state));
                let (said, view) = watch::channel(PlannerView::default());
                place.insert(Desk { zone, view });
                let planner = Planner::new(Arc::clone(node), policy, changes, said);
                tokio::spawn(planner.run());
            }
        }
    }

    /// How a zone's planner is doing; `None`: there is none here.
    pub(crate) fn view(&self, zone: &ZoneId) -> Option<PlannerView> {
        self.zones.get(zone).map(|desk| desk.view.borrow().clone())
    }

    /// A zone's planner ends, unless the zone is here again.
    fn part(&self, node: &Node, zone: &ZoneId) -> bool {
        let shard = node.map.shard_of(zone.stream());
        self.zones
            .remove_if(zone, |_, _| node.is_stopped() || !node.holds(shard))
            .is_some()
    }
}
