//! The forecast on real days, where there are some.

use routing::forecast::{PastDay, judge};
use routing::mdrp::{COURIERS, Instance, ORDERS, PARAMETERS, RESTAURANTS};
use std::path::{Path, PathBuf};

/// The base days of the library that are given.
const BASE_DAYS: [&str; 6] = [
    "0o100t100s1p100",
    "1o100t100s1p100",
    "2o100t100s1p100",
    "4o100t100s1p100",
    "5o100t100s1p100",
    "7o100t100s1p100",
];

fn past_day(directory: &Path) -> PastDay {
    let text = |file: &str| std::fs::read_to_string(directory.join(file)).expect("a file of the day");
    let instance = Instance::parse(&text(ORDERS), &text(RESTAURANTS), &text(COURIERS), &text(PARAMETERS));
    PastDay::new(&instance.expect("an instance"))
}

#[test]
fn real_days_are_forecast_better_than_by_the_plain_mean_of_the_others() {
    let Some(directory) = std::env::var_os("UOOP_MDRP_DIR").map(PathBuf::from) else {
        println!("skipped: UOOP_MDRP_DIR does not say where the real days are");
        return;
    };
    let days = BASE_DAYS.map(|name| past_day(&directory.join(name)));
    let mut errors = [0.0; 3];
    let mut deviances = [0.0; 3];
    for (at, day) in days.iter().enumerate() {
        let others: Vec<&PastDay> = (0..)
            .zip(&days)
            .filter(|(other, _)| *other != at)
            .map(|(_, day)| day)
            .collect();
        let judged = judge(&others, day, 0.95).expect("a forecast");
        let scores = [judged.score, judged.plain, judged.plain_per_restaurant];
        for (sums, score) in errors.iter_mut().zip(&mut deviances).zip(scores) {
            *sums.0 += score.absolute_error;
            *sums.1 += score.deviance;
        }
    }
    for [forecast, plain, per_restaurant] in [errors, deviances] {
        assert!(
            forecast < 0.5 * plain && forecast < 0.6 * per_restaurant,
            "{errors:?} {deviances:?}"
        );
    }
}
