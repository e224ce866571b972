//! The supervision tree as data. The same types serve introspection, tests and the web page; reading blocks no actor.

use crate::cell::{Cell, Latest};
use crate::node::{Node, Readiness};
use domain::circuit::{Circuit, CircuitState};
use domain::entity::Entity;
use domain::ports::StreamKind;
use domain::shard::ShardId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// An actor as it can be observed from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActorView {
    /// Where it is in the supervision tree: `node/shard-017/order-<id>`.
    pub path: String,
    /// `node`, `shard`, `order`, `channel` or `zone`; or `circuit`, which is no actor: a participant's circuit breaker.
    pub kind: String,
    /// `starting`, `running`, `passivating`, `restarting` or `parked`; a node's may be `draining` or `unavailable`; a
    /// circuit's is `closed`, `open` or `half_open`.
    pub status: String,
    /// Why it crashed last, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Commands that wait.
    pub mailbox_depth: u64,
    /// Commands handled since it started.
    pub messages_handled: u64,
    /// How often it crashed and was started again.
    pub restarts: u32,
    /// Since when it lives, in milliseconds of wall time.
    pub age_ms: u64,
    /// The version of its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// What it is at: the order's status, the channel's availability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// When it wakes next, in milliseconds since the Unix epoch of business time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_timer: Option<u64>,
    /// Its observable state; only when it is asked for alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Value>,
}

fn name(cell: &Cell) -> (&'static str, String) {
    match (cell.kind, cell.latest.load().as_deref()) {
        (StreamKind::Order, _) => ("order", cell.stream.to_string()),
        (_, Some(Latest::Channel(channel))) => ("channel", channel.state.id.to_string()),
        (_, Some(Latest::Zone(zone))) => ("zone", zone.state.id.to_string()),
        (StreamKind::Channel, _) => ("channel", cell.stream.to_string()),
        (StreamKind::Zone, _) => ("zone", cell.stream.to_string()),
    }
}

/// Where an entity's actor is in the tree.
pub(crate) fn path(cell: &Cell) -> String {
    let (kind, name) = name(cell);
    format!("node/shard-{:03}/{kind}-{name}", cell.shard.0)
}

pub(crate) fn view(cell: &Cell) -> ActorView {
    let (kind, _) = name(cell);
    let wake_at = cell.wake_at.load(Ordering::Relaxed);
    let (version, summary) = match cell.latest.load().as_deref() {
        Some(Latest::Order(order)) => (Some(order.seq.0), Some(order.state.status.to_string())),
        Some(Latest::Channel(channel)) => (Some(channel.seq.0), Some(format!("{:?}", channel.state.availability))),
        Some(Latest::Zone(zone)) => {
            let (couriers, jobs) = (zone.state.couriers.len(), zone.state.jobs.len());
            (Some(zone.seq.0), Some(format!("{couriers} couriers, {jobs} jobs")))
        }
        None => (None, None),
    };
    ActorView {
        path: path(cell),
        kind: kind.to_owned(),
        status: cell.status().as_str().to_owned(),
        trouble: cell.trouble(),
        mailbox_depth: cell.depth.load(Ordering::Relaxed),
        messages_handled: cell.handled.load(Ordering::Relaxed),
        restarts: cell.restarts.load(Ordering::Relaxed),
        age_ms: cell.age_ms(),
        version,
        summary,
        next_timer: (wake_at > 0).then_some(wake_at),
        state: None,
    }
}

fn root(node: &Node, summary: String) -> ActorView {
    ActorView {
        path: "node".to_owned(),
        kind: "node".to_owned(),
        status: status_of(&node.readiness.load()).to_owned(),
        trouble: None,
        mailbox_depth: 0,
        messages_handled: 0,
        restarts: 0,
        age_ms: u64::try_from(node.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        version: None,
        summary: Some(summary),
        next_timer: None,
        state: None,
    }
}

/// The node, and its shards: the trunk of the tree. `children`: how many actors each shard has.
pub(crate) fn trunk(node: &Node, children: &HashMap<ShardId, usize>) -> Vec<ActorView> {
    // In a cluster those of other nodes are none of this tree.
    let is_here = |shard: &ShardId| node.cluster.get().is_none() || node.holds(*shard);
    let shards_here: Vec<ShardId> = node.map.all().filter(is_here).collect();
    let root = root(node, format!("{} shards", shards_here.len()));
    let shard = |shard: ShardId| {
        let pulse = &node.slot(shard).pulse;
        let next_timer = pulse.next_timer.load(Ordering::Relaxed);
        let actors = children.get(&shard).copied().unwrap_or(0);
        ActorView {
            path: format!("node/shard-{:03}", shard.0),
            kind: "shard".to_owned(),
            status: if node.slot(shard).actor.load().is_some() {
                "running"
            } else {
                "starting"
            }
            .to_owned(),
            mailbox_depth: pulse.depth.load(Ordering::Relaxed),
            messages_handled: pulse.handled.load(Ordering::Relaxed),
            restarts: pulse.restarts.load(Ordering::Relaxed),
            summary: Some(format!(
                "{actors} actors, {} timers",
                pulse.timers.load(Ordering::Relaxed)
            )),
            next_timer: (next_timer > 0).then_some(next_timer),
            ..root.clone()
        }
    };
    let shards: Vec<ActorView> = shards_here.into_iter().map(shard).collect();
    std::iter::once(root).chain(shards).collect()
}

const fn status_of(readiness: &Readiness) -> &'static str {
    match readiness {
        Readiness::Recovering => "starting",
        Readiness::Ready => "running",
        Readiness::Draining => "draining",
        Readiness::Unavailable { .. } => "unavailable",
    }
}

