//! The server is killed, and started again on the same store.

use crate::database::Database;
use crate::load::{Answer, Said};
use crate::rig::{PATIENCE, Rig, Start, assert_well_outside, kinds};
use crate::settings::Settings;
use crate::turn;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_keeps_every_order_on_the_embedded_store() {
    let _turn = turn().await;
    killed("SQLite", Start::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_keeps_every_order_on_postgres() {
    let _turn = turn().await;
    let Some(database) = Database::create() else { return };
    let database = Some(&database);
    killed(
        "Postgres",
        Start {
            database,
            ..Start::default()
        },
    )
    .await;
}

async fn killed(store: &str, start: Start<'_>) {
    let settings = Settings::read();
    let mut rig = Rig::start(start).await;
    let mut load = rig.load(settings);
    sleep(settings.calm).await;
    // NV-1: sagas are under way, and so are submissions.
    let sagas = rig.figure_is("uoop_orders_under_way", &[], |orders| orders > 0.0).await;
    let end = Instant::now() + PATIENCE;
    while load.under_way() == 0 {
        assert!(Instant::now() < end, "no submission is ever under way");
        sleep(Duration::from_millis(1)).await;
    }

    let begun = Instant::now();
    let first = rig.server.pid();
    rig.server.kill().await.expect("it ran until now");
    assert!(rig.is_refused().await, "nobody listens any more");
    sleep(Duration::from_secs(1)).await;
    let recovery = rig.server.start().await.expect("it starts again");
    assert_ne!(rig.server.pid(), first, "another process");
    let recovered = load.recovered().await;
    sleep(settings.calm).await;

    let before: Vec<Answer> = load
        .submissions()
        .into_iter()
        .filter(|answer| answer.ended < begun)
        .collect();
    assert!(before.iter().any(Answer::is_good), "orders were acknowledged before");
    let orders = load.end().await;
    let (submissions, polls) = (load.submissions(), load.polls());
    for answers in [&submissions, &polls] {
        assert_well_outside(answers, begun, recovered);
        let strange = answers
            .iter()
            .filter(|answer| matches!(answer.said, Said::Refused(status, ..) if status != 503));
        assert_eq!(strange.count(), 0, "{:?}", kinds(answers));
    }
    assert!(
        submissions.iter().any(|answer| matches!(answer.said, Said::Broken(_))),
        "no client noticed"
    );
    rig.exactly(&orders).await;
    println!(
        "server killed on {store} at {}/s: {} orders, {} acknowledged before, {sagas} sagas under way; {} orders moved again \
         {:?} after the start; answers {:?}",
        settings.rate,
        orders.len(),
        before.len(),
        recovery.orders,
        recovery.elapsed,
        kinds(&submissions),
    );
    // Before its database goes.
    rig.server.kill().await.expect("it ran until now");
}
