//! A subscription: who is told of what, and where.

use super::guard::Guard;
use crate::participants::signature::{Keyring, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::order::PublicEvent;
use domain::ports::StoreError;
use domain::rejection::FieldError;
use persistence::{SubscriptionRecord, WebhookId};
use rand::TryRngCore;
use rand::rngs::OsRng;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most secrets of one subscription: one in force, and those that are being rotated out or in.
const SECRETS_MAX: usize = 4;
const DESCRIPTION_BYTES_MAX: usize = 500;
/// Bytes of a secret that is made here.
const SECRET_BYTES: usize = 32;

/// What somebody wants a subscription to be.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    /// Where messages are posted to.
    pub url: String,
    /// The names of the events that are told; `None`: all.
    pub event_types: Option<Vec<String>>,
    /// The secrets that messages are signed with, the newest first; `None`: those it has, or a new one.
    pub secrets: Option<Vec<String>>,
    /// Whether anything is delivered.
    pub enabled: bool,
    /// What it is for; for people.
    pub description: String,
}

/// A subscription as it stands. Nothing that is meant for others holds its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its name.
    pub id: WebhookId,
    /// How often it was changed.
    pub version: u64,
    /// What it says.
    pub settings: Settings,
}

/// What a subscription says, as it is stored. Fields are added, never renamed. The `Debug` form shows no secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where messages are posted to.
    pub url: String,
    /// The names of the events that are told; `None`: all.
    pub event_types: Option<Vec<String>>,
    /// Whether anything is delivered.
    pub enabled: bool,
    /// Why the platform switched it off; `None` when it did not.
    pub disabled_reason: Option<String>,
    /// What it is for.
    pub description: String,
    pub(super) secrets: Vec<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.url)
            .field("event_types", &self.event_types)
            .field("enabled", &self.enabled)
            .field("disabled_reason", &self.disabled_reason)
            .finish_non_exhaustive()
    }
}

impl Subscription {
    /// Reads what the store keeps.
    pub(super) fn read(record: SubscriptionRecord) -> Result<Self, StoreError> {
        let settings = serde_json::from_str(&record.settings)
            .map_err(|error| StoreError::Corrupt(format!("webhook {}: {error}", record.id)))?;
        Ok(Self {
            id: record.id,
            version: record.version,
            settings,
        })
    }

    /// Whether an event of this name is told.
    pub(super) fn wants(&self, name: &str) -> bool {
        match &self.settings.event_types {
            None => true,
            Some(names) => names.iter().any(|wanted| wanted == name),
        }
    }
}

impl Draft {
    /// What the subscription says when this is done to it, and the secret that was made for it, if one was.
    ///
    /// # Errors
    /// What is wrong with which field.
    pub(super) fn applied(
        self,
        to: Option<&Settings>,
        guard: Guard,
    ) -> Result<(Settings, Option<String>), Vec<FieldError>> {
        self.check(guard)?;
        let event_types = self.event_types.map(|mut names| {
            names.sort_unstable();
            names.dedup();
            names
        });
        let (secrets, made) = match (self.secrets, to) {
            (Some(given), _) => (given, None),
            (None, Some(present)) => (present.secrets.clone(), None),
            (None, None) => {
                let secret = new_secret().map_err(|problem| vec![FieldError::new("/secrets", problem)])?;
                (vec![secret.clone()], Some(secret))
            }
        };
        let reason = to.and_then(|present| present.disabled_reason.clone());
        let settings = Settings {
            url: self.url,
            event_types,
            enabled: self.enabled,
            disabled_reason: reason.filter(|_| !self.enabled),
            description: self.description,
            secrets,
        };
        Ok((settings, made))
    }

    fn check(&self, guard: Guard) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        if let Err(refused) = guard.check(&self.url) {
            errors.push(FieldError::new("/url", refused.to_string()));
        }
        for (n, name) in self.event_types.iter().flatten().enumerate() {
            if !PublicEvent::NAMES.contains(&name.as_str()) {
                let names = PublicEvent::NAMES.join(", ");
                errors.push(FieldError::new(
                    format!("/event_types/{n}"),
                    format!("must be one of {names}"),
                ));
            }
        }
        if self.event_types.as_ref().is_some_and(Vec::is_empty) {
            errors.push(FieldError::new(
                "/event_types",
                "must name an event, or be absent for all of them",
            ));
        }
        if let Some(secrets) = &self.secrets {
            if !(1..=SECRETS_MAX).contains(&secrets.len()) {
                errors.push(FieldError::new(
                    "/secrets",
                    format!("must be 1 to {SECRETS_MAX} secrets"),
                ));
            }
            for (n, text) in secrets.iter().enumerate() {
                if let Err(problem) = text.parse::<Secret>() {
                    errors.push(FieldError::new(format!("/secrets/{n}"), problem.to_string()));
                }
            }
        }
        if self.description.len() > DESCRIPTION_BYTES_MAX {
            let text = format!("must have at most {DESCRIPTION_BYTES_MAX} bytes");
            errors.push(FieldError::new("/description", text));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// A secret that nobody can guess. Not from the platform's source of ids, which is not made for that.
fn new_secret() -> Result<String, String> {
    let mut bytes = [0; SECRET_BYTES];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|_| "cannot be made here at present: give one".to_owned())?;
    Ok(format!("whsec_{}", STANDARD.encode(bytes)))
}

/// Where a subscription's messages go, ready to be used.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The subscription.
    pub(super) subscription: Subscription,
    /// Its URL, read.
    pub(super) url: Url,
    /// Its secrets, read.
    pub(super) keyring: Keyring,
}

