//! What an order can tell its channel of the ticket, so that the channel learns how long it cooks and how often it does not.

use super::Step;
use super::ledger::Forward;
use crate::channel::Cooked;
use crate::order::{Ending, FailureCode, Order};
use crate::time::Millis;

/// How long the ticket took, once the food has left; `None` when the kitchen never said that it was ready.
///
/// Counted from the moment from which the quote counted (what it took until the kitchen had the ticket, and what the kitchen
/// let it wait, are parts of it), or from when cooking began, if that was earlier. So a kitchen that has the food ready just
/// as it was quoted leaves the next quote as it is.
pub(super) fn cooked(order: &Order) -> Option<Cooked> {
    let (candidate, times) = (order.candidate()?, &order.milestones);
    let ready_at = times.ready_at?;
    // A pick-up implies that the food was ready, not when; and a quote that another kitchen's refusal made old says nothing.
    let known = times.picked_up_at.is_some_and(|picked_up_at| picked_up_at > ready_at);
    if !known || order.round > 0 {
        return None;
    }
    let planned_at = candidate.ready_at - candidate.prep_ms;
    let cooking_at = times.preparing_at.filter(|cooking_at| *cooking_at < ready_at);
    let began_at = cooking_at.map_or(planned_at, |cooking_at| cooking_at.min(planned_at));
    if began_at >= ready_at {
        return None;
    }
    Some(Cooked {
        began_at,
        took_ms: Millis(ready_at.ms_since(began_at)),
        expected_ms: candidate.menu_prep_ms.unwrap_or(candidate.prep_ms),
        late_ms: Millis(ready_at.ms_since(candidate.ready_at)),
    })
}

/// Whether the candidate of a round is given up because its kitchen refused the ticket, dropped it, or did not answer.
pub(super) fn is_lost(order: &Order, round: u32) -> bool {
    let Some(ticket) = order.record(Step::PlaceTicket, round) else {
        return false;
    };
    let confirmation = order.record(Step::ConfirmCapacity, round);
    if confirmation.is_some_and(|record| record.forward == Forward::Refused) {
        return false;
    }
    let failed_there = order.unwinding.as_ref().is_some_and(|unwinding| {
        let codes = [FailureCode::NoAvailableChannel, FailureCode::KitchenCancelled];
        matches!(&unwinding.ending, Ending::Failed(code) if codes.contains(code))
    });
    ticket.forward == Forward::Refused || order.round > round || failed_there
}
