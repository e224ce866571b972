//! Carries out the effects of sagas: asks the participant, bounded in time, and brings the answer to the order.

use crate::call::{Call, Origin};
use crate::choice;
use crate::error::CallError;
use crate::hosted::Hosted;
use crate::node::Node;
use domain::ids::{OrderId, StreamId, ZoneId};
use domain::order::Order;
use domain::ports::Recorded;
use domain::saga::{Action, Answer, Command, Direction, Effect};
use fail::fail_point;
use std::sync::Arc;
use std::time::Duration;

/// The pause before an order is told again what it could not hear.
const INSIST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const INSIST_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Begins an effect in a task of its own. There are at most as many as orders have steps under way, which admission
/// bounds; the task ends when the order has heard the answer. `resumed`: an earlier attempt of the same number may have left.
pub(crate) fn begin(node: &Arc<Node>, effect: Effect, resumed: bool) {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let pause = node.wall_until(effect.start_at);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if node.is_stopped() {
            return;
        }
        fail_point!(&format!(
            "effect::send:{}:{}",
            effect.key.step.as_str(),
            direction(&effect)
        ));
        let wall_ms = effect.timeout_ms.0.div_ceil(node.ports.clock.scale().max(1));
        let answer = match tokio::time::timeout(Duration::from_millis(wall_ms), perform(&node, &effect, resumed)).await
        {
            Ok(answer) => answer,
            Err(_) => Answer::Failed(format!("no answer within {wall_ms} ms")),
        };
        fail_point!(&format!(
            "effect::answered:{}:{}",
            effect.key.step.as_str(),
            direction(&effect)
        ));
        count(&effect, &answer);
        let refused = matches!(answer, Answer::Refused(_));
        let command = effect.answered(answer);
        if refused {
            insist_here(&node, effect.key.order, command).await;
        } else {
            insist(&node, effect.key.order, command).await;
        }
    });
}

const fn direction(effect: &Effect) -> &'static str {
    match effect.key.direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    }
}

fn count(effect: &Effect, answer: &Answer) {
    let outcome = match answer {
        Answer::Done(_) => "done",
        Answer::Pending => "pending",
        Answer::Refused(_) => "refused",
        Answer::Failed(_) => "failed",
        Answer::Unsent(_) => "unsent",
    };
    let (step, direction) = (effect.key.step.as_str(), direction(effect));
    metrics::counter!("uoop_effects_total", "step" => step, "direction" => direction, "outcome" => outcome)
        .increment(1);
}

async fn perform(node: &Arc<Node>, effect: &Effect, resumed: bool) -> Answer {
    // Only of what was never asked before can it be said, without asking, that it did not happen.
    let first = effect.is_first(resumed);
    match &effect.action {
        // Settled within the turn (see `Hosted::settle`) where capacity is not scarce.
        Action::Route => match current(node, effect.key.order).await {
            Ok(order) => choice::together(node, &order).await,
            Err(error) => Answer::Failed(error),
        },
        Action::Payment(request) => node.ports.payments.request(request).await,
        Action::Ticket(request) if first => node.ports.kitchens.offer(request).await,
        Action::Ticket(request) => node.ports.kitchens.request(request).await,
        Action::Capacity(channel, request) => {
            let command = domain::channel::Command::Capacity(*request);
            match ask::<domain::channel::Channel>(node, channel.stream(), command).await {
                Err(CallError::Overloaded { what }) => effect.overloaded(resumed, &what),
                result => result.unwrap_or_else(|error| Answer::Failed(error.to_string())),
            }
        }
        Action::Job(zone, request) => {
            let command = domain::zone::Command::Job {
                zone: zone.clone(),
                request: request.clone(),
            };
            let answer = ask::<domain::zone::Zone>(node, zone.stream(), command).await;
            answer.unwrap_or_else(|error| Answer::Failed(error.to_string()))
        }
    }
}

/// Tells an order something until it has heard it, through crashes, restarts and a store that is away: what a zone reports
/// it says only once, and an answer that got lost would cost the order a whole deadline.
pub(crate) async fn insist(node: &Arc<Node>, order: OrderId, command: Command) {
    let mut pause = INSIST_PAUSE;
    loop {
        match ask::<Order>(node, order.stream(), command.clone()).await {
            Ok(()) | Err(CallError::Rejected(_) | CallError::Fenced) => return,
            Err(_) if node.is_stopped() => return,
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = pause.saturating_mul(2).min(INSIST_PAUSE_MAX);
    }
}

/// Tells an order that something was refused, as [`insist`] does, for as long as it lives here. Whoever takes it over asks
/// again under the same number and may be answered otherwise: believed there, a refusal from here would leave nobody to
/// undo what was done.
async fn insist_here(node: &Arc<Node>, order: OrderId, command: Command) {
    let stream = order.stream();
    let mut pause = INSIST_PAUSE;
    while node.is_here(stream) && !node.is_stopped() {
        let call = Call::<Order>::new(stream, command.clone(), Origin::Saga);
        match tokio::time::timeout(node.options.call_timeout, node.call_here(call)).await {
            Ok(Ok(_) | Err(CallError::Rejected(_) | CallError::Fenced)) => return,
            _ => tokio::time::sleep(pause).await,
        }
        pause = pause.saturating_mul(2).min(INSIST_PAUSE_MAX);
    }
}

/// Tells a zone something that only makes its plans better: once, in a task of its own.
pub(crate) fn hint(node: &Arc<Node>, zone: &ZoneId, command: domain::zone::Command) {
    let (node, stream) = (Arc::clone(node), zone.stream());
    tokio::spawn(async move {
        if let Err(error) = ask::<domain::zone::Zone>(&node, stream, command).await {
            tracing::debug!(%stream, %error, "a zone was not told how far some food is");
        }
    });
}

/// Asks an actor on behalf of a saga: past the shard's admission, which the order has passed already.
async fn ask<E: Hosted>(node: &Arc<Node>, stream: StreamId, command: E::Command) -> Result<E::Reply, CallError> {
    let outcome = node.call::<E>(Call::new(stream, command, Origin::Saga)).await;
    outcome.map(|outcome| outcome.reply)
}

/// The order as it stands, from its actor's last commit or, failing that, from the store.
async fn current(node: &Node, id: OrderId) -> Result<Arc<Order>, String> {
    let live = node.registry.get(id.stream()).and_then(|cell| cell.latest.load_full());
    if let Some(crate::cell::Latest::Order(order)) = live.as_deref() {
        return Ok(Arc::clone(&order.state));
    }
    let recorded: Option<Recorded> = node.ports.store.load(id.stream()).await.map_err(|e| e.to_string())?;
    let recorded = recorded.ok_or("there is no such order")?;
    let restored = crate::restore::restore::<Order>(&recorded).map_err(|e| e.to_string())?;
    restored
        .map(|order| order.state)
        .ok_or_else(|| "there is no such order".to_owned())
}
