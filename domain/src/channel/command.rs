//! What a channel can be told and what can happen to it.

use super::ledger::{Claim, ClaimState};
use super::{Availability, Channel, ChannelConfig, Demand, Learned, Ledger, MenuItem, Outcome, slot_of};
use crate::entity::{Context, Decision, Entity, IllegalEvent};
use crate::ids::ChannelId;
use crate::policy::Policy;
use crate::ports::StreamKind;
use crate::rejection::{FieldError, Rejection};
use crate::saga::{Answer, CapacityRequest, EffectKey, Receipt, Refused};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most articles of a menu, or of a list of what is sold out.
const MENU_ITEMS_MAX: usize = 2_000;

/// What a channel can be told. The names are part of what nodes say to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Its settings; creates it the first time. Idempotent.
    Configure {
        /// Under which id.
        id: ChannelId,
        /// The settings.
        config: Box<ChannelConfig>,
    },
    /// Whether it takes orders. Idempotent.
    SetAvailability(Availability),
    /// Its articles and prices. Idempotent.
    SetMenu(Vec<MenuItem>),
    /// What it has run out of. Idempotent.
    SetSoldOut(BTreeSet<String>),
    /// A saga asks something of its capacity. Idempotent by the request's key.
    Capacity(CapacityRequest),
    /// A claim may have lapsed.
    Wake,
}

impl Command {
    /// The command as it is said when it may have been said before, and the earlier one may come yet.
    #[must_use]
    pub fn again(self) -> Self {
        match self {
            Self::Capacity(request) => Self::Capacity(request.again()),
            other => other,
        }
    }
}

/// One event of a channel's log. The names are part of the storage format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// Its settings are these now.
    ChannelConfigured {
        /// Its id.
        id: ChannelId,
        /// The settings.
        config: Box<ChannelConfig>,
    },
    /// It takes orders, or not, now.
    AvailabilityChanged {
        /// Whether.
        availability: Availability,
    },
    /// Its menu is this now.
    MenuChanged {
        /// All articles.
        menu: Vec<MenuItem>,
    },
    /// It has run out of these now.
    SoldOutChanged {
        /// All of them.
        sold_out: BTreeSet<String>,
    },
    /// A claim is this now.
    ClaimChanged {
        /// The key of its hold.
        key: EffectKey,
        /// What it is.
        claim: Claim,
        /// What became of the ticket it was for, if that is known by it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
    },
    /// A claim is no longer remembered.
    ClaimForgotten {
        /// The key of its hold.
        key: EffectKey,
    },
}

impl Entity for Channel {
    const KIND: StreamKind = StreamKind::Channel;
    type Command = Command;
    type Event = Event;
    type Effect = std::convert::Infallible;
    type Reply = Answer;

    fn decide(state: Option<&Self>, command: Command, context: &Context<'_>) -> Result<Decision<Self>, Rejection> {
        let (events, reply) = match (state, command) {
            (state, Command::Configure { id, config }) => (configure(state, id, config)?, done()),
            (None, _) => return Err(Rejection::NotFound("channel")),
            (Some(channel), Command::SetAvailability(availability)) => {
                let changed = channel.availability != availability;
                (one(changed, || Event::AvailabilityChanged { availability }), done())
            }
            (Some(channel), Command::SetMenu(menu)) => {
                check_menu(&menu)?;
                (one(*channel.menu != *menu, || Event::MenuChanged { menu }), done())
            }
            (Some(channel), Command::SetSoldOut(sold_out)) => {
                if sold_out.len() > MENU_ITEMS_MAX {
                    return Err(invalid("/sold_out", format!("has more than {MENU_ITEMS_MAX} articles")));
                }
                (
                    one(*channel.sold_out != sold_out, || Event::SoldOutChanged { sold_out }),
                    done(),
                )
            }
            (Some(channel), Command::Capacity(request)) => capacity(channel, request, context),
            (Some(channel), Command::Wake) => (lapse(channel, context), done()),
        };
        Ok(Decision {
            events,
            effects: Vec::new(),
            reply,
        })
    }

