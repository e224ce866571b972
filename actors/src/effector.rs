//! Carries out the effects of sagas: asks the participant, bounded in time, and brings the answer to the order.

use crate::ask::Answered;
use crate::choice;
use crate::error::CallError;
use crate::life::Inbox;
use crate::node::Node;
use domain::channel::{self, Channel};
use domain::ids::{ChannelId, OrderId, ZoneId};
use domain::order::Order;
use domain::ports::Recorded;
use domain::saga::{Action, Answer, CapacityRequest, Command, Direction, Effect, EffectKey, JobRequest};
use domain::time::Millis;
use domain::zone::{self, Zone};
use fail::fail_point;
use std::sync::Arc;
use std::time::Duration;

/// The pause before an order is told again what it could not hear.
const INSIST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const INSIST_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Begins an effect. There are at most as many under way as orders have steps under way, which admission bounds.
/// `resumed`: an earlier attempt of the same number may have left.
pub(crate) fn begin(node: &Arc<Node>, effect: Effect, resumed: bool) {
    let order = effect.key.order.stream();
    // Without its actor nobody could be told of a refusal that is not remembered.
    let actor = effect.is_first(resumed).then(|| node.actor_of(order)).flatten();
    let (pause, effect) = (node.wall_until(effect.start_at), effect.leaving(actor.is_none()));
    if pause.is_zero() {
        return send(node, effect, actor);
    }
    let node = Arc::clone(node);
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        send(&node, effect, actor);
    });
}

/// Actors are asked without waiting for them: if no answer comes, the order's own deadline ends the wait. Everybody else is
/// asked in a task, bounded in time.
fn send(node: &Arc<Node>, effect: Effect, actor: Option<Arc<Inbox>>) {
    if node.is_stopped() {
        return;
    }
    let asked = Asked {
        node: Arc::clone(node),
        key: effect.key,
        attempt: effect.attempt,
        asker: actor,
    };
    fail_point!(&format!(
        "effect::send:{}:{}",
        asked.key.step.as_str(),
        asked.direction()
    ));
    // Only of what was never asked before can it be said, without asking, that it did not happen.
    let first = asked.asker.is_some();
    let ports = &node.ports;
    match effect.action {
        Action::Capacity(channel, request) => asked.channel(&channel, request, first),
        Action::Job(zone, request) => asked.zone(zone, request),
        // Settled within the turn (see `Hosted::settle`) where capacity is not scarce.
        Action::Route => asked.wait(effect.timeout_ms, route(Arc::clone(node), effect.key.order)),
        Action::Payment(request) => {
            let payments = Arc::clone(&ports.payments);
            asked.wait(effect.timeout_ms, async move { payments.request(&request).await });
        }
        Action::Ticket(request) => {
            let kitchens = Arc::clone(&ports.kitchens);
            asked.wait(effect.timeout_ms, async move {
                if first {
                    kitchens.offer(&request).await
                } else {
                    kitchens.request(&request).await
                }
            });
        }
    }
}

/// An effect that has been asked for.
struct Asked {
    node: Arc<Node>,
    key: EffectKey,
    attempt: u32,
    /// The order's actor, if nobody can have asked before it.
    asker: Option<Arc<Inbox>>,
}

impl Asked {
    fn channel(self, channel: &ChannelId, request: CapacityRequest, first: bool) {
        let (node, command) = (Arc::clone(&self.node), channel::Command::Capacity(request));
        let (stream, channel) = (channel.stream(), channel.clone());
        node.call_then::<Channel>(stream, command, move |reply| {
            if matches!(request, CapacityRequest::Hold { .. }) {
                let kept = reply
                    .as_ref()
                    .ok()
                    .filter(|(_, answer)| matches!(answer, Answer::Done(_)));
                let kept_at = kept.map(|(seq, _)| *seq);
                self.node
                    .chooser
                    .answered(&self.node, &channel, self.key.order, kept_at);
            }
            self.answered(match reply {
                Ok((_, answer)) => answer,
                Err(CallError::Overloaded { what }) => request.overloaded(first, &what),
                Err(error) => Answer::Failed(error.to_string()),
            });
        });
    }

    fn zone(self, zone: ZoneId, request: JobRequest) {
        let (node, stream) = (Arc::clone(&self.node), zone.stream());
        node.call_then::<Zone>(stream, zone::Command::Job { zone, request }, move |reply| {
            self.answered(reply.map_or_else(|error| Answer::Failed(error.to_string()), |(_, answer)| answer));
        });
    }

