//! Subscriptions and dead letters for people.

use crate::api::{DeadLetterList, DeadLetterView, WebhookList, WebhookView};
use crate::cli::order::{moment, table, text};

/// A new subscription, with what is never shown again.
pub(super) fn created(created: &WebhookView) -> String {
    let secret = created
        .secret
        .as_ref()
        .map(|secret| format!("\n\nmessages are signed with this secret, which is not shown again:\n{secret}"));
    webhook(created) + &secret.unwrap_or_default()
}

/// A subscription.
pub(super) fn webhook(webhook: &WebhookView) -> String {
    let mut table = table();
    let mut row = |what: &str, value: String| {
        table.add_row([what.to_owned(), value]);
    };
    row("webhook", webhook.id.clone());
    row("posts to", webhook.url.clone());
    row("events", events(webhook));
    row("state", state(webhook));
    if !webhook.description.is_empty() {
        row("for", webhook.description.clone());
    }
    row("version", webhook.version.to_string());
    text(&table)
}

fn events(webhook: &WebhookView) -> String {
    webhook
        .event_types
        .as_ref()
        .map_or_else(|| "all".to_owned(), |types| types.join(", "))
}

fn state(webhook: &WebhookView) -> String {
    match &webhook.disabled_reason {
        Some(reason) => format!("off: {reason}"),
        None if webhook.enabled => "on".to_owned(),
        None => "off".to_owned(),
    }
}

/// Subscriptions, a line each.
pub(super) fn list(list: &WebhookList) -> String {
    if list.webhooks.is_empty() {
        return "no webhooks".to_owned();
    }
    let mut table = table();
    table.set_header(["webhook", "state", "posts to", "events"]);
    for webhook in &list.webhooks {
        table.add_row([webhook.id.clone(), state(webhook), webhook.url.clone(), events(webhook)]);
    }
    text(&table)
}

/// Dead letters, a line each.
pub(super) fn dead_letters(list: &DeadLetterList) -> String {
    if list.dead_letters.is_empty() {
        return "no dead letters".to_owned();
    }
    let mut table = table();
    table.set_header(["dead letter", "webhook", "event", "given up", "attempts", "because"]);
    for letter in &list.dead_letters {
        table.add_row(cells(letter));
    }
    let more = list.next.as_ref().map(|_| "\n\nthere are more: --limit shows them");
    text(&table) + more.unwrap_or_default()
}

fn cells(letter: &DeadLetterView) -> [String; 6] {
    [
        letter.id.clone(),
        letter.webhook_id.clone(),
        letter.event.clone(),
        moment(letter.died_at),
        letter.attempts.to_string(),
        letter.error.clone(),
    ]
}

/// What became of dead letters.
pub(super) fn replayed(count: usize) -> String {
    match count {
        0 => "no dead letters".to_owned(),
        1 => "1 message is attempted again".to_owned(),
        count => format!("{count} messages are attempted again"),
    }
}
