//! What an honest participant remembers, so that each effect happens at most once and an undone one never.
//!
//! The rules, for each effect key: done once, and answered the same when asked again; an undo of an unknown action leaves a
//! *tombstone*, and the late action is refused; undone twice is undone once; a capture needs its authorization in force, and
//! uses it up; a ticket can be put off and decided later, and its kitchen can drop it. Pure: the shell stores what
//! [`Ruling::deed`] says before it answers.

use super::ask::{Ask, Verb};
use domain::ids::OrderId;
use domain::saga::{Direction, EffectKey, Refused, Step};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Taken, not decided yet.
    Pending,
    /// Done.
    Done,
    /// An authorization that a capture has used up.
    Captured,
    /// Done, then undone.
    Undone,
    /// Undone before it was done: it never will be.
    Tombstone,
    /// Refused.
    Refused(Refused),
    /// Done, then dropped by the participant itself.
    Dropped,
}

/// What was carried out just now, as a ledger says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The action.
    Done,
    /// The compensation, of something that was done.
    Undone,
    /// The compensation, of something that was not done: nothing but the promise never to do it.
    Tombstone,
    /// The action was refused for good.
    Refused,
    /// The ticket was taken; the decision follows.
    Pending,
    /// The kitchen dropped a ticket that it had accepted.
    Dropped,
}

/// What the participant thinks of an action that it has not seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Do it.
    Accept,
    /// Do not.
    Refuse(Refused),
    /// Think about it.
    Later,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// It is taken.
    Pending,
    /// No.
    Refused(Refused),
}

/// What the books say to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// What to answer.
    pub reply: Reply,
    /// What was carried out just now; `None` when nothing was, as when the request is a repetition.
    pub deed: Option<Outcome>,
}

impl Ruling {
    const fn repeated(reply: Reply) -> Self {
        Self { reply, deed: None }
    }

    const fn new(reply: Reply, deed: Outcome) -> Self {
        Self {
            reply,
            deed: Some(deed),
        }
    }
}

/// The books of a participant. Steps of an order are few, so each order has a short list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Books {
    orders: HashMap<OrderId, Vec<(Step, u32, Fate)>>,
}

impl Books {
    /// What became of an action, by its own key or its compensation's.
    pub fn fate(&self, key: &EffectKey) -> Option<&Fate> {
        let kept = self.orders.get(&key.order)?;
        kept.iter()
            .find(|(step, round, _)| (*step, *round) == (key.step, key.round))
            .map(|(_, _, fate)| fate)
    }

    /// Whether anything is known of an order.
    pub fn knows(&self, order: &OrderId) -> bool {
        self.orders.contains_key(order)
    }

    /// Forgets an order: only where books may be short of memory and answers follow from the key alone.
    pub fn forget(&mut self, order: &OrderId) {
        self.orders.remove(order);
    }

    /// Rules on a request and remembers what it did. `verdict` is asked only for an action not seen before.
    pub fn ask(&mut self, ask: &Ask, verdict: impl FnOnce() -> Verdict) -> Ruling {
        match ask.verb.direction() {
            Direction::Forward => self.act(ask, verdict),
            Direction::Backward => self.undo(&ask.key),
        }
    }

    fn act(&mut self, ask: &Ask, verdict: impl FnOnce() -> Verdict) -> Ruling {
        match self.fate(&ask.key) {
            Some(Fate::Pending) => return Ruling::repeated(Reply::Pending),
            Some(Fate::Done | Fate::Captured | Fate::Dropped) => return Ruling::repeated(Reply::Done),
            Some(Fate::Undone | Fate::Tombstone) => {
                let refused = Refused::new("undone", "it was undone already and will not be done");
                return Ruling::repeated(Reply::Refused(refused));
            }
            Some(Fate::Refused(refused)) => return Ruling::repeated(Reply::Refused(refused.clone())),
            None => {}
        }
        let verdict = match self.obstacle(ask) {
            Some(refused) => Verdict::Refuse(refused),
            None => verdict(),
        };
        match verdict {
            Verdict::Accept => {
                self.set(&ask.key, Fate::Done);
                self.use_up(ask.verb, ask.of.as_ref());
                Ruling::new(Reply::Done, Outcome::Done)
            }
            Verdict::Refuse(refused) => {
                self.set(&ask.key, Fate::Refused(refused.clone()));
                Ruling::new(Reply::Refused(refused), Outcome::Refused)
            }
            Verdict::Later => {
                self.set(&ask.key, Fate::Pending);
                Ruling::new(Reply::Pending, Outcome::Pending)
            }
        }
    }

