//! Effects: what a saga asks of others, as data, and what they answer.

use super::candidate::{Candidate, Infeasible};
use super::{Command, Step};
use crate::channel::Cooked;
use crate::geo::Location;
use crate::ids::{ChannelId, CourierId, OrderId, ZoneId};
use crate::money::Money;
use crate::order::Item;
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Whether a step is done or undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The action.
    Forward,
    /// Its compensation.
    Backward,
}

/// Names one effect for ever: the same over retries and restarts. It goes to the participant as its idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectKey {
    /// Whose saga.
    pub order: OrderId,
    /// Which step.
    pub step: Step,
    /// Which round of it.
    pub round: u32,
    /// The action or its compensation.
    pub direction: Direction,
}

impl EffectKey {
    /// The key of the action that this key's compensation undoes (itself, if it is an action).
    pub const fn action(self) -> Self {
        Self {
            direction: Direction::Forward,
            ..self
        }
    }

    /// The command that brings the order the answer to an attempt at this effect.
    pub const fn answered(self, attempt: u32, answer: Answer) -> Command {
        Command::Answer {
            step: self.step,
            round: self.round,
            direction: self.direction,
            attempt,
            answer,
        }
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Forward => "do",
            Direction::Backward => "undo",
        };
        write!(f, "{}:{}:{}:{direction}", self.order, self.step.as_str(), self.round)
    }
}

impl FromStr for EffectKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not an effect key: order:step:round:do|undo");
        let mut parts = text.split(':');
        let (Some(order), Some(step), Some(round), Some(direction), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        Ok(Self {
            order: order.parse().map_err(|_| wrong())?,
            step: Step::ALL.into_iter().find(|s| s.as_str() == step).ok_or_else(wrong)?,
            round: round.parse().map_err(|_| wrong())?,
            direction: match direction {
                "do" => Direction::Forward,
                "undo" => Direction::Backward,
                _ => return Err(wrong()),
            },
        })
    }
}

impl Serialize for EffectKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EffectKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// One thing to do, once the event that justifies it is durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Its name for ever.
    pub key: EffectKey,
    /// Fences late answers.
    pub attempt: u32,
    /// Not before this.
    pub start_at: Timestamp,
    /// How long the participant may take.
    pub timeout_ms: Millis,
    /// What.
    pub action: Action,
}

impl Effect {
    /// The command that brings the order the participant's answer.
    pub fn answered(&self, answer: Answer) -> Command {
        self.key.answered(self.attempt, answer)
    }

    /// Whether it was certainly never asked before. `resumed`: an earlier attempt of the same number may have left.
    pub const fn is_first(&self, resumed: bool) -> bool {
        self.attempt == 1 && !resumed
    }

    /// The effect as it leaves: what may have left before says so (see [`CapacityRequest::again`]).
    #[must_use]
    pub const fn leaving(mut self, resumed: bool) -> Self {
        let first = self.is_first(resumed);
        if let Action::Capacity(_, request) = &mut self.action
            && !first
        {
            *request = request.again();
        }
        self
    }

    /// The answer when whoever was to be asked had no room for this attempt, so that it was certainly not carried out. A
    /// hold that was never asked for before is refused with that: a channel that has too much to do is passed over, like
    /// one that has no capacity. Of anything else nothing is known, or it must be done.
    pub fn overloaded(&self, resumed: bool, what: &str) -> Answer {
        match self.action {
            Action::Capacity(_, request) => request.overloaded(self.is_first(resumed), what),
            _ => Answer::Failed(format!("{what} has more to do than it can take")),
        }
    }
}

/// What is asked, and of whom.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Of the router: which channels can make the order.
    Route,
    /// Of a channel's capacity ledger.
    Capacity(ChannelId, CapacityRequest),
    /// Of the payment provider.
    Payment(PaymentRequest),
    /// Of a kitchen or partner.
    Ticket(TicketRequest),
    /// Of a zone's dispatcher.
    Job(ZoneId, JobRequest),
}

/// What a channel's capacity ledger is asked. `key` is always the key of the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapacityRequest {
    /// Hold units of a slot until a moment.
    Hold {
        /// The hold's name.
        key: EffectKey,
        /// When the slot starts.
        slot: Timestamp,
        /// How many slots later will do as well if this one is full.
        slots_ahead_max: u32,
        /// How many units.
        units: u32,
        /// When the hold lapses by itself.
        expires_at: Timestamp,
        /// Whether it may have been asked for before, so that the earlier ask may come yet: a refusal must be remembered.
        #[serde(default, skip_serializing_if = "is_false")]
        asked_before: bool,
    },
    /// Make the hold a reservation.
    Confirm {
        /// The hold's name.
        key: EffectKey,
    },
    /// Give back what the hold or reservation took.
    Release {
        /// The hold's name.
        key: EffectKey,
        /// Whether that is because the ticket was refused, dropped or not answered.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lost: bool,
    },
    /// The food has left: the reservation has served its purpose.
    Close {
        /// The hold's name.
        key: EffectKey,
        /// How long the ticket took, if that was reported.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cooked: Option<Cooked>,
    },
}

