//! Webhook subscriptions and dead letters.

use super::transport::Call;
use super::{Client, ClientError, encode};
use crate::api::{DeadLetterList, WebhookBody, WebhookList, WebhookView};
use reqwest::Method;

/// How many dead letters a page is to hold, the most that servers give.
const PAGE_LETTERS: usize = 1_000;

impl Client {
    /// Creates a subscription that is not there yet. The answer holds the secret, if one was made: this once.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what is wrong, with status 412 when there is one of that id.
    pub async fn create_webhook(&self, id: &str, webhook: &WebhookBody) -> Result<WebhookView, ClientError> {
        let path = ["v1", "webhooks", id];
        let call = Call {
            body: Some(encode(webhook)?),
            create: true,
            ..Call::of(Method::PUT, &path)
        };
        self.send(&call).await?.decode()
    }

    /// All subscriptions, by id: reads page after page.
    ///
    /// # Errors
    /// When the server cannot be reached or its answer is not understood.
    pub async fn webhooks(&self) -> Result<WebhookList, ClientError> {
        let split = |page: WebhookList| (page.webhooks, page.next);
        let webhooks = self.all(&["v1", "webhooks"], split).await?;
        Ok(WebhookList { webhooks, next: None })
    }

    /// A subscription as it stands, without its secrets.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when the server does not know it.
    pub async fn webhook(&self, id: &str) -> Result<WebhookView, ClientError> {
        self.read(&["v1", "webhooks", id]).await
    }

    /// Removes a subscription with everything that is kept for it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when the server does not know it (any more).
    pub async fn delete_webhook(&self, id: &str) -> Result<(), ClientError> {
        let path = ["v1", "webhooks", id];
        self.send(&Call::of(Method::DELETE, &path)).await.map(drop)
    }

    /// Dead letters of one subscription or of all, at most `limit`: reads page after page. Its `next` says whether there
    /// are more.
    ///
    /// # Errors
    /// When the server cannot be reached or its answer is not understood.
    pub async fn dead_letters(&self, of: Option<&str>, limit: usize) -> Result<DeadLetterList, ClientError> {
        let (mut dead_letters, mut next) = (Vec::new(), None::<String>);
        loop {
            let page_limit = (limit - dead_letters.len()).min(PAGE_LETTERS).to_string();
            let mut query = vec![("limit", page_limit.as_str())];
            query.extend(of.map(|id| ("webhook_id", id)));
            query.extend(next.as_deref().map(|cursor| ("cursor", cursor)));
            let call = Call {
                query: &query,
                ..Call::get(&["v1", "dead-letters"])
            };
            let page: DeadLetterList = self.send(&call).await?.decode()?;
            let is_empty = page.dead_letters.is_empty();
            dead_letters.extend(page.dead_letters);
            next = page.next;
            // A page without anything on it leads nowhere, whatever it says.
            if next.is_none() || is_empty || dead_letters.len() >= limit {
                return Ok(DeadLetterList { dead_letters, next });
            }
        }
    }

    /// Has a dead letter delivered after all.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 when there is no such dead letter (any more).
    pub async fn replay(&self, id: &str) -> Result<(), ClientError> {
        let path = ["v1", "dead-letters", id, "replay"];
        self.send(&Call::of(Method::POST, &path)).await.map(drop)
    }
}
