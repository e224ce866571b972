//! One run: events in their order until all is over, or something does not hold.

use super::Broken;
use super::actor::Failure;
use super::event::{Event, What};
use super::hub::{Errand, Figures, Hub};
use super::kinds::Command;
use super::process::Process;
use super::queue::Time;
use super::scenario::{Cut, Fault, SKEW_MAX, Scenario, Size};
use super::world;
use domain::invariants::{Invariant, Violation};
use domain::order::OrderStatus;
use domain::saga;
use domain::zone;
use std::sync::Arc;

const MINUTE: Time = 60_000;
/// Once nothing goes wrong any more, everything is over within this.
const SETTLES_WITHIN: Time = 4 * 60 * MINUTE;
/// After the last order is settled: for so long a hold that nobody wants may still be there.
const HOLDS_LAPSE: Time = 15 * MINUTE;
/// How often somebody looks whether all is over.
const ROUND: Time = 30_000;
/// A run of more events than this for each virtual hour of faults is caught in a loop.
const EVENTS_MAX: u64 = 5_000_000;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What does not hold; empty: everything does.
    pub findings: Vec<Violation>,
    /// After how many events it ended.
    pub events: u64,
    /// How long it lasted, in virtual milliseconds.
    pub virtual_ms: u64,
    /// What happened how often.
    pub figures: Figures,
    /// A hash of everything that happened.
    pub hash: u64,
    /// The last lines of what happened, if they were wanted.
    pub trace: Vec<String>,
}

#[derive(Debug, Default)]
struct Machine {
    process: Option<Box<Process>>,
    incarnation: u32,
    paused_until: Time,
    /// When it may start again.
    down_until: Time,
}

#[derive(Debug)]
struct Run {
    hub: Hub,
    machines: Vec<Machine>,
    /// Since when nothing is left to do.
    over_since: Option<Time>,
    is_over: bool,
}

/// Plays a seed. `reads`: somebody wants to read what happened.
pub fn play(seed: u64, size: Size, broken: Option<Broken>, reads: bool) -> Outcome {
    play_scenario(&Arc::new(Scenario::new(seed, size)), broken, reads)
}

pub(super) fn play_scenario(scenario: &Arc<Scenario>, broken: Option<Broken>, reads: bool) -> Outcome {
    play_until(scenario, broken, reads, u64::MAX)
}

/// As [`play_scenario`], for so many events at most.
pub(super) fn play_until(scenario: &Arc<Scenario>, broken: Option<Broken>, reads: bool, events_max: u64) -> Outcome {
    let mut run = Run::new(scenario, broken, reads);
    let events = run.play(events_max);
    let figures = run.figures();
    Outcome {
        seed: scenario.seed,
        findings: run.hub.checker.found,
        events,
        virtual_ms: run.hub.now,
        figures,
        hash: run.hub.trace.hash(),
        trace: run.hub.trace.into_lines(),
    }
}

impl Run {
    fn new(scenario: &Arc<Scenario>, broken: Option<Broken>, reads: bool) -> Self {
        let mut hub = Hub::new(scenario.clone(), broken, reads);
        for (stream, command) in world::opening(scenario.mood.capacity) {
            hub.want(0, Errand::Tell(stream, command));
        }
        for order in &scenario.orders {
            let key = format!("key-{}", order.number);
            let details = world::details(order.number, order.restaurant);
            hub.want(order.at, Errand::Place { key, details });
        }
        for (n, fault) in scenario.faults.iter().enumerate() {
            hub.queue.put(fault.at, Event::FaultBegins(n));
        }
        let nodes = scenario.size.nodes;
        for node in 0..nodes {
            hub.queue.put(0, Event::Start(node));
        }
        hub.queue.put(ROUND, Event::Round);
        Self {
            hub,
            machines: (0..nodes).map(|_| Machine::default()).collect(),
            over_since: None,
            is_over: false,
        }
    }

    fn play(&mut self, events_max: u64) -> u64 {
        let mut events = 0;
        while events < events_max
            && let Some((at, event)) = self.hub.queue.next()
        {
            self.hub.now = at;
            events += 1;
            self.hub.trace.mix(at ^ (event.code() << 20));
            self.happens(event);
            if self.is_over || !self.hub.checker.found.is_empty() {
                break;
            }
            if events > EVENTS_MAX * self.hub.scenario.size.hours.max(1) {
                self.hub
                    .checker
                    .report(Invariant::Sg3, "it goes round in circles".into());
                break;
            }
        }
        events
    }