    fn evolve(state: Option<Self>, event: &Event, _at: Timestamp) -> Result<Self, IllegalEvent> {
        let mut channel = match (state, event) {
            (None, Event::ChannelConfigured { id, config }) => Self {
                id: id.clone(),
                config: Arc::new((**config).clone()),
                availability: Availability::default(),
                menu: Arc::default(),
                sold_out: Arc::default(),
                ledger: Ledger::default(),
                learned: Arc::default(),
                demand: Arc::default(),
            },
            (None, _) => {
                return Err(IllegalEvent {
                    event: format!("{event:?}"),
                    why: "the channel does not exist yet".into(),
                });
            }
            (Some(channel), _) => channel,
        };
        match event {
            Event::ChannelConfigured { config, .. } => channel.config = Arc::new((**config).clone()),
            Event::AvailabilityChanged { availability } => channel.availability = *availability,
            Event::MenuChanged { menu } => channel.menu = menu.as_slice().into(),
            Event::SoldOutChanged { sold_out } => channel.sold_out = Arc::new(sold_out.clone()),
            Event::ClaimChanged { key, claim, outcome } => {
                if is_first_confirmed(channel.ledger.claim(key), claim) {
                    let demand: &mut Demand = Arc::make_mut(&mut channel.demand);
                    demand.learn(claim.slot, claim.units, channel.config.utc_offset_min);
                }
                channel.ledger.put(*key, *claim);
                if let Some(outcome) = outcome {
                    let learned: &mut Learned = Arc::make_mut(&mut channel.learned);
                    learned.learn(*outcome, channel.config.utc_offset_min);
                }
            }
            Event::ClaimForgotten { key } => channel.ledger.forget(key),
        }
        Ok(channel)
    }

    fn resume(&self, _policy: &Policy) -> Vec<Self::Effect> {
        Vec::new()
    }

    fn wake_at(&self, _context: &Context<'_>) -> Option<Timestamp> {
        self.ledger.next_due()
    }

