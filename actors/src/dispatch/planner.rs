//! The planner of one zone.

use super::problem::{Problem, Translator};
use crate::call::{Call, Origin};
use crate::error::CallError;
use crate::node::Node;
use domain::ids::ZoneId;
use domain::time::Millis;
use domain::zone::{Command, JobState, Trip, Zone};
use routing::Budget;
use routing::dispatch::{Dispatcher, Doubt, Policy, Seconds, Tuning};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Longest pause between two looks at whether the zone is still here.
const LOOK: Duration = Duration::from_secs(1);

/// How a zone's planner is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PlannerView {
    /// By which policy it plans.
    pub policy: Policy,
    /// Plans made since it began.
    pub plans: u64,
    /// Trips that couriers were sent off on since then.
    pub trips: u64,
    /// Orders in the last plan.
    pub orders: usize,
    /// Couriers in the last plan.
    pub couriers: usize,
    /// How long the last plan took, in microseconds of wall time.
    pub last_us: u64,
    /// How long the longest took.
    pub longest_us: u64,
}

/// What it thinks with: away while a thread is thinking.
struct Mind {
    dispatcher: Dispatcher,
    translator: Translator,
}

pub(super) struct Planner {
    node: Arc<Node>,
    id: ZoneId,
    zone: watch::Receiver<Arc<Zone>>,
    said: watch::Sender<PlannerView>,
    view: PlannerView,
    mind: Option<Mind>,
}

impl Planner {
    pub(super) fn new(
        node: Arc<Node>,
        policy: Policy,
        zone: watch::Receiver<Arc<Zone>>,
        said: watch::Sender<PlannerView>,
    ) -> Self {
        let id = zone.borrow().id.clone();
        Self {
            view: PlannerView {
                policy,
                ..PlannerView::default()
            },
            mind: None,
            node,
            id,
            zone,
            said,
        }
    }

    /// Plans for as long as the zone is here.
    pub(super) async fn run(mut self) {
        let node = Arc::clone(&self.node);
        let options = &node.options.dispatch;
        let every = Duration::from_millis(options.every.0.div_ceil(node.ports.clock.scale().max(1)));
        let shard = node.map.shard_of(self.id.stream());
        loop {
            let zone = Arc::clone(&self.zone.borrow_and_update());
            if has_open_jobs(&zone) {
                let Ok(thread) = Arc::clone(&node.dispatch.threads).acquire_owned().await else {
                    return;
                };
                self.plan(&zone).await;
                // Others wait for the thread that long, too: thinking takes a fifth of a core for each, however many zones
                // there are.
                sleep(Duration::from_micros(4 * self.view.last_us)).await;
                drop(thread);
                sleep(options.pause).await;
            }
            let planned_at = Instant::now();
            let every = self.until_somebody_is_free(&zone).map_or(every, |soon| soon.min(every));
            loop {
                if (node.is_stopped() || !node.holds(shard)) && node.dispatch.part(&node, &self.id) {
                    return;
                }
                let left = every.saturating_sub(planned_at.elapsed());
                match timeout(left.min(LOOK), self.zone.changed()).await {
                    // Nobody says anything any more: the zone is gone with its node.
                    Ok(Err(_)) => return,
                    Ok(Ok(())) => break,
                    Err(_) if planned_at.elapsed() >= every => break,
                    Err(_) => {}
                }
            }
        }
    }

    /// How long it takes in wall time until the next courier is done with its last customer, if somebody waits for one:
    /// nothing else would say so.
    fn until_somebody_is_free(&self, zone: &Zone) -> Option<Duration> {
        let clock = &self.node.ports.clock;
        let now = clock.now();
        let leaves = zone.couriers.values().filter_map(|courier| courier.leaves_at);
        let next = leaves.filter(|leaves_at| *leaves_at > now).min();
        let next = next.filter(|_| has_open_jobs(zone))?;
        Some(Duration::from_millis(next.ms_since(now).div_ceil(clock.scale().max(1))))
    }

