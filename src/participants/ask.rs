//! What is asked of a participant, checked to make sense in itself.

use domain::saga::{Direction, EffectKey, PaymentAction, PaymentRequest, Step, TicketAction, TicketRequest};
use serde::{Deserialize, Serialize};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Set money aside.
    Authorize,
    /// Undoes an authorization.
    Void,
    /// Take the money of an authorization.
    Capture,
    /// Undoes a capture.
    Refund,
    /// Cook a ticket.
    Place,
    /// Undoes a ticket.
    Cancel,
}

impl Verb {
    /// The step whose action or compensation it is.
    pub const fn step(self) -> Step {
        match self {
            Self::Authorize | Self::Void => Step::Authorize,
            Self::Capture | Self::Refund => Step::Capture,
            Self::Place | Self::Cancel => Step::PlaceTicket,
        }
    }

    /// Whether it is an action or a compensation.
    pub const fn direction(self) -> Direction {
        match self {
            Self::Authorize | Self::Capture | Self::Place => Direction::Forward,
            Self::Void | Self::Refund | Self::Cancel => Direction::Backward,
        }
    }

    /// The name, as in paths and ledgers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Void => "void",
            Self::Capture => "capture",
            Self::Refund => "refund",
            Self::Place => "place",
            Self::Cancel => "cancel",
        }
    }
}

impl From<PaymentAction> for Verb {
    fn from(action: PaymentAction) -> Self {
        match action {
            PaymentAction::Authorize => Self::Authorize,
            PaymentAction::Void => Self::Void,
            PaymentAction::Capture => Self::Capture,
            PaymentAction::Refund => Self::Refund,
        }
    }
}

impl From<TicketAction> for Verb {
    fn from(action: TicketAction) -> Self {
        match action {
            TicketAction::Place => Self::Place,
            TicketAction::Cancel => Self::Cancel,
        }
    }
}

/// One request, reduced to what books need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The effect's key.
    pub key: EffectKey,
    /// What to do.
    pub verb: Verb,
    /// The authorization of a capture; the undone action of a compensation.
    pub of: Option<EffectKey>,
}

/// A request that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(String);

impl Ask {
    /// # Errors
    /// The key, the order, the verb and what it refers to do not fit together.
    fn check(self, order: domain::ids::OrderId) -> Result<Self, Contradiction> {
        let Self { key, verb, of } = self;
        let wrong = |text: String| Err(Contradiction(text));
        if key.order != order {
            return wrong(format!("the key {key} is not of order {order}"));
        }
        if key.step != verb.step() || key.direction != verb.direction() {
            return wrong(format!("the key {key} is not one for {}", verb.as_str()));
        }
        match (verb.direction(), of) {
            (Direction::Backward, Some(of)) if of == key.action() => Ok(self),
            (Direction::Backward, _) => wrong(format!("'of' must be {}, the action that {key} undoes", key.action())),
            (Direction::Forward, Some(of)) if verb == Verb::Capture => {
                let authorization = EffectKey {
                    step: Step::Authorize,
                    round: of.round,
                    ..key
                };
                if of == authorization {
                    Ok(self)
                } else {
                    wrong(format!("'of' is no authorization of order {order}"))
                }
            }
            (Direction::Forward, None) if verb != Verb::Capture => Ok(self),
            (Direction::Forward, _) => wrong(format!("'of' goes with capture and only with it, not as in {key}")),
        }
    }
}

impl TryFrom<&PaymentRequest> for Ask {
    type Error = Contradiction;

    fn try_from(request: &PaymentRequest) -> Result<Self, Contradiction> {
        Self {
            key: request.key,
            verb: request.action.into(),
            of: request.of,
        }
        .check(request.order)
    }
}

impl TryFrom<&TicketRequest> for Ask {
    type Error = Contradiction;

