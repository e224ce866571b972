//! What a deployment can set, and where each value comes from.
//!
//! Layers, the later winning: the embedded `config/default.toml`, the embedded profile, a file, the plain environment
//! variables (`DB_HOST`, `PORT`, …), `DATABASE_URL` and `REDIS_URL`, the `UOOP_…` form of every key, and flags. Every layer is checked
//! by itself against [`keys`], so a mistake is reported with the key, its source and what would be right; then the
//! layers are merged by the `config` crate into [`Settings`].
//!
//! *Architecture invariant*: nothing but this module reads configuration files or environment variables of `uoop`.

mod args;
mod cluster;
mod dispatch;
mod error;
mod kafka;
mod keys;
mod layer;
mod load;
mod log;
mod profile;
mod secret;
mod sections;
mod validate;
mod variables;

#[cfg(test)]
mod tests;

pub use args::SettingsArgs;
pub(crate) use args::key_and_value;
pub use cluster::ClusterSettings;
pub use dispatch::{DispatchPolicy, DispatchSettings};
pub use error::{Problem, SettingsError};
pub use kafka::{KafkaSettings, Properties};
pub use load::{Entry, Flag, Loaded, Sources};
pub use log::{LogError, start_log, start_log_of_tool};
pub use profile::Profile;
pub use secret::{Address, Hidden};
pub use sections::{
    ActorSettings, CacheSettings, CourierKind, DemoSettings, HttpSettings, LogFormat, LogSettings, ParticipantKind,
    ParticipantSettings, ProjectionSettings, RedisSettings, SimulatedSettings, StorePlace, StoreSettings, TimeSettings,
    WebhookSettings,
};

use actors::ActorOptions;
use domain::policy::Policy;
use serde::Deserialize;

/// The effective configuration. Its `Debug` form shows no secrets.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The HTTP interface.
    pub http: HttpSettings,
    /// Where orders are kept, and how they are written.
    pub store: StoreSettings,
    /// The list of orders.
    pub projection: ProjectionSettings,
    /// What is shared with other nodes and services for a while.
    pub redis: RedisSettings,
    /// The status of orders, kept ready.
    pub cache: CacheSettings,
    /// The pace of business time.
    pub time: TimeSettings,
    policy: Policy,
    /// How couriers get their orders.
    pub dispatch: DispatchSettings,
    /// Limits of the actors.
    pub actors: ActorSettings,
    /// Who pays, cooks and carries.
    pub participants: ParticipantSettings,
    /// Whether it is a node of a cluster.
    pub cluster: ClusterSettings,
    /// Public events posted to subscribers.
    pub webhooks: WebhookSettings,
    /// Where events are published.
    pub kafka: KafkaSettings,
    /// Demonstration data.
    pub demo: DemoSettings,
    /// What is logged, and how.
    pub log: LogSettings,
}

impl Settings {
    /// The settings of a profile alone, with nothing from the environment.
    ///
    /// # Errors
    /// The profile cannot run by itself: `production` needs the addresses of its participants.
    pub fn of_profile(profile: Profile) -> Result<Self, SettingsError> {
        let sources = Sources {
            profile: Some(profile),
            ..Sources::default()
        };
        Ok(sources.load()?.settings)
    }

    /// The rules of the saga as configured, in wall lengths: stretch them with `policy().scaled(settings.time.scale)`
    /// for a time line that runs faster.
    pub const fn policy(&self) -> Policy {
        Policy {
            assigning: self.dispatch.policy.assigning(),
            dropoff_leave_ms: self.dispatch.dropoff_leave_ms(),
            ..self.policy
        }
    }

    /// The bounds and paces of the actors.
    pub fn actors(&self) -> ActorOptions {
        ActorOptions {
            dispatch: self.dispatch.options(),
            ..self.actors.options()
        }
    }
}