    fn figures(&self) -> Figures {
        let mut figures = self.hub.figures;
        for status in self.hub.checker.statuses() {
            match status {
                OrderStatus::Delivered => figures.delivered += 1,
                OrderStatus::Cancelled => figures.cancelled += 1,
                OrderStatus::Failed => figures.failed += 1,
                _ => {}
            }
        }
        figures
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::FaultBegins(n) => self.fault_begins(n),
            Event::FaultEnds(n) => self.fault_ends(n),
            Event::Start(node) => self.start(node),
            Event::Process {
                node,
                incarnation,
                what,
            } => self.process(node, incarnation, what),
            Event::Store {
                node,
                from,
                rpc,
                request,
                given_up_at,
            } => self.hub.serve_store(node, &from, rpc, request, given_up_at),
            Event::Participant { from, task, request } => self.hub.serve_participant(&from, task, &request),
            Event::Errand(errand) => self.hub.ask_errand(errand),
            Event::ErrandLost { errand, attempt } => self.hub.errand_lost(errand, attempt),
            Event::ErrandAnswered {
                errand,
                attempt,
                stream,
                outcome,
            } => self.hub.errand_answered(errand, attempt, stream, outcome),
            Event::Decides(key) => self.hub.decides(key),
            Event::Cooks(key, stage) => self.hub.cooks(key, stage),
            Event::Rides(key, stage) => self.hub.rides(key, stage),
            Event::Round => self.round(),
        }
    }

    fn process(&mut self, node: usize, incarnation: u32, what: What) {
        let machine = &mut self.machines[node];
        if machine.incarnation != incarnation {
            return;
        }
        if self.hub.now < machine.paused_until {
            // It waits in a socket, or in the run queue.
            self.hub.put_process(machine.paused_until, node, incarnation, what);
            return;
        }
        let Some(process) = &mut machine.process else { return };
        process.handle(&mut self.hub, what);
        if process.is_dead {
            let pause = self.hub.random.between(500, 2_000);
            self.kill(node, self.hub.now + pause);
        }
    }

    /// A process ends, whatever it is at, and is started again then.
    fn kill(&mut self, node: usize, again_at: Time) {
        let machine = &mut self.machines[node];
        machine.down_until = machine.down_until.max(again_at);
        machine.paused_until = 0;
        if let Some(process) = machine.process.take() {
            self.hub.trace.say(self.hub.now, || format!("{} ends", process.name));
            self.hub.store.cut_lifeline(&process.name);
            self.hub.up[node] = None;
            self.hub.figures.deaths += 1;
        }
        self.hub.queue.put(machine.down_until, Event::Start(node));
    }

    fn start(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if machine.process.is_some() || self.hub.now < machine.down_until {
            return;
        }
        machine.incarnation += 1;
        let widest = if self.hub.scenario.mood.skewed { SKEW_MAX } else { 500 };
        let width = u64::try_from(widest).unwrap_or(0) * 2;
        let skew = i64::try_from(self.hub.random.between(0, width)).unwrap_or(0) - widest;
        let mut process = Box::new(Process::new(&self.hub, node, machine.incarnation, skew));
        self.hub.trace.say(self.hub.now, || {
            format!("{} starts, its clock off by {skew} ms", process.name)
        });
        self.hub.up[node] = Some(machine.incarnation);
        process.begin(&mut self.hub);
        machine.process = Some(process);
    }

    fn fault_begins(&mut self, n: usize) {
        let plan = self.hub.scenario.faults[n];
        let (now, until) = (self.hub.now, self.hub.now + plan.lasts);
        self.hub
            .trace
            .say(now, || format!("FAULT {:?} for {} ms", plan.fault, plan.lasts));
        let hub = &mut self.hub;
        let store = hub.network.store();
        let mut cut = |from: usize, to: usize, cut: Cut| {
            if cut != Cut::Back {
                hub.network.cut(from, to, until);
            }
            if cut != Cut::There {
                hub.network.cut(to, from, until);
            }
        };
        match plan.fault {
            Fault::Crash(node) => return self.kill(node, until),
            Fault::Pause(node) => self.machines[node].paused_until = until,
            Fault::Nodes(a, b, way) => cut(a, b, way),
            Fault::Store(node, way) => cut(node, store, way),
            Fault::StoreAway => hub.troubles.store_away = until.max(hub.troubles.store_away),
            Fault::LostAnswers => hub.troubles.answers_lost = until.max(hub.troubles.answers_lost),
            Fault::SlowParticipants => hub.troubles.slow_participants = until.max(hub.troubles.slow_participants),
            Fault::Drain(node) => {
                if let Some(incarnation) = hub.up[node] {
                    hub.put_process(now, node, incarnation, What::Drain);
                }
            }
            Fault::CourierOff(courier) => hub.courier(courier, false),
            Fault::Overload(node) => hub.overload(node, until),
            Fault::Panics(node) => hub.panic(node, until),
        }
        hub.queue.put(until, Event::FaultEnds(n));
    }

    fn fault_ends(&mut self, n: usize) {
        let plan = self.hub.scenario.faults[n];
        self.hub
            .trace
            .say(self.hub.now, || format!("the end of {:?}", plan.fault));
        if let Fault::CourierOff(courier) = plan.fault {
            self.hub.courier(courier, true);
        }
    }

    /// Somebody looks after what is stuck, and whether everything is over.
    fn round(&mut self) {
        self.hub.repair();
        let hub = &mut self.hub;
        let is_over = !hub.is_rough() && hub.errands_open == 0 && hub.checker.unsettled().next().is_none();
        if !is_over {
            self.over_since = None;
        }
        let since = *self.over_since.get_or_insert(hub.now);
        let is_too_late = hub.now > hub.scenario.quiet_at + SETTLES_WITHIN;
        if is_too_late && !is_over {
            let detail = format!("{} of those outside still wait for an answer", hub.errands_open);
            if hub.errands_open > 0 {
                hub.checker.report(Invariant::Sg3, detail);
            }
        }
        if is_too_late || (is_over && hub.now >= since + HOLDS_LAPSE) {
            hub.checker.finish(&hub.store, &hub.participants);
            self.is_over = true;
        }
        hub.queue.put(hub.now + ROUND, Event::Round);
    }
}