    /// Why a capture cannot be, whatever the participant thinks of it.
    fn obstacle(&self, ask: &Ask) -> Option<Refused> {
        if ask.verb != Verb::Capture {
            return None;
        }
        match ask.of.as_ref().and_then(|of| self.fate(of)) {
            Some(Fate::Done) => None,
            Some(Fate::Captured) => Some(Refused::new("captured", "the authorization was captured already")),
            _ => Some(Refused::new("not_authorized", "the authorization is not in force")),
        }
    }

    fn use_up(&mut self, verb: Verb, of: Option<&EffectKey>) {
        if let (Verb::Capture, Some(of)) = (verb, of) {
            self.set(of, Fate::Captured);
        }
    }

    /// A void of a captured authorization is done like any other: nothing of it is set aside any more.
    fn undo(&mut self, key: &EffectKey) -> Ruling {
        let deed = match self.fate(key) {
            None | Some(Fate::Pending) => Outcome::Tombstone,
            Some(Fate::Done | Fate::Captured) => Outcome::Undone,
            Some(Fate::Undone | Fate::Tombstone | Fate::Refused(_) | Fate::Dropped) => {
                return Ruling::repeated(Reply::Done);
            }
        };
        self.set(
            key,
            if deed == Outcome::Undone {
                Fate::Undone
            } else {
                Fate::Tombstone
            },
        );
        Ruling::new(Reply::Done, deed)
    }

    /// Decides a ticket that was put off; `None` when it is not (any more) to be decided.
    pub fn decide(&mut self, key: &EffectKey, refused: Option<Refused>) -> Option<Outcome> {
        if self.fate(key) != Some(&Fate::Pending) {
            return None;
        }
        let outcome = if refused.is_some() {
            Outcome::Refused
        } else {
            Outcome::Done
        };
        self.set(key, refused.map_or(Fate::Done, Fate::Refused));
        Some(outcome)
    }

    /// The kitchen drops a ticket. Whether it did: only one that is accepted and not cancelled can be dropped.
    pub fn drop_ticket(&mut self, key: &EffectKey) -> bool {
        let accepted = self.fate(key) == Some(&Fate::Done);
        if accepted {
            self.set(key, Fate::Dropped);
        }
        accepted
    }

    /// Remembers what a ledger says was carried out for a key, in the ledger's order.
    pub fn recall(&mut self, ask: &Ask, outcome: Outcome, refused: Option<Refused>) {
        let fate = match outcome {
            Outcome::Done => Fate::Done,
            Outcome::Undone => Fate::Undone,
            Outcome::Tombstone => Fate::Tombstone,
            Outcome::Refused => Fate::Refused(refused.unwrap_or_else(|| Refused::new("refused", "refused before"))),
            Outcome::Pending => Fate::Pending,
            Outcome::Dropped => Fate::Dropped,
        };
        self.set(&ask.key, fate);
        if outcome == Outcome::Done {
            self.use_up(ask.verb, ask.of.as_ref());
        }
    }