/// The observable state of an entity: what it is, and what is pending.
pub(crate) fn state(node: &Node, cell: &Cell) -> Option<Value> {
    let latest = cell.latest.load_full()?;
    Some(match &*latest {
        Latest::Order(order) => {
            let pending: Vec<Value> = order
                .state
                .resume(&node.ports.policy)
                .into_iter()
                .map(|effect| json!({"key": effect.key, "attempt": effect.attempt, "start_at": effect.start_at}))
                .collect();
            let step = order
                .state
                .ledger
                .iter()
                .rev()
                .find(|record| record.is_open())
                .map(|record| record.step.as_str());
            let mut order = serde_json::to_value(&*order.state).ok()?;
            // The payment token is nobody's business.
            if let Some(details) = order.get_mut("details").and_then(Value::as_object_mut) {
                details.remove("payment_token");
            }
            json!({"step": step, "pending_effects": pending, "order": order})
        }
        Latest::Channel(channel) => serde_json::to_value(&*channel.state).ok()?,
        Latest::Zone(zone) => {
            let mut state = serde_json::to_value(&*zone.state).ok()?;
            if let (Some(planner), Some(fields)) = (node.dispatch.view(&zone.state.id), state.as_object_mut()) {
                fields.insert("planner".to_owned(), serde_json::to_value(planner).ok()?);
            }
            state
        }
    })
}

/// The circuits of the participants that this node calls, each with its path.
fn circuits(node: &Node) -> impl Iterator<Item = (String, Circuit)> {
    let payments = node.ports.payments.circuits().into_iter();
    let payments = payments.map(|circuit| (format!("node/circuit-{}", circuit.participant), circuit));
    let kitchens = node.ports.kitchens.circuits().into_iter();
    payments.chain(kitchens.map(|circuit| (format!("node/circuit-channel-{}", circuit.participant), circuit)))
}

fn circuit_view(node: &Node, path: String, circuit: &Circuit) -> ActorView {
    let trouble = match circuit.circuit {
        CircuitState::Closed => None,
        CircuitState::Open => Some(format!("nothing is let through for another {} ms", circuit.open_for_ms)),
        CircuitState::HalfOpen => Some("one call is on its way to find out".to_owned()),
    };
    ActorView {
        path,
        kind: "circuit".to_owned(),
        status: circuit.circuit.as_str().to_owned(),
        trouble,
        mailbox_depth: circuit.waiting as u64,
        summary: Some(format!(
            "{} failures in a row, opened {} times",
            circuit.failures, circuit.opened
        )),
        ..root(node, String::new())
    }
}

impl Node {
    /// All actors by path, or the one at a path with its observable state.
    pub(crate) fn actors(&self, path: Option<&str>) -> Vec<ActorView> {
        let cells = self.registry.all();
        let Some(path) = path else {
            let mut children = HashMap::new();
            for cell in &cells {
                *children.entry(cell.shard).or_insert(0) += 1;
            }
            let mut views = trunk(self, &children);
            views.extend(cells.iter().map(|cell| view(cell)));
            views.extend(circuits(self).map(|(path, circuit)| circuit_view(self, path, &circuit)));
            views.sort_by(|a, b| a.path.cmp(&b.path));
            return views;
        };
        if let Some(cell) = cells.iter().find(|cell| self::path(cell) == path) {
            let state = state(self, cell);
            return vec![ActorView { state, ..view(cell) }];
        }
        if let Some((path, circuit)) = circuits(self).find(|(known, _)| known == path) {
            let state = serde_json::to_value(&circuit).ok();
            return vec![ActorView {
                state,
                ..circuit_view(self, path, &circuit)
            }];
        }
        let mut views = self.actors(None);
        views.retain(|view| view.path == path);
        views
    }
}
