//! The replay's parts, and the whole against a small platform made for it.

mod parts;
mod whole;

#[path = "../../tests/support/replay_day.rs"]
mod replay_day;

use replay_day::{DayFiles, small_day};
use routing::mdrp::Instance;
use std::path::PathBuf;

fn parse(day: &DayFiles) -> Instance {
    Instance::parse(&day.orders, &day.restaurants, &day.couriers, &day.parameters).expect("a fine day")
}

/// A real day, if `UOOP_MDRP_DIR` says where they are; else says that it is skipped.
fn real_day(name: &str) -> Option<Instance> {
    let Some(directory) = std::env::var_os("UOOP_MDRP_DIR").map(PathBuf::from) else {
        println!("skipped: UOOP_MDRP_DIR does not say where the real days are");
        return None;
    };
    Some(crate::mdrp::read(&directory.join(name)).expect("a real day"))
}
