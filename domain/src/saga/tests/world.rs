//! A small world around one order: messages under way, time, and what physically happens. It can be driven by chance
//! (see `properties`), and it can be left in peace until the order has come to its end.

use super::checks::turn;
use super::participants::{COURIERS, KITCHENS, Mood, Participants, Standing, reports};
use super::script::placed_under;
use crate::channel::{self, Availability};
use crate::entity::Entity;
use crate::fixtures::{Journalled, T0, TOTAL_MINOR, channel_id, courier_id, order_id};
use crate::invariants;
use crate::order::{Order, OrderStatus};
use crate::policy::Policy;
use crate::rejection::Rejection;
use crate::saga::{
    Answer, Command, CourierReport, Direction, Effect, EffectKey, Forward, KitchenReport, Receipt, Refused, Report,
    Step, resume,
};
use crate::time::{Millis, Timestamp};
use crate::zone::JobState;

/// How many turns an order may take to come to its end once it is left in peace.
const QUIET_TURNS_MAX: usize = 500;

/// Something under way.
#[derive(Clone, Debug)]
pub(super) enum Mail {
    /// To a participant, and who asks.
    Ask(Box<Effect>, Asker),
    /// To the order, and who is to hear it.
    Tell(Command, Asker),
}

/// Of what was asked for once, by an activation of the order: only that believes a refusal. `None`: anybody.
type Asker = Option<u32>;

/// Nobody hears a refusal any more.
const NOBODY: Asker = Some(u32::MAX);

/// What becomes of a request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives, and so does the answer.
    Answered,
    /// It arrives; the answer does not.
    AnswerLost,
    /// It arrives; the answer is an error that says nothing.
    FailedAfter,
    /// It does not arrive, and the answer is an error that says nothing.
    FailedBefore,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) order: Journalled<Order>,
    pub(super) participants: Participants,
    pub(super) policy: Policy,
    pub(super) now: Timestamp,
    pub(super) mail: Vec<Mail>,
    /// How often the order was restarted.
    activation: u32,
    /// A courier has carried the food away: no kitchen can drop the ticket any more.
    carried_away: bool,
}

impl World {
    /// A world whose order was accepted under a version of the saga's definition.
    pub(super) fn new(version: u16, policy: Policy, authorized_for: Option<Millis>) -> Self {
        let mut world = Self {
            order: placed_under(version, &policy),
            participants: Participants::new(authorized_for),
            policy,
            now: T0,
            mail: Vec::new(),
            activation: 0,
            carried_away: false,
        };
        world.send(resume(world.state(), &world.policy), false);
        world
    }

    pub(super) fn state(&self) -> &Order {
        self.order.state()
    }

    /// Tells the order something; what it asks for is then under way. Whether anything changed.
    pub(super) fn tell(&mut self, command: Command) -> Result<bool, Rejection> {
        let told = turn(&mut self.order, command, self.now, &self.policy)?;
        self.send(told.effects, false);
        Ok(!told.events.is_empty())
    }

    /// Effects leave, perhaps not for the first time.
    fn send(&mut self, effects: Vec<Effect>, resumed: bool) {
        let activation = self.activation;
        self.mail.extend(effects.into_iter().map(|effect| {
            let asker = effect.is_first(resumed).then_some(activation);
            Mail::Ask(Box::new(effect.leaving(resumed)), asker)
        }));
    }

    /// A message comes twice. A request does when it is repeated because no answer came: the first one's is lost.
    pub(super) fn double(&mut self, n: usize) {
        let double = match &mut self.mail[n] {
            Mail::Ask(effect, asker) => {
                *asker = NOBODY;
                Mail::Ask(Box::new((**effect).clone().leaving(true)), None)
            }
            tell @ Mail::Tell(..) => tell.clone(),
        };
        self.mail.push(double);
    }

    /// The world does not mind being refused.
    pub(super) fn try_tell(&mut self, command: Command) -> bool {
        self.tell(command).unwrap_or(false)
    }

    fn notify(&mut self, effects: Vec<crate::zone::Effect>) {
        self.mail
            .extend(reports(effects, order_id(1)).map(|report| Mail::Tell(Command::Report(report), None)));
    }

    fn is_due(&self, mail: &Mail) -> bool {
        !matches!(mail, Mail::Ask(effect, _) if effect.start_at > self.now)
    }