    /// Makes a plan and sends off whom it names.
    async fn plan(&mut self, zone: &Arc<Zone>) {
        let trips = self.think(Arc::clone(zone)).await;
        if !trips.is_empty() {
            self.send_off(trips).await;
        }
        self.said.send_replace(self.view.clone());
    }

    async fn send_off(&mut self, trips: Vec<Trip>) {
        let sent = u64::try_from(trips.len()).unwrap_or(u64::MAX);
        let call = Call::<Zone>::new(self.id.stream(), Command::Dispatch { trips }, Origin::Saga);
        match self.node.ask_owner(call).await {
            Ok(_) => {
                self.view.trips += sent;
                metrics::counter!("uoop_dispatch_trips_total").increment(sent);
            }
            Err(CallError::Fenced) => {}
            // The zone is as it was, so the next plan will say the same.
            Err(error) => tracing::warn!(zone = %self.id, %error, "a plan could not be told"),
        }
    }

    /// Thinks on one of the few threads there are for that. Whom to send off.
    async fn think(&mut self, zone: Arc<Zone>) -> Vec<Trip> {
        let (node, seed) = (Arc::clone(&self.node), self.seed());
        let mind = self.mind.take();
        let thinking = tokio::task::spawn_blocking(move || {
            let mut mind = mind.unwrap_or_else(|| Mind::new(&node, seed));
            let thought = mind.think(&zone, &node);
            (mind, thought)
        });
        match thinking.await {
            Ok((mind, thought)) => {
                self.mind = Some(mind);
                self.note(&thought);
                thought.trips
            }
            Err(error) => {
                tracing::error!(zone = %self.id, %error, "a planner failed; it begins anew");
                Vec::new()
            }
        }
    }

    fn note(&mut self, thought: &Thought) {
        let us = u64::try_from(thought.took.as_micros()).unwrap_or(u64::MAX);
        let view = &mut self.view;
        (view.orders, view.couriers) = (thought.orders, thought.couriers);
        (view.last_us, view.longest_us) = (us, view.longest_us.max(us));
        view.plans += 1;
        metrics::histogram!("uoop_dispatch_plan_seconds").record(thought.took);
    }

    /// The zone's own: the same wherever it lives.
    fn seed(&self) -> u64 {
        let (high, low) = self.id.stream().0.as_u64_pair();
        high ^ low
    }
}

/// What came of thinking.
struct Thought {
    trips: Vec<Trip>,
    orders: usize,
    couriers: usize,
    took: Duration,
}

impl Mind {
    fn new(node: &Node, seed: u64) -> Self {
        let options = &node.options.dispatch;
        let seconds = |length: Millis| Seconds::try_from(length.0 / 1_000).unwrap_or(Seconds::MAX / 4);
        let doubt = Doubt {
            head_start_s: seconds(options.head_start),
            // A zone's courier keeps what it was promised, so it waits for all of it.
            patience_s: None,
            ..Doubt::default()
        };
        let tuning = Tuning {
            doubt,
            // Whoever would have to leave before the next plan leaves now.
            commit_ahead_s: seconds(options.every),
            ..Tuning::default()
        };
        Self {
            dispatcher: Dispatcher::new(options.rules, options.policy.unwrap_or_default(), seed, tuning),
            translator: Translator::new(node.ports.clock.now()),
        }
    }

    fn think(&mut self, zone: &Zone, node: &Node) -> Thought {
        let options = &node.options.dispatch;
        let begun = Instant::now();
        let problem = self.translator.problem(zone, &options.rules, node.ports.clock.now());
        let time_used = || begun.elapsed().as_secs_f64() / options.budget.as_secs_f64();
        let budget = Budget {
            moves_max: options.moves_max,
            time_used: Some(&time_used),
        };
        let Problem { now, couriers, orders } = &problem;
        let commitments = self.dispatcher.decide(*now, couriers, orders, budget);
        Thought {
            trips: self.translator.trips(&commitments),
            orders: orders.len(),
            couriers: couriers.len(),
            took: begun.elapsed(),
        }
    }
}

/// Whether anybody is still to be sent off, or could be given more.
fn has_open_jobs(zone: &Zone) -> bool {
    zone.jobs.values().any(|entry| entry.state == JobState::Queued)
}
