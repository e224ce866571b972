use super::{Notice, Request, Response, decode, encode};
use crate::call::{Call, Origin, Outcome};
use crate::cluster::outlines::ChannelNews;
use crate::cluster::{Replica, ReplicaRow};
use crate::error::CallError;
use crate::submission::{Pending, Submission, Submitted};
use domain::channel::{self, Channel, ChannelConfig, ChannelKind, Outline};
use domain::entity::{Context, Entity, fold};
use domain::geo::Location;
use domain::ids::{ChannelId, Epoch, HashSlot, OrderId, Seq, ZoneId};
use domain::order::{DeliveryLocation, Draft, DraftItem, Order};
use domain::policy::Policy;
use domain::ports::{KeyClaim, ShardOwner};
use domain::rejection::{FieldError, Rejection};
use domain::saga::{
    self, Action, Answer, Candidate, Direction, Drawbacks, EffectKey, Infeasible, Receipt, Refused, Step,
};
use domain::shard::ShardId;
use domain::time::{Millis, Timestamp};
use domain::zone::{self, Progress, Trip, Zone};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

const T0: Timestamp = Timestamp(1_800_000_000_000);

/// The state after a command, and the events of it.
fn tell<E: Entity>(state: Option<E>, command: E::Command) -> (E, Vec<E::Event>) {
    let policy = Policy::default();
    let context = Context {
        now: T0,
        policy: &policy,
    };
    let decision = E::decide(state.as_ref(), command, &context).expect("it is allowed");
    let next = fold(state, &decision.events, T0)
        .expect("it follows")
        .expect("it exists");
    (next, decision.events)
}

fn order_id() -> OrderId {
    OrderId::mint(T0, HashSlot::of(&[b"wire"]), 7)
}

fn channel_id() -> ChannelId {
    "kitchen-1".parse().expect("a name")
}

fn zone_id() -> ZoneId {
    "centre".parse().expect("a name")
}

const PLACE: Location = Location {
    lat: 41.88,
    lng: -87.63,
};

fn place() -> saga::Command {
    let draft = Draft {
        customer_id: "customer-1".into(),
        restaurant_id: "diner".into(),
        items: vec![DraftItem {
            sku: "soup".into(),
            name: "Söup \"of the day\"".into(),
            quantity: 2,
            unit_price_minor: 950,
        }],
        currency: "USD".into(),
        delivery_location: DeliveryLocation {
            lat: 41.886,
            lng: -87.631_234_567,
            address: "1 Main Street".into(),
        },
        requested_for: None,
        payment_token: "tok".into(),
        notes: Some("ring twice\n".into()),
    };
    saga::Command::Place {
        id: order_id(),
        details: Arc::new(draft.check(T0).expect("it is valid")),
    }
}

fn candidate() -> Candidate {
    Candidate {
        channel: channel_id(),
        zone: zone_id(),
        pickup: PLACE,
        slot: T0,
        units: 1,
        prep_ms: Millis(600_000),
        ready_at: T0 + Millis(600_000),
        delivered_at: T0 + Millis(1_800_000),
        cost_minor: -5,
        menu_prep_ms: Some(Millis(500_000)),
        drawbacks: Drawbacks {
            wait_minor: 3,
            ..Drawbacks::default()
        },
    }
}

/// An order that has been through everything up to its confirmation.
fn confirmed() -> Order {
    let (mut order, _) = tell::<Order>(None, place());
    while !order.has_outcome() {
        let effects = order.resume(&Policy::default());
        let effect = effects.first().expect("something is pending");
        let receipt = match &effect.action {
            Action::Route => Receipt::Routed {
                candidates: [candidate()].into(),
                infeasible: [Infeasible {
                    channel: "closed".parse().expect("a name"),
                    why: "it is closed".into(),
                }]
                .into(),
            },
            Action::Payment(_) => Receipt::Authorized {
                until: Some(T0 + Millis(1)),
            },
            _ => Receipt::Empty,
        };
        order = tell(Some(order), effect.answered(Answer::Done(receipt))).0;
    }
    order
}

/// What an effect of the order asks of its channel.
fn capacity_request(order: &Order) -> Option<channel::Command> {
    order
        .resume(&Policy::default())
        .into_iter()
        .find_map(|effect| match effect.action {
            Action::Capacity(_, request) => Some(channel::Command::Capacity(request)),
            _ => None,
        })
}

