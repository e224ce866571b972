//! Postgres is restarted, gently and less so.

use crate::database::Database;
use crate::load::{Answer, Said};
use crate::rig::{Rig, Start, assert_well_outside, kinds};
use crate::service::{Service, Stop};
use crate::settings::Settings;
use crate::turn;
use tokio::time::{Instant, sleep};

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_restarted_fast_under_load() {
    restarted(Stop::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_restarted_immediately_under_load() {
    restarted(Stop::Immediate).await;
}

async fn restarted(stop: Stop) {
    let _turn = turn().await;
    let settings = Settings::read();
    let Some(mut postgres) = Service::given("postgres", "UOOP_TEST_POSTGRES_URL") else {
        return;
    };
    let Some(database) = Database::create() else { return };
    let database = Some(&database);
    let mut rig = Rig::start(Start {
        database,
        ..Start::default()
    })
    .await;
    let pid = rig.server.pid();
    let mut load = rig.load(settings);
    sleep(settings.calm).await;
    // NV-1: sagas are under way.
    rig.figure_is("uoop_orders_under_way", &[], |orders| orders > 0.0).await;

    let begun = Instant::now();
    let away = postgres.stop(stop).await;
    sleep(settings.outage).await;
    away.back().await;
    let back = Instant::now();
    let recovered = load.recovered().await;
    sleep(settings.calm).await;

    let unknown = rig.figure("uoop_journal_unknown_total", &[]).await;
    let unavailable = rig.figure("uoop_journal_unavailable_total", &[]).await;
    assert!(unknown + unavailable > 0.0, "commits failed while Postgres was away");
    let orders = load.end().await;
    let (submissions, polls) = (load.submissions(), load.polls());
    for answers in [&submissions, &polls] {
        assert_well_outside(answers, begun, recovered);
        let strange: Vec<&Answer> = answers.iter().filter(|answer| !is_patient(answer)).collect();
        assert!(strange.is_empty(), "nothing but 503: {:?}", kinds(strange));
    }
    rig.exactly(&orders).await;
    assert_eq!(rig.server.pid(), pid, "the server went on by itself");
    println!(
        "Postgres stopped ({stop:?}) for {:?} at {}/s: {} orders; accepted again {:?} after it was back; {unknown} commits of \
         unknown outcome, {unavailable} that failed; answers {:?}; polls {:?}",
        settings.outage,
        settings.rate,
        orders.len(),
        load.accepted_again_after(back),
        kinds(&submissions),
        kinds(&polls),
    );
    rig.server.kill().await.expect("it ran until now");
}

/// Good, or one that asks for patience: 503, no answer in time, or 409 while the same request is still under way.
fn is_patient(answer: &Answer) -> bool {
    match &answer.said {
        Said::Acknowledged(_) | Said::TimedOut => true,
        Said::Refused(status, kind, _) => *status == 503 || (*status == 409 && kind.ends_with(":in-progress")),
        Said::Broken(_) => false,
    }
}
