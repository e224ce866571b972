//! Sets of settings for one purpose each, compiled into the binary.

/// What the server is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Trying things out: everything simulated, with demonstration data.
    #[default]
    Default,
    /// Real participants, no demonstration data.
    Production,
    /// Playing a recorded day: everything simulated and quick, no demonstration data.
    Replay,
    /// Measuring: participants answer at once, everything else is real.
    Bench,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Default, Self::Production, Self::Replay, Self::Bench];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Production => "production",
            Self::Replay => "replay",
            Self::Bench => "bench",
        }
    }

    /// The profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// What it sets over the defaults, as TOML.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Production => include_str!("../../config/production.toml"),
            Self::Replay => include_str!("../../config/replay.toml"),
            Self::Bench => include_str!("../../config/bench.toml"),
        }
    }
}