fn kitchen() -> (Channel, Vec<channel::Event>) {
    let config = ChannelConfig {
        name: "Kitchen".into(),
        kind: ChannelKind::Kitchen,
        serves: vec!["diner".parse().expect("a name")],
        location: PLACE,
        zone: zone_id(),
        currency: "USD".parse().expect("a currency"),
        hours: Vec::new(),
        utc_offset_min: -360,
        prep_ms: Millis(600_000),
        capacity_per_slot: 10,
        cost_minor: 450,
        radius_m: 5_000,
    };
    let configure = channel::Command::Configure {
        id: channel_id(),
        config: Box::new(config),
    };
    let (channel, _) = tell::<Channel>(None, configure);
    let (mut order, _) = tell::<Order>(None, place());
    loop {
        if let Some(request) = capacity_request(&order) {
            return tell(Some(channel), request);
        }
        let effects = order.resume(&Policy::default());
        let receipt = Receipt::Routed {
            candidates: [candidate()].into(),
            infeasible: [].into(),
        };
        order = tell(Some(order), effects[0].answered(Answer::Done(receipt))).0;
    }
}

fn key() -> EffectKey {
    EffectKey {
        order: order_id(),
        step: Step::Dispatch,
        round: 1,
        direction: Direction::Forward,
    }
}

fn order_call(command: saga::Command) -> Call<Order> {
    Call {
        if_match: Some(Seq(3)),
        claim: Some(KeyClaim {
            home: None,
            key: "default:key".into(),
            fingerprint: "abc".into(),
        }),
        ..Call::new(order_id().stream(), command, Origin::New)
    }
}

fn submission() -> Submission {
    Submission {
        id: order_id(),
        body: b"{\"notes\": \"ring twice\"}".to_vec(),
        claim: Some(KeyClaim {
            home: Some(ShardId(255)),
            key: "default:key".into(),
            fingerprint: "abc".into(),
        }),
        hold_back_ms: 1_000,
        again: true,
    }
}

fn submitted() -> Submitted {
    Submitted {
        status: 201,
        headers: vec![("etag".into(), "\"3\"".into())],
        body: vec![0, 0xff, b'{'],
        pending: Some(Pending {
            order: order_id(),
            seq: Seq(3),
            replayed: true,
        }),
    }
}

fn zone_call(command: zone::Command) -> Request {
    Request::Zone(Call::<Zone>::new(zone_id().stream(), command, Origin::Saga))
}

fn answered(answer: Answer) -> Request {
    let (order, _) = tell::<Order>(None, place());
    let effects = order.resume(&Policy::default());
    Request::Order(order_call(effects[0].answered(answer)))
}

fn dispatched() -> Request {
    zone_call(zone::Command::Dispatch {
        trips: vec![Trip {
            courier: "ann".parse().expect("a name"),
            jobs: vec![key()],
        }],
    })
}

fn progressed() -> Request {
    zone_call(zone::Command::Progress {
        key: key(),
        progress: Progress {
            ready_at: Some(T0),
            is_ready: true,
            left_at: None,
        },
    })
}

fn as_json(said: &impl Serialize) -> Value {
    serde_json::to_value(said).expect("JSON")
}

/// Says it; it is understood as it was meant.
fn crosses<T: Serialize + DeserializeOwned>(said: &T) {
    let read: T = decode(&encode(said)).expect("it is understood");
    assert_eq!(as_json(&read), as_json(said));
}

#[test]
fn questions_cross() {
    let (channel, _) = kitchen();
    let requests = [
        Request::Order(order_call(place())),
        answered(Answer::Done(Receipt::Held { slot: T0 })),
        answered(Answer::Refused(Refused::new("full", "no room"))),
        answered(Answer::Unsent("open".into())),
        dispatched(),
        progressed(),
        Request::Channel(Call::new(
            channel_id().stream(),
            channel::Command::Configure {
                id: channel_id(),
                config: Box::new((*channel.config).clone()),
            },
            Origin::Outside,
        )),
        Request::Submit(submission()),
        Request::UnderWay {
            key: "default:key".into(),
        },
        Request::Watch {
            order: order_id(),
            after: Seq(u64::MAX),
        },
        Request::Introspect { path: None },
    ];
    for request in &requests {
        crosses(request);
    }
}