    /// One message arrives, unless it is too early for it. No network keeps one for longer than tombstones are kept.
    pub(super) fn deliver(&mut self, n: usize, mood: Mood, fate: Fate) {
        if !self.mail.get(n).is_some_and(|mail| self.is_due(mail)) {
            return;
        }
        match self.mail.remove(n) {
            Mail::Tell(_, asker) if asker.is_some_and(|asker| asker != self.activation) => {}
            Mail::Tell(command, _) => drop(self.try_tell(command)),
            Mail::Ask(effect, _) if self.now.ms_since(effect.start_at) >= self.policy.tombstone_ttl_ms.0 => {}
            Mail::Ask(effect, asker) => {
                let answer = self.ask(&effect, mood, fate);
                if fate != Fate::AnswerLost {
                    let asker = asker.filter(|_| matches!(answer, Answer::Refused(_)));
                    self.mail.push(Mail::Tell(effect.answered(answer), asker));
                }
            }
        }
    }

    fn ask(&mut self, effect: &Effect, mood: Mood, fate: Fate) -> Answer {
        let failed = || Answer::Failed("connection reset".into());
        if fate == Fate::FailedBefore {
            return failed();
        }
        if effect.key.direction == Direction::Backward && mood == Mood::Unwilling {
            return Answer::Refused(Refused::new("no", "it cannot be undone now"));
        }
        let (answer, notices) = self.participants.ask(effect, mood, self.now, &self.policy);
        self.notify(notices);
        if fate == Fate::FailedAfter { failed() } else { answer }
    }

    /// A courier comes or goes.
    pub(super) fn shift(&mut self, courier: usize, online: bool) {
        let notices = self.participants.set_online(courier, online, self.now, &self.policy);
        self.notify(notices);
    }

    pub(super) fn set_availability(&mut self, kitchen: usize, availability: Availability) {
        let command = channel::Command::SetAvailability(availability);
        let told = self.participants.channels[kitchen].tell(command, self.now, &self.policy);
        told.expect("a channel can always be set");
    }

    /// The order's process dies and comes back: its state is read back, and what is pending is asked for again.
    pub(super) fn restart_order(&mut self) {
        self.order.restart();
        self.activation += 1;
        self.send(resume(self.state(), &self.policy), true);
    }

    /// The participants' processes die and come back; the zone tells again what its orders should know.
    pub(super) fn restart_participants(&mut self) {
        self.participants.restart();
        let notices = self.participants.zone.state().resume(&self.policy);
        self.notify(notices);
    }

    /// The ticket of the kitchen that makes the order, or is being asked.
    fn ticket(&self) -> EffectKey {
        EffectKey {
            order: order_id(1),
            step: Step::PlaceTicket,
            round: self.state().round,
            direction: Direction::Forward,
        }
    }

    /// A kitchen makes up its mind about a ticket it thinks about.
    pub(super) fn kitchen_decides(&mut self, round: u32, willing: bool) {
        let key = EffectKey { round, ..self.ticket() };
        if self.participants.kitchens.standing(&key) == Some(Standing::Thinking) {
            self.participants.kitchens.decide(key, willing);
            let report = if willing {
                KitchenReport::Accepted { ready_at: None }
            } else {
                KitchenReport::Rejected(Refused::new("sold_out", "no soup"))
            };
            self.kitchen_says(round, report);
        }
    }

    /// The kitchen drops the ticket it had accepted.
    pub(super) fn kitchen_drops(&mut self) {
        let key = self.ticket();
        if !self.carried_away && self.participants.kitchens.standing(&key) == Some(Standing::Done) {
            self.participants.kitchens.undo(key);
            self.kitchen_says(
                key.round,
                KitchenReport::Cancelled {
                    reason: "the oven broke".into(),
                },
            );
        }
    }

    pub(super) fn kitchen_says(&mut self, kitchen: u32, report: KitchenReport) {
        let channel = channel_id(usize::try_from(kitchen).expect("a small number"));
        self.mail
            .push(Mail::Tell(Command::Report(Report::Kitchen(channel, report)), None));
    }

    /// The kitchen cooks, if it has the ticket.
    pub(super) fn kitchen_cooks(&mut self, report: KitchenReport) {
        let key = self.ticket();
        if self.participants.kitchens.standing(&key) == Some(Standing::Done) {
            self.kitchen_says(key.round, report);
        }
    }

    /// The kitchen reports that the courier took the food.
    pub(super) fn kitchen_hands_over(&mut self) {
        let key = self.ticket();
        if self.participants.kitchens.standing(&key) == Some(Standing::Done) && self.courier().is_some() {
            self.carried_away = true;
            self.kitchen_says(key.round, KitchenReport::PickedUp);
        }
    }

