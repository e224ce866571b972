//! Faults under load: a real server, real services, a steady load that remembers every answer, and one thing at a time
//! that breaks. Each test proves that its fault happened while work was under way, and asserts that nothing acknowledged
//! is lost, that nothing exists twice, and that everything goes on by itself. How long it took is printed, not asserted.
//!
//! By default small enough for every run of the tests. The numbers of the promise (1,000 orders/s, Kafka down for a minute):
//!
//! ```text
//! eval "$(scripts/services up)"
//! UOOP_TEST_LOAD_RATE=1000 UOOP_TEST_LOAD_OUTAGE_S=60 cargo test --release --test load_faults -- --nocapture
//! ```
//!
//! | variable | what | default |
//! | --- | --- | --- |
//! | `UOOP_TEST_LOAD_RATE` | orders submitted each second | 80 |
//! | `UOOP_TEST_LOAD_OUTAGE_S` | how long what breaks stays away | 5 |
//! | `UOOP_TEST_LOAD_CALM_S` | how long the load runs before the fault, and again after the recovery | 2 |
//!
//! What needs a service that is not given says `skipped: …`: Kafka and Postgres are stopped and started by the script of
//! `UOOP_TEST_SERVICES`; a disk that can be filled is `UOOP_TEST_SMALL_DISK` (a folder on a file system of at most a few
//! hundred MB) or else a file system in memory that the server alone sees, where the system lets us make one.

mod database;
mod disk;
mod kafka;
mod kill;
mod load;
mod postgres;
#[path = "../support/redis.rs"]
mod redis;
mod redis_away;
mod rig;
mod service;
mod settings;
mod timely;
mod topic;

use tokio::sync::{Mutex, MutexGuard};

/// One fault at a time: the tests share the services, and the machine.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}
