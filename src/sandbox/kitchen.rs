//! Playing the kitchen: what happens to a ticket after it was taken, told to the server by callbacks, one after the other.
//!
//! Put off → decided (`accepted` or `rejected`). Accepted → `preparing` → `ready` when it is cooked; or dropped half-way:
//! `cancelled`, before which the server has heard `accepted`, so that it never takes a drop for a refusal. A cancel stops
//! everything. The script follows from the ledger, so it goes on after a restart; what the server has heard before may be
//! told again.

use super::callbacks::{EventType, Finished, Hearing, KitchenEvent};
use super::ledger::{LedgerError, LedgerLine};
use super::service::Sandbox;
use crate::participants::ask::Verb;
use crate::participants::books::{Books, Fate, Outcome};
use crate::participants::draw::{Draw, SpreadMs};
use domain::saga::EffectKey;
use domain::time::Millis;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// A ticket that is being cooked.
pub(super) struct Ticket {
    pub(super) key: EffectKey,
    /// The line that took it.
    pub(super) line: LedgerLine,
    /// Whether it was put off first.
    put_off: bool,
    /// How long ago it was taken or accepted when this process began with it, and since when it has.
    elapsed_before: Duration,
    since: Instant,
}

impl Ticket {
    /// A ticket taken, or accepted, just now.
    pub(super) fn new(line: &LedgerLine) -> Self {
        let put_off = line.outcome == Outcome::Pending;
        let (key, line) = (line.key, line.clone());
        Self {
            key,
            line,
            put_off,
            elapsed_before: Duration::ZERO,
            since: Instant::now(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.elapsed_before + self.since.elapsed()
    }

    fn begin_anew(&mut self) {
        self.elapsed_before = Duration::ZERO;
        self.since = Instant::now();
    }

    fn channel(&self) -> &str {
        self.line
            .participant
            .strip_prefix("kitchens/")
            .unwrap_or(&self.line.participant)
    }

    fn event(&self, kind: EventType, reason: Option<String>) -> KitchenEvent {
        KitchenEvent {
            event_id: format!("{}:{}", self.key, kind.as_str()),
            order_id: self.line.order,
            kind,
            reason,
        }
    }
}

/// The tickets of a ledger about which there is more to tell.
pub(super) fn open_tickets(lines: &[LedgerLine], books: &Books, finished: &Finished, now_ms: i64) -> Vec<Ticket> {
    let mut tickets: HashMap<EffectKey, Ticket> = HashMap::new();
    for line in lines
        .iter()
        .filter(|line| line.action == Verb::Place && !finished.knows(&line.key))
    {
        match line.outcome {
            Outcome::Pending | Outcome::Done => {
                let ticket = tickets.entry(line.key).or_insert_with(|| Ticket::new(line));
                ticket.elapsed_before = Duration::from_millis(u64::try_from(now_ms - line.at_ms).unwrap_or(0));
            }
            Outcome::Refused | Outcome::Dropped | Outcome::Undone | Outcome::Tombstone => {}
        }
    }
    let over = |key: &EffectKey| matches!(books.fate(key), None | Some(Fate::Undone | Fate::Tombstone));
    tickets.into_values().filter(|ticket| !over(&ticket.key)).collect()
}

/// Plays a ticket to its end.
pub(super) async fn play(sandbox: &Sandbox, ticket: Ticket) {
    let key = ticket.key;
    let mut script = Script {
        sandbox,
        ticket,
        again: Vec::new(),
    };
    if script.play().await.is_ok() {
        script.repeat().await;
        sandbox.finished.add(&key);
    }
}

struct Script<'a> {
    sandbox: &'a Sandbox,
    ticket: Ticket,
    /// Callbacks to be sent a second time at the end: doubled, late and out of order.
    again: Vec<KitchenEvent>,
}

impl Script<'_> {
    fn fate(&self) -> Option<Fate> {
        self.sandbox.fate(&self.ticket.key)
    }

    fn draw(&self) -> Draw {
        Draw::new(self.sandbox.config.seed)
    }

    async fn play(&mut self) -> Result<(), LedgerError> {
        if self.fate() == Some(Fate::Pending) {
            let decision = self
                .draw()
                .length(self.sandbox.config.decision_ms, "decision", &self.ticket.key, 0);
            tokio::time::sleep(decision.saturating_sub(self.ticket.elapsed())).await;
            self.sandbox.decide(&self.ticket).await?;
            self.ticket.begin_anew();
        }
        match self.fate() {
            Some(Fate::Refused(refused)) if self.ticket.put_off => {
                self.tell(EventType::Rejected, Some(refused.detail)).await;
                Ok(())
            }
            Some(Fate::Done) => self.cook().await,
            Some(Fate::Dropped) => {
                self.dropped().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn cook(&mut self) -> Result<(), LedgerError> {
        let drops = self
            .draw()
            .happens(self.sandbox.config.drop_pct, "drop", &self.ticket.key, 0);
        if (self.ticket.put_off || drops) && !self.tell(EventType::Accepted, None).await {
            return Ok(());
        }
        if !self.tell(EventType::Preparing, None).await {
            return Ok(());
        }
        if drops {
            self.cooked(2).await;
            self.sandbox.drop_ticket(&self.ticket).await?;
            self.dropped().await;
            return Ok(());
        }
        self.cooked(1).await;
        self.tell(EventType::Ready, None).await;
        Ok(())
    }

    async fn dropped(&mut self) {
        if self.fate() == Some(Fate::Dropped) {
            self.tell(
                EventType::Cancelled,
                Some("the kitchen ran out of something".to_owned()),
            )
            .await;
        }
    }

    /// Waits until the ticket is cooked, or the `part`th part of it.
    async fn cooked(&self, part: u64) {
        let prep = Millis(self.ticket.line.prep_ms.unwrap_or_default().0 / part);
        let wanted = self.ticket.line.ready_at.filter(|_| part == 1);
        tokio::time::sleep(
            self.sandbox
                .pace
                .until_ready(prep, wanted, self.ticket.elapsed(), Instant::now()),
        )
        .await;
    }

    /// Tells the server, unless the ticket was cancelled meanwhile. Whether there is any sense in telling it more.
    async fn tell(&mut self, kind: EventType, reason: Option<String>) -> bool {
        let Some(teller) = &self.sandbox.teller else {
            return false;
        };
        let late = SpreadMs {
            min: 0,
            max: self.sandbox.config.late_callback_ms,
        };
        tokio::time::sleep(self.draw().length(late, kind.as_str(), &self.ticket.key, 0)).await;
        if matches!(self.fate(), None | Some(Fate::Undone | Fate::Tombstone)) {
            return false;
        }
        let event = self.ticket.event(kind, reason);
        let hearing = teller.tell(self.ticket.channel(), &event).await;
        if hearing != Hearing::Taken {
            let key = self.ticket.key;
            tracing::info!(%key, kind = kind.as_str(), ?hearing, "a callback was not taken");
        }
        let share = self.sandbox.config.duplicate_callback_pct;
        if hearing == Hearing::Taken && self.draw().happens(share, kind.as_str(), &self.ticket.key, 1) {
            self.again.push(event);
        }
        hearing != Hearing::GivenUp
    }

    async fn repeat(&mut self) {
        let Some(teller) = &self.sandbox.teller else { return };
        for event in std::mem::take(&mut self.again) {
            teller.tell(self.ticket.channel(), &event).await;
        }
    }
}
