//! Random histories, cut into random batches and searched at random, must be listed as they are.

use crate::fixture::Kind;
use crate::history::{NAMES, Turn, World, id_time, name};
use crate::rig::{Rig, all};
use domain::order::OrderStatus;
use domain::ports::Append;
use domain::time::Timestamp;
use persistence::projection::{Applied, OrderSummary, Search};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::collections::BTreeSet;
use std::sync::Arc;

const ORDERS: u32 = 24;

/// Something happens.
#[derive(Clone, Debug)]
enum Happening {
    /// To an order; places it if it is not placed.
    Order(u32, u8, Turn),
    Channel(u8),
    /// What has happened since the last one is applied.
    Cut,
}

/// A search by numbers, which stand for names and moments.
#[derive(Clone, Debug)]
struct Question {
    statuses: Vec<OrderStatus>,
    customer: Option<u8>,
    restaurant: Option<u8>,
    channel: Option<u8>,
    stuck: Option<bool>,
    after: Option<u32>,
    before: Option<u32>,
    page: usize,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => Just(Turn::Step),
        4 => (0..NAMES).prop_map(Turn::Confirmed),
        6 => select(vec![
            Turn::ConfirmedBySomebody, Turn::Rerouted, Turn::Preparing, Turn::Ready, Turn::PickedUp, Turn::InTransit,
            Turn::Delivered, Turn::Cancelled, Turn::Failed,
        ]),
        4 => select(vec![
            Turn::UndoStuck(0), Turn::UndoStuck(1), Turn::StepStuck, Turn::UndoAgain(0), Turn::UndoAgain(1), Turn::Resolved,
            Turn::Unwinding,
        ]),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => (0..ORDERS, any::<u8>(), turn()).prop_map(|(n, who, turn)| Happening::Order(n, who, turn)),
        1 => any::<u8>().prop_map(Happening::Channel),
        2 => Just(Happening::Cut),
    ]
}

fn question() -> impl Strategy<Value = Question> {
    let rarely = |n: u8| proptest::option::weighted(0.3, 0..n);
    let moment = || proptest::option::weighted(0.2, 0..ORDERS);
    let statuses = prop_oneof![2 => Just(Vec::new()), 3 => vec(select(OrderStatus::ALL.to_vec()), 1..4)];
    (
        statuses,
        rarely(NAMES),
        rarely(NAMES),
        rarely(NAMES),
        proptest::option::weighted(0.3, any::<bool>()),
        moment(),
        moment(),
        1..9_usize,
    )
        .prop_map(
            |(statuses, customer, restaurant, channel, stuck, after, before, page)| Question {
                statuses,
                customer,
                restaurant,
                channel,
                stuck,
                after,
                before,
                page,
            },
        )
}

pub(crate) async fn random_histories_are_listed_as_they_are(rig: Arc<Rig>) {
    // Each case needs an empty store: a new one for SQLite and Postgres, where creating it dominates.
    let cases = match rig.kind {
        Kind::Postgres => 6,
        Kind::Sqlite => 24,
        Kind::Memory => 128,
    };
    let kind = rig.kind;
    let runtime = tokio::runtime::Handle::current();
    let cases = tokio::task::spawn_blocking(move || {
        let config = Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 64,
            ..Config::default()
        };
        let input = (vec(happening(), 1..150), vec(question(), 1..16));
        TestRunner::new(config).run(&input, |(happenings, questions)| {
            runtime.block_on(async {
                let rig = Arc::new(Rig::create(kind).await.expect("a store"));
                let same = tokio::spawn(compare(Arc::clone(&rig), happenings, questions)).await;
                rig.fixture.remove().await;
                same.map_err(|panic| TestCaseError::fail(panic.to_string()))
            })
        })
    });
    cases.await.expect("the cases").expect("lists are as they should be");
}

async fn compare(rig: Arc<Rig>, happenings: Vec<Happening>, questions: Vec<Question>) {
    let mut world = rig.world().await;
    let mut rows = Vec::new();
    for happening in happenings {
        match happening {
            Happening::Order(n, who, turn) => rows.push(next(&mut world, n, who, turn)),
            Happening::Channel(n) => rows.push(world.channel(n)),
            Happening::Cut => cut(&rig, &mut rows).await,
        }
    }
    cut(&rig, &mut rows).await;
    assert_eq!(rig.all().await, world.list());
    assert_eq!(rig.projection.count().await, Ok(world.expected.len() as u64));
    for question in questions {
        ask(&rig, &world, &question).await;
    }
}

fn next(world: &mut World, n: u32, who: u8, turn: Turn) -> Append {
    if world.expected.contains_key(&crate::history::order(n)) {
        world.turn(n, turn)
    } else {
        world.place(n, who)
    }
}

async fn cut(rig: &Rig, rows: &mut Vec<Append>) {
    if !rows.is_empty() {
        let batch = rig.batch(rows).await;
        assert_eq!(rig.projection.apply(&batch).await, Ok(Applied::Done));
        assert_eq!(
            rig.projection.apply(&batch).await,
            Ok(Applied::Stale),
            "once and no more"
        );
        rows.clear();
    }
}

async fn ask(rig: &Rig, world: &World, question: &Question) {
    let moment = |n: Option<u32>| n.map(|n| Timestamp(id_time(n).0 + 1));
    let search = Search {
        statuses: question.statuses.clone(),
        customer: question.customer.map(|n| name("c", n)),
        restaurant: question.restaurant.map(|n| name("r", n)),
        channel: question.channel.map(|n| name("k", n)),
        stuck: question.stuck,
        placed_after: moment(question.after),
        placed_before: moment(question.before),
        ..all()
    };
    let expected: Vec<OrderSummary> = world
        .list()
        .into_iter()
        .filter(|order| is_wanted(order, &search))
        .collect();
    assert_eq!(rig.search(&search).await, expected, "{question:?}");
    let mut pages = Vec::new();
    loop {
        let behind = pages.last().map(|order: &OrderSummary| order.order);
        let limit = question.page;
        let page = rig
            .search(&Search {
                behind,
                limit,
                ..search.clone()
            })
            .await;
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= limit);
        pages.extend(page);
    }
    assert_eq!(pages, expected, "page by page: {question:?}");
}

fn is_wanted(order: &OrderSummary, search: &Search) -> bool {
    let statuses: BTreeSet<OrderStatus> = search.statuses.iter().copied().collect();
    let wants = [
        statuses.is_empty() || statuses.contains(&order.status),
        search.customer.clone().is_none_or(|id| id == order.customer),
        search.restaurant.clone().is_none_or(|id| id == order.restaurant),
        search.channel.clone().is_none_or(|id| Some(id) == order.channel),
        search.stuck.is_none_or(|stuck| stuck == order.stuck),
        search.placed_after.is_none_or(|at| at <= order.placed_at),
        search.placed_before.is_none_or(|at| order.placed_at < at),
    ];
    wants.iter().all(|wanted| *wanted)
}
