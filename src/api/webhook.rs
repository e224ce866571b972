//! Webhook subscriptions and dead letters.

use crate::webhooks::{Draft, Put, Subscription};
use persistence::Delivery;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a subscription is to be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookBody {
    /// Where messages are posted to. https, and in the public internet, unless the platform is configured otherwise.
    #[schema(example = "https://shop.example/hooks")]
    pub url: String,
    /// The names of the events that are told; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["order.confirmed", "order.delivered"]))]
    pub event_types: Option<Vec<String>>,
    /// One to four secrets that messages are signed with, the newest first: 24 to 64 bytes, as they are or as `whsec_` and
    /// their base64. When absent: those it has; or, for a new subscription, one that is made and shown in this answer only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<String>>,
    /// Whether anything is delivered. What happens while it is off is not told later.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What it is for, at most 500 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

const fn yes() -> bool {
    true
}

impl From<WebhookBody> for Draft {
    fn from(body: WebhookBody) -> Self {
        Self {
            url: body.url,
            event_types: body.event_types,
            secrets: body.secrets,
            enabled: body.enabled,
            description: body.description,
        }
    }
}

/// A subscription as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// Its id.
    pub id: String,
    /// How often it was changed.
    pub version: u64,
    /// Where messages are posted to.
    pub url: String,
    /// The names of the events that are told; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_types: Option<Vec<String>>,
    /// Whether anything is delivered.
    pub enabled: bool,
    /// Why the platform switched it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// What it is for.
    pub description: String,
    /// The secret that was made for it. Shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl From<Subscription> for WebhookView {
    fn from(subscription: Subscription) -> Self {
        let settings = subscription.settings;
        Self {
            id: subscription.id.to_string(),
            version: subscription.version,
            url: settings.url,
            event_types: settings.event_types,
            enabled: settings.enabled,
            disabled_reason: settings.disabled_reason,
            description: settings.description,
            secret: None,
        }
    }
}

impl From<Put> for WebhookView {
    fn from(put: Put) -> Self {
        Self {
            secret: put.secret,
            ..put.subscription.into()
        }
    }
}

/// A page of the subscriptions, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookList {
    /// The subscriptions.
    pub webhooks: Vec<WebhookView>,
    /// What to ask for with `cursor=` for the next page, if there is one; the same stands in `Link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A message that was given up. Moments are wall time, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterView {
    /// Its id: the `webhook-id` it was sent with.
    pub id: String,
    /// The subscription it is for.
    pub webhook_id: String,
    /// What kind of event it tells of.
    #[serde(rename = "type")]
    pub event: String,
    /// How many attempts were made, since it came to be or was replayed.
    pub attempts: u32,
    /// When it was given up.
    pub died_at: i64,
    /// Why the last attempt failed.
    pub error: String,
    /// What was to be delivered.
    #[schema(value_type = Object)]
    pub message: serde_json::Value,
}

impl From<Delivery> for DeadLetterView {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            webhook_id: delivery.subscription.to_string(),
            event: delivery.event,
            attempts: delivery.attempts,
            died_at: delivery.dead_at.unwrap_or(0),
            error: delivery.error,
            message: serde_json::from_str(&delivery.body).unwrap_or_default(),
        }
    }
}

/// A page of the dead letters, by subscription and id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterList {
    /// The dead letters.
    pub dead_letters: Vec<DeadLetterView>,
    /// What to ask for with `cursor=` for the next page, if there is one; the same stands in `Link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
