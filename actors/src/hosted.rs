//! What the actor shell needs to know of each kind of entity.

use crate::ask::{Ask, Envelope, Versioned};
use crate::call::{Call, Outcome};
use crate::cell::Latest;
use crate::choice;
use crate::cluster::{Replica, Request, Response};
use crate::effector;
use crate::error::CallError;
use crate::node::Node;
use domain::channel::Channel;
use domain::entity::Entity;
use domain::ids::Seq;
use domain::order::{Event, Order, OrderStatus};
use domain::saga::{Action, Direction, Record, job_progress};
use domain::time::Millis;
use domain::zone::Zone;
use std::sync::Arc;

/// An entity that an actor can host.
pub(crate) trait Hosted: Entity {
    /// Rows after which a new snapshot is stored: about as many as are as long as the snapshot itself, so that snapshots
    /// at most double what is written, and loading reads at most twice what it must.
    fn snapshot_rows(&self) -> u64;

    fn latest(state: Versioned<Self>) -> Latest;

    /// The state, if it is one of this kind.
    fn of_latest(latest: &Latest) -> Option<&Versioned<Self>>;

    /// Whether nothing is under way, so that its actor may go for a while.
    fn rests(&self) -> bool {
        false
    }

    /// Makes a committed state known. `before`: the one it replaces; `None` after a load.
    fn publish(node: &Node, before: Option<&Self>, state: &Versioned<Self>);

    /// What follows, here where its actor runs, from a committed state that has replaced another; `None` after a load.
    fn follow_up(_node: &Arc<Node>, _before: Option<&Self>, _state: &Versioned<Self>) {}

    /// The answer to an effect that this node settles by itself, in the turn that wants it; `None` for all others.
    fn settle(_node: &Node, _state: &Self, _effect: &Self::Effect) -> Option<Self::Command> {
        None
    }

    /// Whether events that begin nothing may be written together with what comes next. After a crash they have not
    /// happened: whatever brought them must come again by itself, and soon enough.
    fn may_wait(_events: &[Self::Event], _next: &Self) -> bool {
        false
    }

    /// The command as it is said when it may have been said before, and the earlier one may come yet.
    fn again(command: Self::Command) -> Self::Command {
        command
    }

    /// Begins effects whose justification is durable. `resumed`: they may have been begun before.
    fn perform(node: &Arc<Node>, effects: Vec<Self::Effect>, resumed: bool);

    fn envelope(ask: Ask<Self>) -> Envelope;

    /// The call as another node is asked it.
    fn request(call: Call<Self>) -> Request;

    /// What another node answered to such a request; `None`: it answered something else.
    fn outcome(response: Response) -> Option<Result<Outcome<Self>, CallError>>;

    /// Under which name other nodes keep copies of it, if they do.
    fn replica(&self) -> Option<Replica> {
        None
    }
}

impl Hosted for Order {
    fn snapshot_rows(&self) -> u64 {
        32
    }

    fn latest(state: Versioned<Self>) -> Latest {
        Latest::Order(state)
    }

    fn of_latest(latest: &Latest) -> Option<&Versioned<Self>> {
        match latest {
            Latest::Order(state) => Some(state),
            _ => None,
        }
    }

    fn rests(&self) -> bool {
        let under_way = |record: &Record| {
            [Direction::Forward, Direction::Backward]
                .iter()
                .any(|&way| record.attempt(way).is_some())
        };
        !self.ledger.iter().any(under_way)
    }

    fn publish(node: &Node, before: Option<&Self>, order: &Versioned<Self>) {
        node.tell_watchers(order);
        for observer in &node.ports.observers {
            observer.observe(order.state.id, order.seq, &order.state);
        }
        count(node, before, &order.state);
    }

    fn follow_up(node: &Arc<Node>, before: Option<&Self>, order: &Versioned<Self>) {
        tell_zone(node, before, &order.state);
    }

    fn settle(node: &Node, order: &Self, effect: &Self::Effect) -> Option<Self::Command> {
        if !matches!(effect.action, Action::Route) {
            return None;
        }
        choice::at_once(node, order).map(|answer| effect.answered(answer))
    }

    /// The answer to one effect while that to another is still to come: whoever answered is asked again under the same
    /// key if it is forgotten, and the other's deadline ends the wait.
    fn may_wait(events: &[Self::Event], order: &Self) -> bool {
        let answers = events.iter().all(|event| matches!(event, Event::StepDone { .. }));
        let awaited = |record: &Record| record.attempt(Direction::Forward).is_some();
        answers && order.unwinding.is_none() && order.ledger.iter().any(awaited)
    }

    fn perform(node: &Arc<Node>, effects: Vec<Self::Effect>, resumed: bool) {
        for effect in effects {
            effector::begin(node, effect, resumed);
        }
    }

    fn envelope(ask: Ask<Self>) -> Envelope {
        Envelope::Order(ask)
    }

    fn request(call: Call<Self>) -> Request {
        Request::Order(call)
    }

    fn outcome(response: Response) -> Option<Result<Outcome<Self>, CallError>> {
        match response {
            Response::Order(outcome) => Some(outcome),
            _ => None,
        }
    }
}

/// Tells the zone whose courier fetches the order how far its food is, when that has changed since the zone was asked for
/// a courier (or may have: after a load).
fn tell_zone(node: &Arc<Node>, before: Option<&Order>, order: &Order) {
    let Some((zone, key, progress)) = job_progress(order) else {
        return;
    };
    let is_known = |before: &Order| job_progress(before).is_none_or(|(_, was, known)| (was, known) == (key, progress));
    if !before.is_some_and(is_known) {
        effector::hint(node, zone, domain::zone::Command::Progress { key, progress });
    }
}