impl Target {
    /// Reads a subscription that was checked when it was written.
    pub(super) fn new(subscription: Subscription) -> Result<Self, StoreError> {
        let corrupt = |problem: String| StoreError::Corrupt(format!("webhook {}: {problem}", subscription.id));
        let url = Url::parse(&subscription.settings.url).map_err(|error| corrupt(error.to_string()))?;
        let secrets = subscription.settings.secrets.iter().map(|text| text.parse::<Secret>());
        let secrets: Vec<Secret> = secrets
            .collect::<Result<_, _>>()
            .map_err(|error| corrupt(error.to_string()))?;
        Ok(Self {
            keyring: Keyring::new(&secrets),
            url,
            subscription,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Guard = Guard {
        allow_http: false,
        allow_private: false,
    };

    fn draft() -> Draft {
        Draft {
            url: "https://shop.example/hooks".into(),
            event_types: None,
            secrets: None,
            enabled: true,
            description: String::new(),
        }
    }

    #[test]
    fn a_secret_is_made_once_and_stays_until_it_is_replaced() {
        let (first, made) = draft().applied(None, GUARD).expect("sound");
        let made = made.expect("a secret");
        assert!(made.parse::<Secret>().is_ok() && made.starts_with("whsec_"));
        assert_eq!(first.secrets, std::slice::from_ref(&made));
        assert_ne!(
            draft().applied(None, GUARD).expect("sound").1,
            Some(made),
            "each time another"
        );
        let (same, none) = draft().applied(Some(&first), GUARD).expect("sound");
        assert_eq!((&same, none), (&first, None), "asking again changes nothing");
        let given = vec!["0123456789abcdef01234567".to_owned()];
        let rotated = Draft {
            secrets: Some(given.clone()),
            ..draft()
        };
        assert_eq!(rotated.applied(Some(&first), GUARD).expect("sound").0.secrets, given);
        assert!(!format!("{first:?}").contains("whsec"), "secrets are not printed");
    }

    #[test]
    fn every_field_that_is_wrong_is_named() {
        let wrong = Draft {
            url: "http://127.0.0.1/".into(),
            event_types: Some(vec!["order.placed".into(), "order.eaten".into()]),
            secrets: Some(vec!["short".into()]),
            description: "x".repeat(501),
            ..draft()
        };
        let pointers = |draft: Draft| -> Vec<String> {
            let errors = draft.applied(None, GUARD).expect_err("refused");
            errors.into_iter().map(|error| error.pointer).collect()
        };
        assert_eq!(
            pointers(wrong),
            ["/url", "/event_types/1", "/secrets/0", "/description"]
        );
        let empty = Draft {
            event_types: Some(Vec::new()),
            secrets: Some(Vec::new()),
            ..draft()
        };
        assert_eq!(pointers(empty), ["/event_types", "/secrets"]);
    }

    #[test]
    fn switching_it_on_again_forgets_why_it_was_off() {
        let (mut settings, _) = draft().applied(None, GUARD).expect("sound");
        settings.enabled = false;
        settings.disabled_reason = Some("answered 410".into());
        let off = Draft {
            enabled: false,
            ..draft()
        };
        assert_eq!(off.applied(Some(&settings), GUARD).expect("sound").0, settings);
        assert_eq!(
            draft()
                .applied(Some(&settings), GUARD)
                .expect("sound")
                .0
                .disabled_reason,
            None
        );
    }

    #[test]
    fn names_choose_what_is_told() {
        let names = Some(vec![
            "order.failed".to_owned(),
            "order.placed".to_owned(),
            "order.placed".to_owned(),
        ]);
        let (settings, _) = Draft {
            event_types: names,
            ..draft()
        }
        .applied(None, GUARD)
        .expect("sound");
        assert_eq!(settings.event_types.as_ref().map(Vec::len), Some(2));
        let mut subscription = Subscription {
            id: "a".parse().expect("an id"),
            version: 1,
            settings,
        };
        assert!(subscription.wants("order.placed") && !subscription.wants("order.delivered"));
        subscription.settings.event_types = None;
        assert!(subscription.wants("order.delivered"));
    }
}
