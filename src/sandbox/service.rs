//! The sandbox itself: its books, its ledger, and the one way in which anything is carried out.

use super::callbacks::{Finished, Teller};
use super::config::SandboxConfig;
use super::faults::{Fault, fault, latency};
use super::kitchen::{self, Ticket};
use super::ledger::{Ledger, LedgerError, LedgerLine, Writer};
use super::pace::Pace;
use crate::participants::ask::{Ask, Verb};
use crate::participants::books::{Books, Fate, Outcome, Reply, Verdict};
use crate::participants::draw::Draw;
use crate::participants::signature::Keyring;
use crate::participants::simulated::opinion;
use crate::participants::wall::WallClock;
use domain::saga::{EffectKey, Refused};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// How long a request hangs that is never answered, if the client has the patience.
const HANG_MAX: Duration = Duration::from_mins(10);

/// The shared state of a sandbox.
pub(super) struct Sandbox {
    pub(super) config: SandboxConfig,
    pub(super) wall: WallClock,
    pub(super) keyring: Option<Keyring>,
    pub(super) ledger: Ledger,
    pub(super) teller: Option<Teller>,
    pub(super) finished: Finished,
    pub(super) pace: Pace,
    /// Stops everything.
    pub(super) stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    books: Books,
    /// How often each key was asked for; begins anew with the process.
    asked: HashMap<EffectKey, u32>,
    cooking: HashMap<EffectKey, AbortHandle>,
}

/// What a request comes to.
pub(super) enum Served {
    /// An answer.
    Reply(Reply),
    /// A 500.
    Error,
    /// A 503: too much is being cooked, or the sandbox stops.
    Unavailable(&'static str),
}

impl Sandbox {
    /// Opens the ledger and recalls the books from it. Returns the tickets that are still being cooked, too.
    pub(super) fn open(
        config: SandboxConfig,
        wall: WallClock,
    ) -> Result<(Arc<Self>, Vec<Ticket>, Writer), LedgerError> {
        let (ledger, lines, writer) = Ledger::open(&config.ledger)?;
        let finished = Finished::open(&config.ledger)?;
        let mut books = Books::default();
        for line in &lines {
            books.recall(&line.ask(), line.outcome, line.refused.clone());
        }
        let open = kitchen::open_tickets(&lines, &books, &finished, wall());
        let stop = CancellationToken::new();
        let keyring = config
            .secret
            .as_ref()
            .map(|secret| Keyring::new(std::slice::from_ref(secret)));
        let sandbox = Self {
            teller: Teller::of(&config, keyring.clone(), Arc::clone(&wall)),
            pace: Pace::new(config.time_scale),
            state: Mutex::new(State {
                books,
                ..State::default()
            }),
            config,
            wall,
            keyring,
            ledger,
            finished: Finished::emptied(finished),
            stop,
        };
        Ok((Arc::new(sandbox), open, writer))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a request out, or does not, as the draws have it.
    pub(super) async fn serve(self: &Arc<Self>, line: LedgerLine) -> Served {
        let key = line.key;
        let nth = {
            let mut state = self.state();
            if line.action == Verb::Place && state.cooking.len() >= self.config.tickets_max {
                return Served::Unavailable("too many tickets are being cooked");
            }
            let asked = state.asked.entry(key).or_default();
            *asked += 1;
            *asked - 1
        };
        let latency = latency(&self.config, &key, nth);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let fault = fault(&self.config, &key, nth);
        match fault {
            Fault::Hang => return self.silent(HANG_MAX).await,
            Fault::Error => return Served::Error,
            Fault::None | Fault::LateSuccess => {}
        }
        let sandbox = Arc::clone(self);
        // In a task of its own: a client that gives up must not leave a deed half done.
        let recorded = tokio::spawn(async move { sandbox.record(line).await }).await;
        let Ok(Ok(reply)) = recorded else {
            self.stop.cancel();
            return Served::Unavailable("the ledger is closed");
        };
        if fault == Fault::LateSuccess {
            self.silent(Duration::from_millis(self.config.late_answer_ms)).await;
        }
        Served::Reply(reply)
    }

    async fn silent(&self, length: Duration) -> Served {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(length) => {}
        }
        Served::Unavailable("the answer never came")
    }