#[test]
fn answers_cross() {
    let (order, (channel, _)) = (confirmed(), kitchen());
    let actor = json!({"path": "node/shard-001", "kind": "shard", "status": "running", "mailbox_depth": 0,
        "messages_handled": 18_446_744_073_709_551_615_u64, "restarts": 0, "age_ms": 5,
        "state": {"deep": [1, -2, 3.5, null, {"true": true}]}});
    let rejected = Rejection::Invalid(vec![FieldError::new("/items/0", "must not be empty")]);
    let responses = [
        Response::Order(Ok(Outcome {
            seq: Seq(3),
            state: Some(Arc::new(order.clone())),
            changed: true,
            reply: (),
        })),
        Response::Channel(Ok(Outcome {
            seq: Seq(9),
            state: Some(Arc::new(channel)),
            changed: false,
            reply: Answer::Done(Receipt::Empty),
        })),
        Response::Zone(Ok(Outcome {
            seq: Seq(9),
            state: None,
            changed: false,
            reply: Answer::Pending,
        })),
        Response::Order(Err(CallError::Rejected(rejected))),
        Response::Order(Err(Rejection::NotFound("order").into())),
        Response::Channel(Err(CallError::Overloaded { what: "node".into() })),
        Response::Channel(Err(CallError::Fenced)),
        Response::Submitted(Ok(submitted())),
        Response::Submitted(Err(CallError::InProgress)),
        Response::Watched(Some((Seq(3), Arc::new(order)))),
        Response::UnderWay(true),
        Response::Watched(None),
        Response::Actors(vec![serde_json::from_value(actor).expect("an actor")]),
        Response::NotOwner,
        Response::NotUnderstood,
    ];
    for response in &responses {
        crosses(response);
    }
}

#[test]
fn notices_cross() {
    let (kitchen, events) = kitchen();
    let notices = [
        Notice::Owners(vec![ShardOwner {
            shard: ShardId(7),
            epoch: Epoch(u64::MAX),
            owner: "n1-1".into(),
        }]),
        Notice::Row(ReplicaRow {
            of: Replica::Zone(zone_id()),
            seq: Seq(2),
            at: T0,
            events: serde_json::to_string(&events).expect("JSON"),
        }),
        Notice::Channel(Box::new(ChannelNews {
            after: Seq(1),
            seq: Seq(2),
            outline: Outline::between(None, &kitchen),
        })),
    ];
    for notice in &notices {
        crosses(notice);
    }
}

/// Nodes that are out there read and write exactly this.
#[test]
fn version_three_stays_as_it_is() {
    let (id, stream) = (order_id(), order_id().stream());
    let watch = Request::Watch {
        order: id,
        after: Seq(3),
    };
    let written = [
        &b"\x81\xa5Watch\x82\xa5order\xc4\x10"[..],
        &stream.0.as_bytes()[..],
        b"\xa5after\x03",
    ];
    assert_eq!(encode(&watch), written.concat());
    let cancel = [
        &b"\x81\xa5Order\x85\xa6stream\xc4\x10"[..],
        &stream.0.as_bytes()[..],
        b"\xa7command\x81\xa6Cancel\x81\xa6reason\xa4late\xa6origin\xa7outside\xa5again\xc2\xa3new\x01",
    ];
    let Some(Request::Order(call)) = decode(&cancel.concat()) else {
        panic!("it is not understood")
    };
    assert_eq!(call.origin, Origin::Outside);
    assert!(matches!(call.command, saga::Command::Cancel { .. }));
    let mut submission = submission();
    submission.body = b"{}".to_vec();
    submission.claim.iter_mut().for_each(|claim| claim.home = None);
    let written = [
        &b"\x81\xa6Submit\x85\xa2id\xc4\x10"[..],
        &stream.0.as_bytes()[..],
        b"\xa4body\xc4\x02{}\xa5claim\x82\xa3key\xabdefault:key\xabfingerprint\xa3abc\xachold_back_ms\xcd\x03\xe8\xa5again\xc3",
    ];
    assert_eq!(encode(&Request::Submit(submission)), written.concat());
}

#[test]
fn bodies_travel_as_they_are() {
    let submission = submission();
    let body = [&b"\xa4body\xc4\x17"[..], &submission.body].concat();
    let said = encode(&Request::Submit(submission));
    assert!(said.windows(body.len()).any(|part| part == body));
    let said = encode(&Response::Submitted(Ok(submitted())));
    let body = b"\xa4body\xc4\x03\x00\xff{";
    assert!(said.windows(body.len()).any(|part| part == body));
}

#[test]
fn what_cannot_be_read_is_none() {
    assert!(decode::<Request>(b"").is_none());
    assert!(decode::<Request>(&encode(&"Dance")).is_none());
}
