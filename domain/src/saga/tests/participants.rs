//! The participants of a small world: the real channels and the real zone, and books of payments and kitchens that keep
//! to the rules (an effect key is carried out once; what was undone before it came is refused when it comes).

use crate::channel::{self, Channel};
use crate::fixtures::{Journalled, T0, candidate, channel_id, courier_config, courier_id, kitchen, zone_id};
use crate::invariants::Deed;
use crate::money::Money;
use crate::policy::Policy;
use crate::saga::{
    Action, Answer, Effect, EffectKey, Infeasible, PaymentAction, PaymentRequest, Receipt, Refused, Report,
    TicketAction, TicketRequest,
};
use crate::time::{Millis, Timestamp};
use crate::zone::{self, Zone};
use std::collections::BTreeMap;

/// How many kitchens can make the order.
pub(super) const KITCHENS: usize = 3;

/// How many couriers there are.
pub(super) const COURIERS: usize = 3;

/// What a participant makes of a request, if it is free to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It does it.
    Willing,
    /// It takes it and decides later, where it may.
    Slow,
    /// It says no.
    Unwilling,
}

/// What became of one effect key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Taken, not decided.
    Thinking,
    /// Carried out.
    Done,
    /// Refused.
    Refused,
    /// Undone, perhaps before it came (a tombstone).
    Undone,
}

/// The books of a participant that keeps to the rules.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: BTreeMap<EffectKey, (Standing, Deed)>,
}

impl Book {
    pub(super) fn standing(&self, key: &EffectKey) -> Option<Standing> {
        self.entries.get(key).map(|(standing, _)| *standing)
    }

    /// Asked for the first time, the mood decides; asked again, the books do.
    fn act(&mut self, key: EffectKey, mood: Mood, receipt: Receipt) -> Answer {
        let (standing, _) = self.entries.entry(key).or_insert_with(|| match mood {
            Mood::Willing => (Standing::Done, Deed { done: 1, undone: 0 }),
            Mood::Slow => (Standing::Thinking, Deed::default()),
            Mood::Unwilling => (Standing::Refused, Deed::default()),
        });
        match standing {
            Standing::Done => Answer::Done(receipt),
            Standing::Thinking => Answer::Pending,
            Standing::Refused => Answer::Refused(Refused::new("no", "not today")),
            Standing::Undone => Answer::Refused(Refused::new("undone", "it was called off")),
        }
    }

    /// Decides on what was taken.
    pub(super) fn decide(&mut self, key: EffectKey, willing: bool) {
        if let Some(entry) = self
            .entries
            .get_mut(&key)
            .filter(|(standing, _)| *standing == Standing::Thinking)
        {
            *entry = if willing {
                (Standing::Done, Deed { done: 1, undone: 0 })
            } else {
                (Standing::Refused, Deed::default())
            };
        }
    }

    /// What was refused may be asked for once more: somebody has spoken with them.
    pub(super) fn relent(&mut self, key: &EffectKey) {
        if self.standing(key) == Some(Standing::Refused) {
            self.entries.remove(key);
        }
    }

    pub(super) fn undo(&mut self, key: EffectKey) -> Answer {
        let (standing, deed) = self.entries.entry(key).or_insert((Standing::Undone, Deed::default()));
        match standing {
            Standing::Done => {
                deed.undone += 1;
                *standing = Standing::Undone;
            }
            Standing::Thinking => *standing = Standing::Undone,
            Standing::Refused | Standing::Undone => {}
        }
        Answer::Done(Receipt::Empty)
    }

    pub(super) fn deeds(&self) -> BTreeMap<EffectKey, Deed> {
        self.entries.iter().map(|(key, (_, deed))| (*key, *deed)).collect()
    }
}

/// Everybody a saga asks for something.
#[derive(Debug)]
pub(super) struct Participants {
    pub(super) kitchens: Book,
    pub(super) payments: Book,
    pub(super) channels: Vec<Journalled<Channel>>,
    pub(super) zone: Journalled<Zone>,
    /// How long an authorization lasts.
    pub(super) authorized_for: Option<Millis>,
    amounts: BTreeMap<EffectKey, Money>,
}

impl Participants {
    pub(super) fn new(authorized_for: Option<Millis>) -> Self {
        let mut zone = Journalled::new();
        for n in 0..COURIERS {
            let put = zone::Command::PutCourier {
                zone: zone_id(),
                id: courier_id(n),
                config: Box::new(courier_config()),
            };
            zone.tell(put, T0, &Policy::default()).expect("the settings are valid");
        }
        let channels = (0..KITCHENS).map(|n| kitchen(n, 1)).collect();
        let (kitchens, payments) = (Book::default(), Book::default());
        Self {
            kitchens,
            payments,
            channels,
            zone,
            authorized_for,
            amounts: BTreeMap::new(),
        }
    }

    /// Asks for an effect. Beside the answer, others may hear of what it led to.
    pub(super) fn ask(
        &mut self,
        effect: &Effect,
        mood: Mood,
        now: Timestamp,
        policy: &Policy,
    ) -> (Answer, Vec<zone::Effect>) {
        let answer = match &effect.action {
            Action::Route => route(mood),
            Action::Payment(request) => self.pay(request, mood, now),
            Action::Ticket(request) => self.ticket(request, mood),
            Action::Capacity(channel, request) => self.capacity(channel, *request, now, policy),
            Action::Job(zone, request) => {
                let command = zone::Command::Job {
                    zone: zone.clone(),
                    request: request.clone(),
                };
                let told = self.zone.tell(command, now, policy).expect("a job is answered");
                return (told.reply, told.effects);
            }
        };
        (answer, Vec::new())
    }