    fn try_from(request: &TicketRequest) -> Result<Self, Contradiction> {
        let ask = Self {
            key: request.key,
            verb: request.action.into(),
            of: request.of,
        }
        .check(request.order)?;
        if request.ticket.is_some() == (request.action == TicketAction::Place) {
            return Ok(ask);
        }
        Err(Contradiction("a ticket comes with place and only with it".to_owned()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use domain::ids::{HashSlot, OrderId};
    use domain::money::Money;
    use domain::saga::Ticket;
    use domain::time::{Millis, Timestamp};

    pub(crate) fn order(n: u64) -> OrderId {
        OrderId::mint(Timestamp(1_000), HashSlot::of(&[b"test"]), n)
    }

    /// The key of the action of a step of the `n`th order.
    pub(crate) fn key(n: u64, step: Step, round: u32) -> EffectKey {
        EffectKey {
            order: order(n),
            step,
            round,
            direction: Direction::Forward,
        }
    }

    pub(crate) fn undo(key: EffectKey) -> EffectKey {
        EffectKey {
            direction: Direction::Backward,
            ..key
        }
    }

    pub(crate) fn payment(n: u64, action: PaymentAction) -> PaymentRequest {
        let verb = Verb::from(action);
        let action_key = key(n, verb.step(), 0);
        let (key, of) = match action {
            PaymentAction::Authorize => (action_key, None),
            PaymentAction::Capture => (action_key, Some(key(n, Step::Authorize, 0))),
            PaymentAction::Void | PaymentAction::Refund => (undo(action_key), Some(action_key)),
        };
        let amount = Money {
            minor: 1_250,
            currency: "USD".parse().expect("a currency"),
        };
        let payment_token = (action == PaymentAction::Authorize).then(|| "tok_visa".to_owned());
        PaymentRequest {
            key,
            of,
            order: order(n),
            action,
            amount,
            payment_token,
        }
    }

    pub(crate) fn ticket(n: u64, action: TicketAction, prep_ms: u64) -> TicketRequest {
        let action_key = key(n, Step::PlaceTicket, 0);
        let (key, of, ticket) = match action {
            TicketAction::Place => {
                let ticket = Ticket {
                    items: Vec::new(),
                    notes: None,
                    prep_ms: Millis(prep_ms),
                    ready_at: Timestamp(2_000),
                };
                (action_key, None, Some(ticket))
            }
            TicketAction::Cancel => (undo(action_key), Some(action_key), None),
        };
        TicketRequest {
            key,
            of,
            order: order(n),
            channel: "kitchen-1".parse().expect("an id"),
            action,
            ticket,
        }
    }

    #[test]
    fn what_the_saga_sends_makes_sense() {
        use PaymentAction::{Authorize, Capture, Refund, Void};
        for action in [Authorize, Void, Capture, Refund] {
            let request = payment(1, action);
            let ask = Ask::try_from(&request).expect("consistent");
            assert_eq!(
                (ask.key, ask.verb, ask.of),
                (request.key, Verb::from(action), request.of)
            );
        }
        for action in [TicketAction::Place, TicketAction::Cancel] {
            assert!(Ask::try_from(&ticket(1, action, 0)).is_ok());
        }
    }

    #[test]
    fn contradictions_are_named() {
        let of_another_order = PaymentRequest {
            order: order(2),
            ..payment(1, PaymentAction::Authorize)
        };
        let of_another_step = PaymentRequest {
            key: key(1, Step::Capture, 0),
            ..payment(1, PaymentAction::Authorize)
        };
        let undoing_another = PaymentRequest {
            of: Some(key(1, Step::Authorize, 3)),
            ..payment(1, PaymentAction::Void)
        };
        let of_nothing = PaymentRequest {
            of: None,
            ..payment(1, PaymentAction::Capture)
        };
        let of_too_much = PaymentRequest {
            of: Some(key(1, Step::Authorize, 0)),
            ..payment(1, PaymentAction::Authorize)
        };
        let of_a_stranger = PaymentRequest {
            of: Some(key(2, Step::Authorize, 0)),
            ..payment(1, PaymentAction::Capture)
        };
        for wrong in [
            of_another_order,
            of_another_step,
            undoing_another,
            of_nothing,
            of_too_much,
            of_a_stranger,
        ] {
            assert!(Ask::try_from(&wrong).is_err(), "{wrong:?}");
        }
        let bare = TicketRequest {
            ticket: None,
            ..ticket(1, TicketAction::Place, 0)
        };
        assert!(
            Ask::try_from(&bare)
                .expect_err("no ticket")
                .to_string()
                .contains("place")
        );
    }
}