    /// Rules on a request, and answers once what was done is on disk.
    async fn record(self: &Arc<Self>, mut line: LedgerLine) -> Result<Reply, LedgerError> {
        let ask = line.ask();
        let slot = self.ledger.slot().await?;
        let (reply, deed, written) = {
            let mut state = self.state();
            let ruling = state.books.ask(&ask, || self.verdict(&ask));
            if let Some(outcome) = ruling.deed {
                line.at_ms = (self.wall)();
                line.outcome = outcome;
                if let (Outcome::Refused, Reply::Refused(refused)) = (outcome, &ruling.reply) {
                    line.refused = Some(refused.clone());
                }
                if let (Verb::Cancel, Some(cooking)) = (ask.verb, state.cooking.remove(&ask.key.action())) {
                    cooking.abort();
                }
            }
            (ruling.reply, ruling.deed, slot.put(ruling.deed.map(|_| &line))?)
        };
        written.await.map_err(|_| LedgerError::Closed)?;
        if let (Verb::Place, Some(Outcome::Done | Outcome::Pending)) = (ask.verb, deed) {
            self.cook(Ticket::new(&line));
        }
        Ok(reply)
    }

    fn opinion(&self, ask: &Ask) -> Option<Refused> {
        opinion(
            Draw::new(self.config.seed),
            ask,
            self.config.decline_pct,
            self.config.refuse_pct,
        )
    }

    fn verdict(&self, ask: &Ask) -> Verdict {
        let draw = Draw::new(self.config.seed);
        if ask.verb == Verb::Place && draw.happens(self.config.pending_pct, "pending", &ask.key, 0) {
            return Verdict::Later;
        }
        self.opinion(ask).map_or(Verdict::Accept, Verdict::Refuse)
    }

    /// Begins, or after a restart goes on, to play the kitchen for a ticket. A mute kitchen has nothing to play.
    pub(super) fn cook(self: &Arc<Self>, ticket: Ticket) {
        if self.teller.is_none() || self.stop.is_cancelled() {
            return;
        }
        let mut state = self.state();
        let (sandbox, key) = (Arc::clone(self), ticket.key);
        // The task takes the same lock when it ends, so its handle is there before it is removed.
        let task = tokio::spawn(async move {
            kitchen::play(&sandbox, ticket).await;
            sandbox.state().cooking.remove(&key);
        });
        state.cooking.insert(key, task.abort_handle());
    }

    /// Stops all cooking; tickets go on at the next start.
    pub(super) fn stop_cooking(&self) {
        for (_, task) in self.state().cooking.drain() {
            task.abort();
        }
    }

    /// What became of an action.
    pub(super) fn fate(&self, key: &EffectKey) -> Option<Fate> {
        self.state().books.fate(key).cloned()
    }

    /// Decides a ticket that was put off. Returns once the decision is on disk.
    pub(super) async fn decide(&self, ticket: &Ticket) -> Result<(), LedgerError> {
        self.write(|books| {
            let refused = self.opinion(&ticket.line.ask());
            let outcome = books.decide(&ticket.key, refused.clone())?;
            Some(LedgerLine {
                at_ms: (self.wall)(),
                outcome,
                refused,
                ..ticket.line.clone()
            })
        })
        .await
    }

    /// Drops an accepted ticket, if nobody has cancelled it. Returns once that is on disk.
    pub(super) async fn drop_ticket(&self, ticket: &Ticket) -> Result<(), LedgerError> {
        self.write(|books| {
            let outcome = Outcome::Dropped;
            let dropped = LedgerLine {
                at_ms: (self.wall)(),
                outcome,
                ..ticket.line.clone()
            };
            books.drop_ticket(&ticket.key).then_some(dropped)
        })
        .await
    }

    async fn write(&self, change: impl FnOnce(&mut Books) -> Option<LedgerLine>) -> Result<(), LedgerError> {
        let slot = self.ledger.slot().await?;
        let written = {
            let mut state = self.state();
            let line = change(&mut state.books);
            slot.put(line.as_ref())?
        };
        written.await.map_err(|_| LedgerError::Closed)
    }
}