    fn wake() -> Command {
        Command::Wake
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// Whether this is when it shows that the order comes about.
fn is_first_confirmed(before: Option<&Claim>, after: &Claim) -> bool {
    let is_confirmed = |claim: &Claim| matches!(claim.state, ClaimState::Reserved | ClaimState::Closed { .. });
    is_confirmed(after) && !before.is_some_and(is_confirmed)
}

const fn done() -> Answer {
    Answer::Done(Receipt::Empty)
}

fn one(changed: bool, event: impl FnOnce() -> Event) -> Vec<Event> {
    if changed { vec![event()] } else { Vec::new() }
}

fn invalid(pointer: &str, detail: String) -> Rejection {
    Rejection::Invalid(vec![FieldError::new(pointer, detail)])
}

fn configure(state: Option<&Channel>, id: ChannelId, config: Box<ChannelConfig>) -> Result<Vec<Event>, Rejection> {
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(Rejection::Invalid(problems));
    }
    let changed = state.is_none_or(|channel| *channel.config != *config);
    Ok(one(changed, || Event::ChannelConfigured { id, config }))
}

fn check_menu(menu: &[MenuItem]) -> Result<(), Rejection> {
    if menu.len() > MENU_ITEMS_MAX {
        return Err(invalid(
            "",
            format!("has {} articles; at most {MENU_ITEMS_MAX} are allowed", menu.len()),
        ));
    }
    let mut seen = BTreeSet::new();
    for (n, item) in menu.iter().enumerate() {
        if item.price_minor < 0 {
            return Err(invalid(&format!("/{n}/price_minor"), "must not be negative".into()));
        }
        if item.sku.is_empty() || !seen.insert(&item.sku) {
            return Err(invalid(
                &format!("/{n}/sku"),
                "must not be empty, and each only once".into(),
            ));
        }
    }
    Ok(())
}

fn capacity(channel: &Channel, request: CapacityRequest, context: &Context<'_>) -> (Vec<Event>, Answer) {
    let forget_at = tombstone_until(context);
    let claim = |key: &EffectKey| channel.ledger.claim(key).copied();
    let ended = |key, claim, outcome| (vec![Event::ClaimChanged { key, claim, outcome }], done());
    let change = |key, claim| ended(key, claim, None);
    let nothing = (Vec::new(), done());
    match request {
        CapacityRequest::Hold {
            key,
            slot,
            slots_ahead_max,
            units,
            expires_at,
            asked_before,
        } => {
            let wanted = Wanted {
                key,
                slot,
                slots_ahead_max,
                units,
                expires_at,
            };
            let (events, answer) = hold(channel, wanted, context);
            if asked_before && matches!(answer, Answer::Refused(_)) {
                return (refused_for_good(channel, key, context), answer);
            }
            (events, answer)
        }
        CapacityRequest::Confirm { key } => match claim(&key) {
            Some(held) if matches!(held.state, ClaimState::Held { .. }) => change(
                key,
                Claim {
                    state: ClaimState::Reserved,
                    ..held
                },
            ),
            // A hold that lapsed while the platform was down is as good as a new one if there is still room.
            Some(lapsed) if matches!(lapsed.state, ClaimState::Lapsed { .. }) => {
                if channel.free_units(lapsed.slot) < lapsed.units {
                    return refuse("lapsed", "the hold lapsed and the slot has been given to others");
                }
                change(
                    key,
                    Claim {
                        state: ClaimState::Reserved,
                        ..lapsed
                    },
                )
            }
            Some(claim) if matches!(claim.state, ClaimState::Reserved | ClaimState::Closed { .. }) => nothing,
            _ => refuse("no_hold", "there is no hold of that key"),
        },
        CapacityRequest::Release { key, lost } => match claim(&key) {
            Some(claim) if matches!(claim.state, ClaimState::Released { .. } | ClaimState::Closed { .. }) => nothing,
            claim => ended(key, released(claim, context), lost.then_some(Outcome::Lost)),
        },
        CapacityRequest::Close { key, cooked } => match claim(&key) {
            Some(claim) if !matches!(claim.state, ClaimState::Released { .. } | ClaimState::Closed { .. }) => {
                let claim = Claim {
                    state: ClaimState::Closed { until: forget_at },
                    ..claim
                };
                ended(key, claim, Some(Outcome::Served { cooked }))
            }
            _ => nothing,
        },
    }
}

fn tombstone_until(context: &Context<'_>) -> Timestamp {
    context.now + context.policy.tombstone_ttl_ms
}

/// What is left of a claim that is given back, or of one that was never made and must not be any more.
fn released(claim: Option<Claim>, context: &Context<'_>) -> Claim {
    let (slot, units) = claim.map_or((context.now, 0), |claim| (claim.slot, claim.units));
    let until = tombstone_until(context);
    Claim {
        slot,
        units,
        state: ClaimState::Released { until },
    }
}

/// What a refusal leaves behind when the hold may have been asked for before: the order does without it from now on, so the
/// earlier ask, which may come yet and find room, must be refused as well.
fn refused_for_good(channel: &Channel, key: EffectKey, context: &Context<'_>) -> Vec<Event> {
    let before = channel.ledger.claim(&key).copied();
    let is_known = before.is_some_and(|claim| matches!(claim.state, ClaimState::Released { .. }));
    one(!is_known, || Event::ClaimChanged {
        key,
        claim: released(before, context),
        outcome: None,
    })
}

fn refuse(code: &str, detail: &str) -> (Vec<Event>, Answer) {
    (Vec::new(), Answer::Refused(Refused::new(code, detail)))
}

/// A hold that is asked for.
#[derive(Clone, Copy)]
struct Wanted {
    key: EffectKey,
    slot: Timestamp,
    slots_ahead_max: u32,
    units: u32,
    expires_at: Timestamp,
}

fn hold(channel: &Channel, wanted: Wanted, context: &Context<'_>) -> (Vec<Event>, Answer) {
    let Wanted {
        key, units, expires_at, ..
    } = wanted;
    let slot_ms = context.policy.slot_ms;
    let first = wanted.slot.max(slot_of(context.now, slot_ms));
    let held = |slot| {
        if slot > first {
            Answer::Done(Receipt::Held { slot })
        } else {
            done()
        }
    };
    match channel.ledger.claim(&key).map(|claim| (claim.state, claim.slot)) {
        Some((ClaimState::Held { .. } | ClaimState::Reserved | ClaimState::Closed { .. }, slot)) => {
            return (Vec::new(), held(slot));
        }
        Some((ClaimState::Released { .. }, _)) => {
            return refuse("released", "the hold was released before it was asked for");
        }
        Some((ClaimState::Lapsed { .. }, _)) | None => {}
    }
    if channel.availability == Availability::Paused {
        return refuse("paused", "the channel takes no orders at present");
    }
    if expires_at <= context.now {
        return refuse("late", "the hold would have lapsed before it was made");
    }
    let mut slots = (0..=u64::from(wanted.slots_ahead_max)).map(|n| first + slot_ms.times(n));
    let Some(slot) = slots.find(|slot| channel.free_units(*slot) >= units) else {
        return refuse("full", "the slot has no capacity left");
    };
    let claim = Claim {
        slot,
        units,
        state: ClaimState::Held { until: expires_at },
    };
    let outcome = None;
    (vec![Event::ClaimChanged { key, claim, outcome }], held(slot))
}

/// What changes by itself: holds lapse, and what is over is forgotten after a while.
fn lapse(channel: &Channel, context: &Context<'_>) -> Vec<Event> {
    let until = tombstone_until(context);
    let change = |(&key, &claim): (&EffectKey, &Claim)| match claim.state {
        ClaimState::Held { .. } => Event::ClaimChanged {
            key,
            claim: Claim {
                state: ClaimState::Lapsed { until },
                ..claim
            },
            outcome: None,
        },
        _ => Event::ClaimForgotten { key },
    };
    channel.ledger.due(context.now).map(change).collect()
}
