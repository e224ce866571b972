//! The fulfilment saga: its definition is a table ([`definition`]), its state is the order's ledger, and
//! [`decide`] / [`evolve`] / [`resume`] are pure.

mod candidate;
mod decide;
mod definition;
mod effect;
mod evolve;
mod ledger;
mod outcome;
mod progress;
mod report;
mod resume;
mod turn;
mod unwind;

pub use candidate::{Candidate, Drawbacks, Infeasible};
pub use decide::{Command, decide};
pub use definition::{CURRENT_VERSION, Participant, Step, StepDefinition, definition};
pub use effect::{
    Action, Answer, CapacityRequest, Direction, Effect, EffectKey, Job, JobRequest, PaymentAction, PaymentRequest,
    Receipt, Refused, Ticket, TicketAction, TicketRequest,
};
pub use evolve::evolve;
pub use ledger::{Attempt, Backward, Forward, Record};
pub use progress::job_progress;
pub use report::{CourierReport, KitchenReport, Report};
pub use resume::{resume, wake_at};

use crate::entity::{Context, Decision, Entity, IllegalEvent};
use crate::order::{Event, Order};
use crate::policy::Policy;
use crate::ports::StreamKind;
use crate::rejection::Rejection;
use crate::time::Timestamp;

impl Entity for Order {
    const KIND: StreamKind = StreamKind::Order;
    type Command = Command;
    type Event = Event;
    type Effect = Effect;
    type Reply = ();

    fn decide(state: Option<&Self>, command: Command, context: &Context<'_>) -> Result<Decision<Self>, Rejection> {
        decide(state, command, context)
    }

    fn evolve(state: Option<Self>, event: &Event, at: Timestamp) -> Result<Self, IllegalEvent> {
        evolve(state, event, at)
    }

    fn resume(&self, policy: &Policy) -> Vec<Effect> {
        resume(self, policy)
    }

    fn wake_at(&self, context: &Context<'_>) -> Option<Timestamp> {
        wake_at(self, context.policy)
    }

    fn wake() -> Command {
        Command::Wake
    }

    fn is_live(&self) -> bool {
        !self.is_settled()
    }
}

#[cfg(test)]
mod tests;
