//! The rules a deployment can set: timeouts, attempts, deadlines.

use crate::channel::ChoiceWeights;
use crate::saga::CURRENT_VERSION;
use crate::saga::Participant;
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// How one participant is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallPolicy {
    /// How long one attempt may take before it counts as failed. Technical.
    pub timeout_ms: Millis,
    /// How many attempts a step gets before its outcome counts as unknown.
    pub attempts_max: u32,
    /// How many attempts a compensation, or a step past the pivot, gets before the order is stuck.
    pub persistent_attempts_max: u32,
    /// The pause after the first failed attempt; it doubles with each further one. Technical.
    pub backoff_ms: Millis,
    /// The longest pause. Technical.
    pub backoff_ms_max: Millis,
}

impl CallPolicy {
    /// When the attempt after `attempt` failed ones may start.
    pub fn retry_at(&self, now: Timestamp, attempt: u32) -> Timestamp {
        let doubled = self.backoff_ms.times(1_u64 << attempt.saturating_sub(1).min(20));
        now + doubled.min(self.backoff_ms_max)
    }

    fn scaled(self, factor: u64) -> Self {
        Self {
            timeout_ms: self.timeout_ms.times(factor),
            backoff_ms: self.backoff_ms.times(factor),
            backoff_ms_max: self.backoff_ms_max.times(factor),
            ..self
        }
    }
}

/// When the customer's money is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureAt {
    /// As soon as the order is confirmed; a later cancel refunds.
    Confirmed,
    /// When the courier has the food.
    PickedUp,
    /// When the customer has it.
    Delivered,
}

/// Who gives couriers their jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assigning {
    /// The zone itself, greedily, as soon as a courier is free.
    #[default]
    AtOnce,
    /// A planner that looks at all jobs together; the zone itself only helps out when there is none.
    Planned,
}

/// All rules. *Technical* lengths bound what machines do and keep their wall length when business time is scaled;
/// *business* lengths are about food and people and scale with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The version of the saga that new orders begin: while a cluster is upgraded, the one that every node knows.
    pub saga_version: u16,
    /// Calls to our own channel and zone actors and to the router.
    pub internal: CallPolicy,
    /// Calls to the payment provider.
    pub payment: CallPolicy,
    /// Calls to kitchens and partners.
    pub kitchen: CallPolicy,
    /// How long a kitchen or partner that took a ticket may think about it. Technical.
    pub ticket_acceptance_ms: Millis,
    /// How long a hold on capacity lasts unless it is confirmed. Technical; longer than a ticket can take.
    pub hold_ttl_ms: Millis,
    /// How long an undone effect is remembered, so that its late action is refused. Technical; longer than a hold lasts.
    pub tombstone_ttl_ms: Millis,
    /// How long before the food is ready a courier is asked for. Business.
    pub dispatch_lead_ms: Millis,
    /// How long an order waits for a courier before it fails. Business.
    pub no_courier_limit_ms: Millis,
    /// How long before an authorization lapses it is renewed. Business.
    pub authorization_margin_ms: Millis,
    /// How often a kitchen that drops a ticket is replaced by another.
    pub reroutes_max: u8,
    /// How long a kitchen's capacity slots are. Business.
    pub slot_ms: Millis,
    /// In how many of a hundred slots the capacity that is suggested for them is to be enough.
    #[serde(default = "capacity_level_pct")]
    pub capacity_level_pct: u8,
    /// When the money is taken.
    pub capture_at: CaptureAt,
    /// Who gives couriers their jobs.
    #[serde(default)]
    pub assigning: Assigning,
    /// How long a courier takes to leave a customer once the food is handed over. Business.
    #[serde(default = "dropoff_leave_ms")]
    pub dropoff_leave_ms: Millis,
    /// What counts when a channel is chosen.
    pub choice: ChoiceWeights,
}

const fn capacity_level_pct() -> u8 {
    95
}

const fn dropoff_leave_ms() -> Millis {
    Millis::from_mins(2)
}

