//! How much load, and for how long.

use std::time::Duration;

/// The load of a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Orders each second.
    pub(crate) rate: u32,
    /// How long what breaks stays away.
    pub(crate) outage: Duration,
    /// How long the load runs before the fault, and again after the recovery.
    pub(crate) calm: Duration,
}

impl Settings {
    pub(crate) fn read() -> Self {
        Self {
            rate: number("UOOP_TEST_LOAD_RATE", 80),
            outage: Duration::from_secs(number("UOOP_TEST_LOAD_OUTAGE_S", 5).into()),
            calm: Duration::from_secs(number("UOOP_TEST_LOAD_CALM_S", 2).into()),
        }
    }
}

fn number(variable: &str, default: u32) -> u32 {
    let Ok(text) = std::env::var(variable) else {
        return default;
    };
    match text.parse() {
        Ok(number) if number > 0 => number,
        _ => panic!("{variable} is '{text}': it must be a whole number from 1"),
    }
}