/// The brief's figures: from acceptance to confirmation, and how orders end.
fn count(node: &Node, before: Option<&Order>, order: &Order) {
    let Some(before) = before else { return };
    if before.milestones.confirmed_at.is_none()
        && let Some(confirmed_at) = order.milestones.confirmed_at
    {
        let business_ms = u32::try_from(confirmed_at.ms_since(order.placed_at)).unwrap_or(u32::MAX);
        let scale = u32::try_from(node.ports.clock.scale()).unwrap_or(1);
        metrics::histogram!("order_processing_duration").record(f64::from(business_ms) / f64::from(scale) / 1_000.0);
    }
    if order.status != before.status && order.status.is_terminal() {
        metrics::counter!("orders_processed_total", "status" => order.status.as_str()).increment(1);
        if order.status == OrderStatus::Failed {
            let code = order
                .unwinding
                .as_ref()
                .map_or("UNKNOWN", |unwinding| match unwinding.ending {
                    domain::order::Ending::Failed(code) => code.as_str(),
                    domain::order::Ending::Cancelled => "CANCELLED",
                });
            metrics::counter!("order_processing_errors_total", "code" => code).increment(1);
        }
    }
    if order.milestones.delivered_at.is_some() && before.milestones.delivered_at.is_none() {
        count_promise(order);
    }
    if order.is_stuck() && !before.is_stuck() {
        metrics::counter!("uoop_orders_stuck_total").increment(1);
    }
}

/// Whether what was promised first was kept, to within five minutes of business time.
fn count_promise(order: &Order) {
    const KEPT_MS: u64 = Millis::from_mins(5).0;
    let Some((promised_at, delivered_at)) = order.promised_at().zip(order.milestones.delivered_at) else {
        return;
    };
    let outcome = match (delivered_at.ms_since(promised_at), promised_at.ms_since(delivered_at)) {
        (late_ms, _) if late_ms > KEPT_MS => "late",
        (_, early_ms) if early_ms > KEPT_MS => "early",
        _ => "kept",
    };
    metrics::counter!("uoop_promises_total", "outcome" => outcome).increment(1);
}

impl Hosted for Channel {
    fn snapshot_rows(&self) -> u64 {
        64.max(u64::try_from(self.ledger.len()).unwrap_or(u64::MAX))
    }

    fn latest(state: Versioned<Self>) -> Latest {
        Latest::Channel(state)
    }

    fn of_latest(latest: &Latest) -> Option<&Versioned<Self>> {
        match latest {
            Latest::Channel(state) => Some(state),
            _ => None,
        }
    }

    fn publish(node: &Node, _before: Option<&Self>, channel: &Versioned<Self>) {
        node.directory.offer_channel(channel);
    }

    fn follow_up(node: &Arc<Node>, before: Option<&Self>, channel: &Versioned<Self>) {
        let Some(cluster) = node.cluster.get() else { return };
        let scarce_pct = node.ports.policy.choice.scarce_pct;
        let soon = channel.seq == Seq(1) || before.is_some_and(|before| channel.state.matters_soon(before, scarce_pct));
        cluster.outlines.changed(channel, soon);
    }

    fn again(command: Self::Command) -> Self::Command {
        command.again()
    }

    fn perform(_node: &Arc<Node>, effects: Vec<Self::Effect>, _resumed: bool) {
        // A channel only answers.
        debug_assert!(effects.is_empty(), "a channel has no effects");
    }

    fn envelope(ask: Ask<Self>) -> Envelope {
        Envelope::Channel(ask)
    }

    fn request(call: Call<Self>) -> Request {
        Request::Channel(call)
    }

    fn outcome(response: Response) -> Option<Result<Outcome<Self>, CallError>> {
        match response {
            Response::Channel(outcome) => Some(outcome),
            _ => None,
        }
    }
}

impl Hosted for Zone {
    fn snapshot_rows(&self) -> u64 {
        64.max(u64::try_from(self.jobs.len() + self.couriers.len()).unwrap_or(u64::MAX))
    }

    fn latest(state: Versioned<Self>) -> Latest {
        Latest::Zone(state)
    }

    fn of_latest(latest: &Latest) -> Option<&Versioned<Self>> {
        match latest {
            Latest::Zone(state) => Some(state),
            _ => None,
        }
    }

    fn publish(node: &Node, _before: Option<&Self>, zone: &Versioned<Self>) {
        node.directory.offer_zone(zone);
    }

    fn follow_up(node: &Arc<Node>, _before: Option<&Self>, zone: &Versioned<Self>) {
        node.dispatch.changed(node, zone);
    }

    fn perform(node: &Arc<Node>, effects: Vec<Self::Effect>, _resumed: bool) {
        for effect in effects {
            effector::tell(node, effect.order, domain::saga::Command::Report(effect.report));
        }
    }

    fn envelope(ask: Ask<Self>) -> Envelope {
        Envelope::Zone(ask)
    }

    fn request(call: Call<Self>) -> Request {
        Request::Zone(call)
    }

    fn outcome(response: Response) -> Option<Result<Outcome<Self>, CallError>> {
        match response {
            Response::Zone(outcome) => Some(outcome),
            _ => None,
        }
    }

    fn replica(&self) -> Option<Replica> {
        Some(Replica::Zone(self.id.clone()))
    }
}
