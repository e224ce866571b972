//! What a zone is told of an order's food while a courier is wanted for it.

use super::{Direction, EffectKey, Step};
use crate::ids::ZoneId;
use crate::order::{KitchenStage, Order};
use crate::zone::Progress;

/// How far the order's food is, and for which job of which zone; `None` while no courier is asked for, and once it is over.
/// It follows from the order alone, so it can be said again at any time.
pub fn job_progress(order: &Order) -> Option<(&ZoneId, EffectKey, Progress)> {
    if order.unwinding.is_some() || order.status.is_terminal() {
        return None;
    }
    let record = order.in_force(Step::Dispatch)?;
    let key = EffectKey {
        order: order.id,
        step: Step::Dispatch,
        round: record.round,
        direction: Direction::Forward,
    };
    let progress = Progress {
        ready_at: order.ready_at,
        is_ready: order.kitchen >= KitchenStage::Ready,
        left_at: order.milestones.picked_up_at,
    };
    let candidate = order.candidate_of(record.candidate)?;
    Some((&candidate.zone, key, progress))
}