    /// The courier that has the job, as the zone sees it, carries the food, if a kitchen has made it.
    pub(super) fn courier_says(&mut self, report: CourierReport) {
        if self.participants.kitchens.standing(&self.ticket()) != Some(Standing::Done) && !self.carried_away {
            return;
        }
        if let Some(courier) = self.courier() {
            self.carried_away |= !matches!(report, CourierReport::Failed { .. });
            self.mail
                .push(Mail::Tell(Command::Report(Report::Courier(courier, report)), None));
        }
    }

    fn courier(&self) -> Option<crate::ids::CourierId> {
        let courier = self.state().courier.clone()?;
        let jobs = self.participants.zone.state().jobs.values();
        let mut carriers = jobs.filter_map(|entry| match &entry.state {
            JobState::Assigned { courier, .. } => Some(courier),
            _ => None,
        });
        carriers.any(|carrier| *carrier == courier).then_some(courier)
    }

    /// Time passes until somebody wants to be woken, and they are.
    pub(super) fn tick(&mut self) -> bool {
        let mail = self.mail.iter().filter_map(|mail| match mail {
            Mail::Ask(effect, _) => Some(effect.start_at),
            Mail::Tell(..) => None,
        });
        let order = self.order.wake_at(self.now, &self.policy);
        let others = self.participants.wake_at(self.now, &self.policy);
        let Some(at) = mail.chain(order).chain(others).min() else {
            return false;
        };
        self.now = self.now.max(at);
        let notices = self.participants.wake(self.now, &self.policy);
        self.notify(notices);
        if order.is_some_and(|at| at <= self.now) {
            self.tell(Command::Wake).expect("waking is always allowed");
        }
        true
    }

    /// Whether something that had happened became known, or something happened that had to.
    fn facts(&mut self) -> bool {
        let notices = self.participants.zone.state().resume(&self.policy);
        let heard = reports(notices, order_id(1)).map(Command::Report).collect::<Vec<_>>();
        if heard.into_iter().any(|command| self.try_tell(command)) {
            return true;
        }
        let key = self.ticket();
        self.participants.kitchens.decide(key, true);
        let record = self.state().record(Step::PlaceTicket, key.round);
        let (forward, kept) = record.map_or((None, false), |record| (Some(record.forward), record.is_in_force()));
        let waiting = matches!(forward, Some(Forward::Pending { .. }));
        let report = match self.participants.kitchens.standing(&key) {
            Some(Standing::Done) if waiting => KitchenReport::Accepted { ready_at: None },
            Some(Standing::Refused) if waiting => KitchenReport::Rejected(Refused::new("sold_out", "no soup")),
            Some(Standing::Undone) if kept => KitchenReport::Cancelled {
                reason: "the oven broke".into(),
            },
            _ => {
                let before = self.mail.len();
                self.courier_says(CourierReport::Delivered);
                return match self.mail.get(before).cloned() {
                    Some(Mail::Tell(command, _)) => {
                        self.mail.truncate(before);
                        self.try_tell(command)
                    }
                    _ => false,
                };
            }
        };
        self.kitchen_says(key.round, report);
        true
    }

    /// One turn of a world in which nothing goes wrong any more. False: nothing is left to do.
    pub(super) fn quiet_turn(&mut self) -> bool {
        if let Some(n) = (0..self.mail.len()).find(|n| self.is_due(&self.mail[*n])) {
            self.deliver(n, Mood::Willing, Fate::Answered);
            return true;
        }
        if self.state().is_settled() {
            return !self.mail.is_empty() && self.tick();
        }
        self.repair() || self.facts() || self.tick()
    }

    /// An operator speaks with those who said no, and has everything that is stuck tried again.
    fn repair(&mut self) -> bool {
        let stuck: Vec<_> = self
            .state()
            .ledger
            .iter()
            .filter(|r| r.is_stuck())
            .map(|r| (r.step, r.round))
            .collect();
        for (step, round) in &stuck {
            self.participants.payments.relent(&EffectKey {
                step: *step,
                round: *round,
                ..self.ticket()
            });
        }
        !stuck.is_empty() && self.try_tell(Command::Retry)
    }