    fn set(&mut self, key: &EffectKey, fate: Fate) {
        let kept = self.orders.entry(key.order).or_default();
        match kept
            .iter_mut()
            .find(|(step, round, _)| (*step, *round) == (key.step, key.round))
        {
            Some(entry) => entry.2 = fate,
            None => kept.push((key.step, key.round, fate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participants::ask::tests::{key, payment, ticket};
    use domain::saga::{PaymentAction, TicketAction};

    fn pay(books: &mut Books, action: PaymentAction) -> Ruling {
        books.ask(&Ask::try_from(&payment(1, action)).expect("consistent"), || {
            Verdict::Accept
        })
    }

    fn cook(books: &mut Books, action: TicketAction, verdict: Verdict) -> Ruling {
        books.ask(&Ask::try_from(&ticket(1, action, 0)).expect("consistent"), || verdict)
    }

    fn refusal(ruling: &Ruling) -> &str {
        match &ruling.reply {
            Reply::Refused(refused) => &refused.code,
            other => panic!("{other:?} is no refusal"),
        }
    }

    #[test]
    fn an_action_is_done_once_and_answered_the_same_again() {
        let mut books = Books::default();
        assert_eq!(
            pay(&mut books, PaymentAction::Authorize),
            Ruling::new(Reply::Done, Outcome::Done)
        );
        assert_eq!(pay(&mut books, PaymentAction::Authorize), Ruling::repeated(Reply::Done));
        let no = Verdict::Refuse(Refused::new("sold_out", "no more dough"));
        assert_eq!(cook(&mut books, TicketAction::Place, no).deed, Some(Outcome::Refused));
        let again = cook(&mut books, TicketAction::Place, Verdict::Accept);
        assert_eq!((refusal(&again), again.deed), ("sold_out", None), "a refusal stays one");
    }

    #[test]
    fn undone_twice_is_undone_once_and_a_late_action_is_refused() {
        let mut books = Books::default();
        pay(&mut books, PaymentAction::Authorize);
        assert_eq!(
            pay(&mut books, PaymentAction::Void),
            Ruling::new(Reply::Done, Outcome::Undone)
        );
        assert_eq!(pay(&mut books, PaymentAction::Void), Ruling::repeated(Reply::Done));
        let late = pay(&mut books, PaymentAction::Authorize);
        assert_eq!((refusal(&late), late.deed), ("undone", None));
    }

    #[test]
    fn an_undo_of_the_unknown_leaves_a_tombstone() {
        let mut books = Books::default();
        for (undo, act) in [
            (PaymentAction::Void, PaymentAction::Authorize),
            (PaymentAction::Refund, PaymentAction::Capture),
        ] {
            assert_eq!(pay(&mut books, undo), Ruling::new(Reply::Done, Outcome::Tombstone));
            assert_eq!(pay(&mut books, undo), Ruling::repeated(Reply::Done));
            let late = pay(&mut books, act);
            assert_eq!((refusal(&late), late.deed), ("undone", None));
        }
    }

    #[test]
    fn a_capture_needs_its_authorization_and_uses_it_up() {
        let mut books = Books::default();
        assert_eq!(refusal(&pay(&mut books, PaymentAction::Capture)), "not_authorized");

        let mut books = Books::default();
        pay(&mut books, PaymentAction::Authorize);
        assert_eq!(pay(&mut books, PaymentAction::Capture).deed, Some(Outcome::Done));
        let mut second = Ask::try_from(&payment(1, PaymentAction::Capture)).expect("consistent");
        second.key.round = 1;
        assert_eq!(refusal(&books.ask(&second, || Verdict::Accept)), "captured");
        assert_eq!(
            pay(&mut books, PaymentAction::Void),
            Ruling::new(Reply::Done, Outcome::Undone)
        );
        assert_eq!(
            pay(&mut books, PaymentAction::Refund).deed,
            Some(Outcome::Undone),
            "the capture can be given back"
        );

        let mut books = Books::default();
        pay(&mut books, PaymentAction::Authorize);
        pay(&mut books, PaymentAction::Void);
        assert_eq!(refusal(&pay(&mut books, PaymentAction::Capture)), "not_authorized");
    }

    #[test]
    fn a_ticket_put_off_is_decided_once() {
        let place = key(1, Step::PlaceTicket, 0);
        let mut books = Books::default();
        assert_eq!(
            cook(&mut books, TicketAction::Place, Verdict::Later).deed,
            Some(Outcome::Pending)
        );
        assert_eq!(
            cook(&mut books, TicketAction::Place, Verdict::Accept),
            Ruling::repeated(Reply::Pending)
        );
        assert_eq!(books.decide(&place, None), Some(Outcome::Done));
        assert_eq!(books.decide(&place, None), None);
        assert_eq!(
            cook(&mut books, TicketAction::Place, Verdict::Later),
            Ruling::repeated(Reply::Done)
        );

        let mut books = Books::default();
        cook(&mut books, TicketAction::Place, Verdict::Later);
        assert_eq!(
            cook(&mut books, TicketAction::Cancel, Verdict::Accept).deed,
            Some(Outcome::Tombstone)
        );
        assert_eq!(books.decide(&place, None), None, "it was cancelled meanwhile");
    }

    #[test]
    fn a_dropped_ticket_is_neither_dropped_nor_cancelled_again() {
        let place = key(1, Step::PlaceTicket, 0);
        let mut books = Books::default();
        assert!(!books.drop_ticket(&place), "there is none");
        cook(&mut books, TicketAction::Place, Verdict::Accept);
        assert!(books.drop_ticket(&place));
        assert!(!books.drop_ticket(&place));
        assert_eq!(
            cook(&mut books, TicketAction::Place, Verdict::Accept),
            Ruling::repeated(Reply::Done)
        );
        assert_eq!(
            cook(&mut books, TicketAction::Cancel, Verdict::Accept),
            Ruling::repeated(Reply::Done)
        );
    }

    #[test]
    fn books_recalled_from_their_deeds_are_the_same() {
        use PaymentAction::{Authorize, Capture, Refund, Void};
        let mut books = Books::default();
        let mut recalled = Books::default();
        for action in [Authorize, Capture, Capture, Refund, Void, Authorize] {
            let ask = Ask::try_from(&payment(1, action)).expect("consistent");
            let ruling = books.ask(&ask, || Verdict::Accept);
            if let Some(deed) = ruling.deed {
                recalled.recall(&ask, deed, None);
            }
            assert_eq!(recalled, books, "after {action:?}");
        }
        let text = serde_json::to_string(&books.fate(&key(1, Step::Capture, 0))).expect("serializable");
        assert_eq!(text, "\"undone\"");
    }
}
