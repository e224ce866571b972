//! What a dispatcher intends, and why, for those who look at it.

use super::dispatcher::Dispatcher;
use super::objective::COST_PER_S;
use super::problem::{CourierKey, OrderKey, Seconds};
use super::situation::{NOBODY, Situation};
use serde::Serialize;

/// Most alternates of an explanation.
const ALTERNATES_MAX: usize = 3;

/// What a dispatcher intends, as of its last decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outline {
    /// When it decided.
    pub decided_at: Seconds,
    /// Couriers that have something to do, with it.
    pub routes: Vec<Outlined>,
    /// Orders that nobody can carry as things are.
    pub unassigned: Vec<OrderKey>,
    /// What the plan costs, in seconds of click-to-door.
    pub cost_s: f64,
}

/// What a courier is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outlined {
    /// Which courier.
    pub courier: CourierKey,
    /// Its bundles, in their sequence.
    pub bundles: Vec<OutlinedBundle>,
}

/// A bundle that a courier is to carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlinedBundle {
    /// Its orders, in the sequence of their drop-offs.
    pub orders: Vec<OrderKey>,
    /// How many of them the courier was told of.
    pub promised: usize,
    /// When it is thought to be picked up.
    pub pickup_at: Seconds,
    /// When the courier is thought to be free again.
    pub free_at: Seconds,
}

/// Why an order is where it is in the plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The order.
    pub order: OrderKey,
    /// How long it would take from the click to the door if a courier stood ready for it.
    pub ideal_s: Seconds,
    /// Who is to carry it.
    pub chosen: Option<Alternate>,
    /// Who else could, the best first.
    pub alternates: Vec<Alternate>,
}

/// A courier that could carry an order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Alternate {
    /// Which.
    pub courier: CourierKey,
    /// What the order adds to the plan there, in seconds of click-to-door.
    pub added_s: f64,
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn in_seconds(cost: i64) -> f64 {
    cost as f64 / COST_PER_S as f64
}

impl Dispatcher {
    /// What it intends, as of its last decision; of a problem that was split, the last part.
    pub fn outline(&self) -> Outline {
        let situation = &self.situation;
        let riders = 0..situation.riders.len();
        let busy = riders.filter(|&rider| !self.plan.routes[rider].is_empty());
        Outline {
            decided_at: situation.now,
            routes: busy.map(|rider| self.outlined(rider)).collect(),
            unassigned: self
                .plan
                .unassigned
                .iter()
                .map(|&order| key(situation, order))
                .collect(),
            cost_s: in_seconds(self.plan.cost(situation)),
        }
    }

    fn outlined(&self, rider: usize) -> Outlined {
        let situation = &self.situation;
        let mut progress = situation.begin(rider);
        let mut promised = situation.riders[rider].promised;
        let bundle = |bundle: &[u16]| {
            progress = situation.carry(rider, progress, bundle, promised > 0);
            OutlinedBundle {
                orders: bundle.iter().map(|&order| key(situation, order)).collect(),
                promised: std::mem::take(&mut promised),
                pickup_at: progress.pickup_at,
                free_at: progress.free_at,
            }
        };
        Outlined {
            courier: situation.riders[rider].key,
            bundles: self.plan.routes[rider].bundles().map(bundle).collect(),
        }
    }

    /// Why an order is where it is in the plan of the last decision; absent when the order is not in it.
    pub fn explain(&self, order: OrderKey) -> Option<Explanation> {
        let situation = &self.situation;
        let name = situation.tasks.iter().position(|task| task.key == order)?;
        let task = &situation.tasks[name];
        let name = u16::try_from(name).ok()?;
        let carrier = self.plan.carrier[usize::from(name)];
        let alternate = |rider: usize, added: i64| Alternate {
            courier: situation.riders[rider].key,
            added_s: in_seconds(added),
        };
        let chosen = (carrier != NOBODY).then(|| {
            let rider = usize::from(carrier);
            let route = &self.plan.routes[rider];
            let mut without = *route;
            if let Some(at) = route.position(name) {
                without.remove(at);
            }
            alternate(rider, route.cost - situation.route_cost(rider, &without))
        });
        let others = (0..situation.riders.len()).filter(|&rider| rider != usize::from(carrier));
        let mut alternates: Vec<Alternate> = others
            .filter(|_| task.promised_to == NOBODY)
            .filter_map(|rider| {
                let worth = situation.objective.per_unassigned_order;
                let (added, _) = situation.cheapest_slot(rider, &self.plan.routes[rider], name, worth)?;
                Some(alternate(rider, added))
            })
            .collect();
        alternates.sort_by(|a, b| a.added_s.total_cmp(&b.added_s).then(a.courier.cmp(&b.courier)));
        alternates.truncate(ALTERNATES_MAX);
        Some(Explanation {
            order,
            ideal_s: task.ideal_s,
            chosen,
            alternates,
        })
    }
}

fn key(situation: &Situation, order: u16) -> OrderKey {
    situation.tasks[usize::from(order)].key
}