impl Default for Policy {
    fn default() -> Self {
        let call = |timeout_ms, attempts_max| CallPolicy {
            timeout_ms: Millis(timeout_ms),
            attempts_max,
            persistent_attempts_max: 200,
            backoff_ms: Millis(200),
            backoff_ms_max: Millis(10_000),
        };
        Self {
            internal: call(5_000, 5),
            payment: call(3_000, 3),
            kitchen: call(3_000, 2),
            ticket_acceptance_ms: Millis::from_secs(60),
            hold_ttl_ms: Millis::from_secs(180),
            tombstone_ttl_ms: Millis::from_secs(900),
            dispatch_lead_ms: Millis::from_mins(10),
            no_courier_limit_ms: Millis::from_mins(120),
            authorization_margin_ms: Millis::from_mins(10),
            saga_version: CURRENT_VERSION,
            reroutes_max: 1,
            slot_ms: Millis::from_mins(15),
            capacity_level_pct: capacity_level_pct(),
            assigning: Assigning::AtOnce,
            dropoff_leave_ms: dropoff_leave_ms(),
            capture_at: CaptureAt::PickedUp,
            choice: ChoiceWeights::default(),
        }
    }
}

impl Policy {
    /// The same rules on a time line that runs `factor` times as fast as the wall clock: technical lengths are
    /// stretched so that they keep their wall length.
    pub fn scaled(self, factor: u64) -> Self {
        Self {
            internal: self.internal.scaled(factor),
            payment: self.payment.scaled(factor),
            kitchen: self.kitchen.scaled(factor),
            ticket_acceptance_ms: self.ticket_acceptance_ms.times(factor),
            hold_ttl_ms: self.hold_ttl_ms.times(factor),
            tombstone_ttl_ms: self.tombstone_ttl_ms.times(factor),
            ..self
        }
    }

    /// How a participant is called.
    pub fn call(&self, participant: Participant) -> &CallPolicy {
        match participant {
            Participant::Router | Participant::Channel | Participant::Zone => &self.internal,
            Participant::Payments => &self.payment,
            Participant::Kitchen => &self.kitchen,
        }
    }

    /// What is wrong with the rules, if anything: a hold must outlive everything that can happen before it is confirmed, and
    /// what is remembered of one that was refused or undone must outlive whoever may still ask for it.
    pub fn problem(&self) -> Option<Problem> {
        let worst = |call: &CallPolicy| (call.timeout_ms + call.backoff_ms_max).times(u64::from(call.attempts_max));
        let before_confirm = self.ticket_acceptance_ms + worst(&self.kitchen) + worst(&self.payment);
        let (hold_ttl_ms, tombstone_ttl_ms) = (self.hold_ttl_ms.0, self.tombstone_ttl_ms.0);
        if hold_ttl_ms <= before_confirm.0 {
            return Some(Problem {
                keys: ["hold_ttl_ms", "ticket_acceptance_ms"],
                message: format!(
                    "hold_ttl_ms is {hold_ttl_ms} but authorizing and placing a ticket can take {} ms: a hold must outlive them",
                    before_confirm.0
                ),
            });
        }
        (tombstone_ttl_ms <= hold_ttl_ms).then(|| Problem {
            keys: ["tombstone_ttl_ms", "hold_ttl_ms"],
            message: format!(
                "tombstone_ttl_ms is {tombstone_ttl_ms} but a hold can come late by hold_ttl_ms, {hold_ttl_ms} ms: that it was \
                 refused or undone must be remembered for longer"
            ),
        })
    }
}

/// Why rules cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The rules that contradict each other, by their names; the first is the one to change.
    pub keys: [&'static str; 2],
    /// What is wrong and what would be right; begins with the name of the first.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound_at_any_pace() {
        assert_eq!(Policy::default().problem(), None);
        assert_eq!(Policy::default().scaled(240).problem(), None);
        let short = Policy {
            hold_ttl_ms: Millis(1_000),
            ..Policy::default()
        };
        let problem = short.problem().expect("too short");
        assert_eq!(problem.keys, ["hold_ttl_ms", "ticket_acceptance_ms"]);
        assert!(problem.message.contains("1000") && problem.message.contains("125000"));
    }

    #[test]
    fn what_is_undone_is_remembered_for_longer_than_it_can_be_asked_for() {
        let remembering = |tombstone_ttl_ms| Policy {
            tombstone_ttl_ms,
            ..Policy::default()
        };
        let hold_ttl_ms = Policy::default().hold_ttl_ms;
        for too_short in [Millis(1), hold_ttl_ms] {
            let problem = remembering(too_short).problem().expect("a late ask would be granted");
            assert_eq!(problem.keys, ["tombstone_ttl_ms", "hold_ttl_ms"]);
            assert!(problem.message.contains("180000 ms"), "{}", problem.message);
        }
        assert_eq!(remembering(hold_ttl_ms + Millis(1)).problem(), None);
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let call = Policy::default().payment;
        let pauses: Vec<_> = (1..=8).map(|n| call.retry_at(Timestamp(0), n).0).collect();
        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(call.retry_at(Timestamp(0), u32::MAX).0, 10_000);
    }
}