    /// SG-3: left in peace, the order comes to its end, and everything under way arrives.
    pub(super) fn settle(&mut self) {
        (0..COURIERS).for_each(|n| self.shift(n, true));
        (0..KITCHENS).for_each(|n| self.set_availability(n, Availability::Online));
        for _ in 0..QUIET_TURNS_MAX {
            if !self.quiet_turn() {
                break;
            }
        }
        assert!(self.mail.is_empty(), "still under way: {:?}", self.mail);
        assert_eq!(invariants::settled(self.state()), None, "{}", self.story());
    }

    /// Everything that must be true at the end.
    pub(super) fn check(&mut self) {
        self.order.restart();
        self.participants.restart();
        let (order, story) = (self.order.state(), self.story());
        let events: Vec<_> = self
            .order
            .read_back()
            .into_iter()
            .flat_map(|(_, events)| events)
            .collect();
        assert_eq!(invariants::ledger(order), [], "{story}");
        assert_eq!(invariants::reverse_order(order, &events), None, "{story}");
        let (payments, kitchens) = (self.participants.payments.deeds(), self.participants.kitchens.deeds());
        let books = [
            (Step::Authorize, &payments),
            (Step::Capture, &payments),
            (Step::PlaceTicket, &kitchens),
            (Step::Dispatch, &self.participants.jobs()),
        ];
        for (step, deeds) in books {
            assert_eq!(invariants::agrees(order, step, deeds), [], "{story}");
        }
        let captures = payments.iter().filter(|(key, _)| key.step == Step::Capture);
        let taken: i64 = captures
            .map(|(_, deed)| i64::from(deed.done) - i64::from(deed.undone))
            .sum();
        let due = i64::from(order.status == OrderStatus::Delivered);
        assert_eq!(taken * TOTAL_MINOR, due * TOTAL_MINOR, "PY-1: {story}");
        let zone = self.participants.zone.state();
        assert!(zone.jobs.is_empty(), "a job without an order: {:?}", zone.jobs);
        assert!(zone.couriers.values().all(|courier| courier.trip.is_empty()));
        let context = crate::entity::Context {
            now: self.now,
            policy: &self.policy,
        };
        assert_eq!(order.wake_at(&context), None);
        assert!(!order.is_live());
        self.check_capacity(&story);
    }

    /// CP-1 and CP-2: nothing is kept for the order, not even until it lapses.
    fn check_capacity(&self, story: &str) {
        let settled = std::iter::once(self.state().id).collect();
        for channel in &self.participants.channels {
            assert_eq!(invariants::capacity(channel.state(), 1), []);
            assert_eq!(invariants::nothing_reserved(channel.state(), &settled), [], "{story}");
        }
    }

    /// CP-2: what the order was refused is not kept for it.
    pub(super) fn check_refusals(&self) {
        for channel in &self.participants.channels {
            let kept = invariants::nothing_for_refused(channel.state(), self.state());
            assert_eq!(kept, [], "{}", self.story());
        }
    }

    /// What happened to the order, a line for each turn.
    fn story(&self) -> String {
        let rows = self.order.read_back();
        let line = |(at, events): &(Timestamp, Vec<_>)| {
            let events: Vec<String> = events.iter().map(super::script::line).collect();
            format!("\n  {:>8} {}", at.ms_since(T0), events.join(", "))
        };
        rows.iter().map(line).collect()
    }

    /// A report from somebody who has nothing to do with it, or about something long gone.
    pub(super) fn stray(&mut self, n: u8) {
        let kitchen = u32::from(n) % 4;
        let courier = courier_id(usize::from(n) % (COURIERS + 1));
        let round = u32::from(n / 4) % 3;
        // What a kitchen that has no ticket, or a courier that has no job, says must not count.
        let accepted = |round| {
            let key = EffectKey { round, ..self.ticket() };
            matches!(
                self.participants.kitchens.standing(&key),
                Some(Standing::Done | Standing::Thinking)
            )
        };
        match n % 3 {
            0 if kitchen != self.state().round => self.kitchen_says(kitchen, KitchenReport::Ready),
            1 if self.courier().as_ref() != Some(&courier) && self.state().courier.as_ref() != Some(&courier) => {
                let report = Report::Courier(courier, CourierReport::Delivered);
                self.try_tell(Command::Report(report));
            }
            2 if accepted(round) => {
                let (step, direction) = (Step::PlaceTicket, Direction::Forward);
                let answer = Answer::Done(Receipt::Empty);
                let stale = Command::Answer {
                    step,
                    round,
                    direction,
                    attempt: 1_000,
                    answer,
                };
                assert_eq!(self.tell(stale), Err(Rejection::Stale));
            }
            _ => {}
        }
    }
}