impl Hub {
    fn courier(&mut self, courier: usize, online: bool) {
        let id = world::courier_id(courier);
        let command = Command::Zone(zone::Command::SetOnline { id, online, said: None });
        self.want(self.now, Errand::Tell(world::zone_id().stream(), command));
    }

    fn errand_lost(&mut self, errand: usize, attempt: u32) {
        let outside = &self.errands[errand];
        if !outside.is_done && outside.attempt == attempt {
            self.ask_errand(errand);
        }
    }

    fn errand_answered(
        &mut self,
        errand: usize,
        attempt: u32,
        stream: domain::ids::StreamId,
        outcome: super::actor::Outcome,
    ) {
        if self.errands[errand].is_done {
            return;
        }
        let outcome = match outcome {
            Err(Failure::Rejected(_)) if !matches!(self.errands[errand].what, Errand::Place { .. }) => {
                Ok(saga::Answer::Done(saga::Receipt::Empty))
            }
            other => other,
        };
        if outcome.is_err() {
            // The attempt that is waited for may still be another.
            if self.errands[errand].attempt == attempt {
                let at = self.now + self.random.between(200, 1_000);
                self.queue.put(at, Event::Errand(errand));
            }
            return;
        }
        self.errands[errand].is_done = true;
        self.errands_open -= 1;
        if let Errand::Place { key, .. } = self.errands[errand].what.clone() {
            self.trace.say(self.now, || {
                format!("{key} is acknowledged: {}", super::hub::short(stream))
            });
            self.checker.acknowledged(&key, stream);
            let plans = self.scenario.clone();
            let plan = plans.orders.iter().find(|plan| key == format!("key-{}", plan.number));
            if let Some(after) = plan.and_then(|plan| plan.cancel_after) {
                let reason = "changed my mind".into();
                let command = Command::Order(saga::Command::Cancel { reason });
                self.want(self.now + after, Errand::Tell(stream, command));
            }
        }
    }
}