    fn wait(self, timeout: Millis, answer: impl Future<Output = Answer> + Send + 'static) {
        tokio::spawn(async move {
            let wall_ms = timeout.0.div_ceil(self.node.ports.clock.scale().max(1));
            let answer = tokio::time::timeout(Duration::from_millis(wall_ms), answer).await;
            self.answered(answer.unwrap_or_else(|_| Answer::Failed(format!("no answer within {wall_ms} ms"))));
        });
    }

    /// Brings the answer to the order.
    fn answered(self, answer: Answer) {
        fail_point!(&format!(
            "effect::answered:{}:{}",
            self.key.step.as_str(),
            self.direction()
        ));
        let outcome = match answer {
            Answer::Done(_) => "done",
            Answer::Pending => "pending",
            Answer::Refused(_) => "refused",
            Answer::Failed(_) => "failed",
            Answer::Unsent(_) => "unsent",
        };
        let (step, direction) = (self.key.step.as_str(), self.direction());
        metrics::counter!("uoop_effects_total", "step" => step, "direction" => direction, "outcome" => outcome)
            .increment(1);
        let reach = match (&answer, self.asker) {
            (Answer::Refused(_), Some(asker)) => Reach::Only(asker),
            (Answer::Refused(_), None) => Reach::Here,
            _ => Reach::Anywhere,
        };
        let command = self.key.answered(self.attempt, answer);
        insist(&self.node, self.key.order, command, reach, INSIST_PAUSE);
    }

    const fn direction(&self) -> &'static str {
        match self.key.direction {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        }
    }
}

/// Chooses a channel for an order.
async fn route(node: Arc<Node>, order: OrderId) -> Answer {
    match current(&node, order).await {
        Ok(order) => choice::together(&node, &order).await,
        Err(error) => Answer::Failed(error),
    }
}

/// Tells an order something until it has heard it, through crashes, restarts and a store that is away: what a zone reports
/// it says only once, and an answer that got lost would cost the order a whole deadline.
pub(crate) fn tell(node: &Arc<Node>, order: OrderId, command: Command) {
    insist(node, order, command, Reach::Anywhere, INSIST_PAUSE);
}

/// Where an order is told something.
#[derive(Clone)]
enum Reach {
    /// Wherever it lives.
    Anywhere,
    /// Only as long as it lives here: a refusal. Whoever takes the order over asks again under the same number and may be
    /// answered otherwise: believed there, a refusal from here would leave nobody to undo what was done.
    Here,
    /// Only as long as it is this actor: a refusal of what nobody had asked for before, which whoever refused it does not
    /// remember. The actor's successor, here as elsewhere, has asked again.
    Only(Arc<Inbox>),
}

fn insist(node: &Arc<Node>, order: OrderId, command: Command, reach: Reach, pause: Duration) {
    let stream = order.stream();
    let (node_then, again, reach_again) = (Arc::clone(node), command.clone(), reach.clone());
    let heard = move |heard: Result<(), CallError>| match heard {
        Ok(()) | Err(CallError::Rejected(_) | CallError::Fenced) => {}
        Err(_) if node_then.is_stopped() => {}
        Err(_) => {
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let pause = pause.saturating_mul(2).min(INSIST_PAUSE_MAX);
                insist(&node_then, order, again, reach_again, pause);
            });
        }
    };
    match reach {
        Reach::Anywhere => node.call_then::<Order>(stream, command, |said| heard(said.map(|(_, reply)| reply))),
        Reach::Here if node.is_here(stream) => {
            node.call_here_then::<Order>(stream, command, |answered| heard(answered.map(|applied| applied.reply)));
        }
        Reach::Here => {}
        Reach::Only(actor) => {
            let heard = |answered: Answered<Order>| heard(answered.map(|applied| applied.reply));
            node.call_only_then::<Order>(&actor, stream, command, heard);
        }
    }
}

/// Tells a zone something that only makes its plans better: once.
pub(crate) fn hint(node: &Arc<Node>, zone: &ZoneId, command: zone::Command) {
    let stream = zone.stream();
    node.call_then::<Zone>(stream, command, move |heard| {
        if let Err(error) = heard {
            tracing::debug!(%stream, %error, "a zone was not told how far some food is");
        }
    });
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
