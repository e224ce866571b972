//! The payment provider and the kitchens as participants: books that carry each effect key out once, and remember what was
//! undone before it came.

use super::Broken;
use super::event::{Event, Wanted, What};
use super::hub::Hub;
use domain::invariants::Deed;
use domain::invariants::Invariant;
use domain::saga::{Answer, EffectKey, PaymentAction, PaymentRequest, Receipt, Refused, TicketAction, TicketRequest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What became of one effect key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Thinking,
    Done,
    Refused,
    /// Undone, perhaps before it came (a tombstone).
    Undone,
}

#[derive(Debug)]
pub(super) struct Participants {
    books: BTreeMap<EffectKey, (Standing, Deed)>,
    broken: Option<Broken>,
}

impl Participants {
    pub(super) const fn new(broken: Option<Broken>) -> Self {
        Self {
            books: BTreeMap::new(),
            broken,
        }
    }

    pub(super) fn standing(&self, key: &EffectKey) -> Option<Standing> {
        self.books.get(key).map(|(standing, _)| *standing)
    }

    /// Asked for the first time, the first answer counts; asked again, the books do.
    fn act(&mut self, key: EffectKey, first: Standing) -> Standing {
        let entry = self.books.entry(key).or_insert_with(|| {
            let done = u32::from(first == Standing::Done);
            (first, Deed { done, undone: 0 })
        });
        if self.broken == Some(Broken::Tombstones) && entry.0 == Standing::Undone {
            *entry = (
                Standing::Done,
                Deed {
                    done: entry.1.done + 1,
                    ..entry.1
                },
            );
        }
        entry.0
    }

    pub(super) fn decide(&mut self, key: EffectKey, willing: bool) {
        if let Some(entry) = self.books.get_mut(&key) {
            *entry = if willing {
                (Standing::Done, Deed { done: 1, undone: 0 })
            } else {
                (Standing::Refused, Deed::default())
            };
        }
    }

    pub(super) fn undo(&mut self, key: EffectKey) {
        let (standing, deed) = self.books.entry(key).or_insert((Standing::Undone, Deed::default()));
        match standing {
            Standing::Done => {
                deed.undone += 1;
                *standing = Standing::Undone;
            }
            Standing::Thinking => *standing = Standing::Undone,
            Standing::Refused | Standing::Undone => {}
        }
    }

    pub(super) fn deeds(&self) -> BTreeMap<EffectKey, Deed> {
        self.books.iter().map(|(key, (_, deed))| (*key, *deed)).collect()
    }
}

fn answer(standing: Standing, receipt: Receipt) -> Answer {
    match standing {
        Standing::Done => Answer::Done(receipt),
        Standing::Thinking => Answer::Pending,
        Standing::Refused => Answer::Refused(Refused::new("no", "not today")),
        Standing::Undone => Answer::Refused(Refused::new("undone", "it was called off")),
    }
}

impl Hub {
    /// A request leaves a process.
    pub(super) fn ask_participant(&mut self, from: &Arc<str>, task: u64, request: Wanted) {
        let request = Arc::new(request);
        let mood = self.scenario.mood;
        let copies = if self.is_rough() && self.random.chance(mood.doubled) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            if self.is_rough() && self.random.chance(mood.lost) {
                continue;
            }
            let at = self.now + self.journey();
            self.queue.put(
                at,
                Event::Participant {
                    from: from.clone(),
                    task,
                    request: request.clone(),
                },
            );
        }
    }

    /// How long a message to or from a participant is under way.
    fn journey(&mut self) -> u64 {
        let slow = self.now < self.troubles.slow_participants;
        if slow && self.random.chance(500) {
            self.random.between(1_000, 30_000)
        } else {
            self.random.between(5, 150)
        }
    }

    fn is_late(&self, key: &EffectKey) -> bool {
        self.participants.standing(key) == Some(Standing::Undone)
    }

    /// A request is at the participant, whoever sent it and however late it is.
    pub(super) fn serve_participant(&mut self, from: &Arc<str>, task: u64, request: &Wanted) {
        let answer = match request {
            Wanted::Payment(request) => self.pay(request),
            Wanted::Ticket(request) => self.cook(request),
        };
        if self.is_rough() && self.random.chance(self.scenario.mood.lost) {
            return;
        }
        let at = self.now + self.journey();
        if let Some((node, incarnation)) = Self::place_of(from) {
            self.put_process(at, node, incarnation, What::TaskAnswered(task, answer));
        }
    }

    fn pay(&mut self, request: &PaymentRequest) -> Answer {
        let refuses = self.is_rough() && self.random.chance(self.scenario.mood.refused);
        match request.action {
            PaymentAction::Authorize => {
                self.figures.late_effects += u64::from(self.is_late(&request.key));
                let first = if refuses { Standing::Refused } else { Standing::Done };
                let standing = self.participants.act(request.key, first);
                answer(standing, Receipt::Authorized { until: None })
            }
            PaymentAction::Capture => {
                let authorized = request.of.and_then(|key| self.participants.standing(&key));
                if authorized != Some(Standing::Done) && self.participants.standing(&request.key).is_none() {
                    let detail = format!("{} takes money that is not set aside", request.key);
                    self.checker.report(Invariant::Py1, detail);
                }
                answer(self.participants.act(request.key, Standing::Done), Receipt::Empty)
            }
            PaymentAction::Void | PaymentAction::Refund => {
                self.participants.undo(request.key.action());
                Answer::Done(Receipt::Empty)
            }
        }
    }

    fn cook(&mut self, request: &TicketRequest) -> Answer {
        let key = request.key.action();
        if request.action == TicketAction::Cancel {
            self.participants.undo(key);
            return Answer::Done(Receipt::Empty);
        }
        let mood = self.scenario.mood;
        self.figures.late_effects += u64::from(self.is_late(&key));
        let is_new = self.participants.standing(&key).is_none();
        let first = if self.random.chance(mood.pending) {
            Standing::Thinking
        } else if self.is_rough() && self.random.chance(mood.refused) {
            Standing::Refused
        } else {
            Standing::Done
        };
        let standing = self.participants.act(key, first);
        if is_new {
            self.took_ticket(key, &request.channel, standing);
        }
        answer(standing, Receipt::Accepted { ready_at: None })
    }
}