impl CapacityRequest {
    /// The request as it is made when it may have been made before, and the earlier one may come yet.
    #[must_use]
    pub const fn again(mut self) -> Self {
        if let Self::Hold { asked_before, .. } = &mut self {
            *asked_before = true;
        }
        self
    }

    /// The answer when the channel had no room for it: see [`Effect::overloaded`].
    pub fn overloaded(&self, first: bool, what: &str) -> Answer {
        if first && matches!(self, Self::Hold { .. }) {
            Answer::Refused(Refused::new("overloaded", what))
        } else {
            Answer::Failed(format!("{what} has more to do than it can take"))
        }
    }
}

/// What the payment provider is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRequest {
    /// The effect's key.
    pub key: EffectKey,
    /// The effect this one builds on or undoes: the authorization of a capture or void, the capture of a refund.
    pub of: Option<EffectKey>,
    /// The order.
    pub order: OrderId,
    /// What to do.
    pub action: PaymentAction,
    /// How much.
    pub amount: Money,
    /// The customer's means of payment; only with an authorization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_token: Option<String>,
}

/// What to do with money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentAction {
    /// Set it aside.
    Authorize,
    /// Let it go again.
    Void,
    /// Take it.
    Capture,
    /// Give it back.
    Refund,
}

/// What a kitchen or partner is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TicketRequest {
    /// The effect's key.
    pub key: EffectKey,
    /// The ticket that a cancel undoes.
    pub of: Option<EffectKey>,
    /// The order.
    pub order: OrderId,
    /// The kitchen or partner.
    pub channel: ChannelId,
    /// What to do.
    pub action: TicketAction,
    /// What to cook; only with a new ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
}

/// What to do with a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketAction {
    /// Cook it.
    Place,
    /// Do not.
    Cancel,
}

/// What to cook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// The lines.
    pub items: Vec<Item>,
    /// A word to the kitchen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// How long cooking is expected to take, in business time.
    pub prep_ms: Millis,
    /// When it is wanted.
    pub ready_at: Timestamp,
}

/// What a zone's dispatcher is asked. `key` is always the key of the dispatch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum JobRequest {
    /// Send a courier.
    Assign {
        /// The job's name.
        key: EffectKey,
        /// What to carry.
        job: Box<Job>,
    },
    /// Send none, or call it back.
    Unassign {
        /// The job's name.
        key: EffectKey,
    },
    /// It is delivered: the courier is free.
    Complete {
        /// The job's name.
        key: EffectKey,
    },
}

/// What to carry from where to where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Where the food is.
    pub pickup: Location,
    /// Where the customer is.
    pub dropoff: Location,
    /// When the food is ready.
    pub ready_at: Timestamp,
    /// When the order was placed; absent in jobs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed_at: Option<Timestamp>,
    /// Whether it is ready already.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_ready: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What a participant answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done (now or the first time it was asked).
    Done(Receipt),
    /// It is taken; the decision follows.
    Pending,
    /// The participant says no: it did not and will not happen.
    Refused(Refused),
    /// No answer, or none that says whether it happened: a time-out, a lost connection, a 5xx.
    Failed(String),
    /// This attempt certainly never left: an open circuit let nothing through. Says nothing of earlier attempts.
    Unsent(String),
}

/// Why a participant says no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// A short name, such as `sold_out` or `declined`.
    pub code: String,
    /// What it says about it.
    pub detail: String,
}

impl Refused {
    /// A refusal with a code and a text.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
        }
    }
}

/// What came of a step that was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receipt {
    /// Nothing more to say.
    #[default]
    Empty,
    /// The channels that can make the order, best first, and those that cannot.
    Routed {
        /// Best first; not empty.
        candidates: Arc<[Candidate]>,
        /// The others, and why not.
        #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
        infeasible: Arc<[Infeasible]>,
    },
    /// Capacity is held, in a later slot than asked for.
    Held {
        /// When that slot starts; the food is not ready before.
        slot: Timestamp,
    },
    /// The money is set aside.
    Authorized {
        /// Until when, if it lapses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// The kitchen takes the ticket.
    Accepted {
        /// When it expects to be done, if it says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ready_at: Option<Timestamp>,
    },
    /// A courier is on its way to the kitchen.
    Assigned {
        /// Who.
        courier: CourierId,
        /// When it is expected there.
        pickup_at: Timestamp,
    },
}

impl Receipt {
    /// Whether it says what the saga needs to go on from this step.
    pub fn fits(&self, step: Step) -> bool {
        match step {
            Step::Route => matches!(self, Self::Routed { candidates, .. } if !candidates.is_empty()),
            Step::Dispatch => matches!(self, Self::Assigned { .. }),
            _ => true,
        }
    }
}