    fn pay(&mut self, request: &PaymentRequest, mood: Mood, now: Timestamp) -> Answer {
        // A provider decides at once.
        let mood = if mood == Mood::Slow { Mood::Willing } else { mood };
        let of = || request.of.expect("it builds on something");
        match request.action {
            PaymentAction::Authorize => {
                assert!(request.payment_token.is_some());
                self.amounts.insert(request.key, request.amount);
                let until = self.authorized_for.map(|length| now + length);
                self.payments.act(request.key, mood, Receipt::Authorized { until })
            }
            PaymentAction::Capture => {
                let fresh = self.payments.standing(&request.key).is_none();
                let authorized = self.payments.standing(&of()) == Some(Standing::Done);
                assert!(!fresh || authorized, "a capture of {} which is not in force", of());
                self.amounts.insert(request.key, request.amount);
                self.payments.act(request.key, mood, Receipt::Empty)
            }
            PaymentAction::Void | PaymentAction::Refund => {
                assert_eq!(request.key.action(), of());
                assert!(self.amounts.get(&of()).is_none_or(|amount| *amount == request.amount));
                self.payments.undo(of())
            }
        }
    }

    fn ticket(&mut self, request: &TicketRequest, mood: Mood) -> Answer {
        match request.action {
            TicketAction::Place => {
                assert!(request.ticket.is_some());
                self.kitchens
                    .act(request.key, mood, Receipt::Accepted { ready_at: None })
            }
            TicketAction::Cancel => self.kitchens.undo(request.of.expect("it undoes something")),
        }
    }

    fn capacity(
        &mut self,
        channel: &crate::ids::ChannelId,
        request: crate::saga::CapacityRequest,
        now: Timestamp,
        policy: &Policy,
    ) -> Answer {
        let n = (0..KITCHENS)
            .find(|n| channel_id(*n) == *channel)
            .expect("a channel of this world");
        let ledger = &mut self.channels[n];
        let told = ledger
            .tell(channel::Command::Capacity(request), now, policy)
            .expect("it answers");
        assert_eq!(crate::invariants::capacity(ledger.state(), 1), []);
        told.reply
    }

    /// Takes a courier on or off.
    pub(super) fn set_online(&mut self, n: usize, online: bool, now: Timestamp, policy: &Policy) -> Vec<zone::Effect> {
        let command = zone::Command::SetOnline {
            id: courier_id(n),
            online,
            said: None,
        };
        self.zone
            .tell(command, now, policy)
            .expect("a courier of this world")
            .effects
    }

    /// What the zone did, by its own log.
    pub(super) fn jobs(&self) -> BTreeMap<EffectKey, Deed> {
        let mut deeds: BTreeMap<EffectKey, Deed> = BTreeMap::new();
        for event in self.zone.read_back().into_iter().flat_map(|(_, events)| events) {
            match event {
                zone::Event::JobAssigned { key, .. } => deeds.entry(key).or_default().done += 1,
                zone::Event::JobOver {
                    key, delivered: false, ..
                } => {
                    // Called off again after it was forgotten, there is nothing left to undo.
                    let deed = deeds.entry(key).or_default();
                    deed.undone = deed.done;
                }
                _ => {}
            }
        }
        deeds
    }

    /// What is due by itself.
    pub(super) fn wake(&mut self, now: Timestamp, policy: &Policy) -> Vec<zone::Effect> {
        for channel in &mut self.channels {
            if channel.wake_at(now, policy).is_some_and(|at| at <= now) {
                channel.wake(now, policy);
            }
        }
        match self.zone.wake_at(now, policy) {
            Some(at) if at <= now => self.zone.wake(now, policy).effects,
            _ => Vec::new(),
        }
    }

    /// When something is due by itself.
    pub(super) fn wake_at(&self, now: Timestamp, policy: &Policy) -> Option<Timestamp> {
        let channels = self.channels.iter().filter_map(|channel| channel.wake_at(now, policy));
        channels.chain(self.zone.wake_at(now, policy)).min()
    }

    /// All of them are thrown away and read back.
    pub(super) fn restart(&mut self) {
        self.zone.restart();
        self.channels.iter_mut().for_each(Journalled::restart);
    }
}

fn route(mood: Mood) -> Answer {
    if mood == Mood::Unwilling {
        return Answer::Refused(Refused::new("no_channel", "nobody is open"));
    }
    let infeasible = [Infeasible {
        channel: channel_id(KITCHENS),
        why: "closed".into(),
    }]
    .into();
    Answer::Done(Receipt::Routed {
        candidates: (0..KITCHENS).map(candidate).collect(),
        infeasible,
    })
}

/// The report that a zone's notice is, for one order.
pub(super) fn reports(effects: Vec<zone::Effect>, order: crate::ids::OrderId) -> impl Iterator<Item = Report> {
    effects
        .into_iter()
        .filter(move |effect| effect.order == order)
        .map(|effect| effect.report)
}
