//! Webhooks.

use std::time::Duration;

use super::{LONGEST_WAIT, Serve};
use crate::{
    model::{EventKind, Port, Timestamp},
    query::{
        claims::OfficeError,
        coordinate::{Asker, Bureau, WantedWebhook},
    },
    webhook::{self as inner, Standing, USUAL_TRIES, Wish},
    wire::{
        SCHEMA,
        coordinate::{
            Deliveries, DeliveriesQuery, Delivery, RemoveWebhookRequest, TestWebhookRequest, Webhook,
            WebhookRequest, WebhookState, WebhookTest, Webhooks, WebhooksQuery,
        },
    },
};

/// Deliveries shown when nobody says how many, and at most.
const LIMITS: (u64, u64) = (100, 1000);

fn webhook(webhook: &inner::Webhook) -> Webhook {
    Webhook {
        id: webhook.id,
        uid: webhook.uid,
        user: webhook.user.clone(),
        url: webhook.url.clone(),
        types: webhook.wish.kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
        ports: webhook.wish.ports.iter().map(|port| port.get()).collect(),
        filter: webhook.wish.pattern.clone(),
        tries: webhook.tries,
        created: webhook.created,
        waiting: webhook.waiting,
        delivered: webhook.delivered,
        given_up: webhook.given_up,
        dropped: webhook.dropped,
        failures: webhook.failures,
        rests_until: webhook.paused,
    }
}

fn delivery(delivery: inner::Delivery) -> Delivery {
    Delivery {
        id: delivery.id,
        webhook: delivery.webhook,
        event: delivery.event,
        r#type: delivery.kind,
        state: delivery.standing.as_str().to_owned(),
        queued: delivery.queued,
        tried: delivery.tried,
        tries: delivery.tries,
        status: delivery.status,
        latency_ms: delivery.latency_ms,
        problem: delivery.problem,
    }
}

fn state(found: &inner::Webhook, secret: Option<String>) -> WebhookState {
    WebhookState { schema: SCHEMA, time: Timestamp::now(), webhook: webhook(found), secret }
}

impl Serve for WebhooksQuery {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Webhooks, OfficeError> {
        let webhooks = bureau.webhooks(asker)?.iter().map(webhook).collect();
        Ok(Webhooks { schema: SCHEMA, time: Timestamp::now(), webhooks })
    }
}

impl Serve for WebhookRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<WebhookState, OfficeError> {
        let kind = |word: &String| {
            EventKind::from_word(word).ok_or_else(|| {
                OfficeError::Bad(format!("there is no event of type '{}'", word.escape_debug()))
            })
        };
        let port =
            |port: &u16| Port::new(*port).ok_or_else(|| OfficeError::Bad("0 is not a port".to_owned()));
        let mut kinds = self.types.iter().map(kind).collect::<Result<Vec<_>, _>>()?;
        kinds.sort_unstable();
        kinds.dedup();
        let wanted = WantedWebhook {
            url: self.url.clone(),
            wish: Wish {
                kinds,
                ports: self.ports.iter().map(port).collect::<Result<_, _>>()?,
                pattern: self.filter.clone(),
            },
            secret: self.secret.clone(),
            tries: self.tries.unwrap_or(USUAL_TRIES),
        };
        let (webhook, secret) = bureau.add_webhook(&wanted, asker)?;
        Ok(state(&webhook, secret))
    }
}

impl Serve for RemoveWebhookRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<WebhookState, OfficeError> {
        Ok(state(&bureau.remove_webhook(self.id, asker)?, None))
    }
}

impl Serve for TestWebhookRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<WebhookTest, OfficeError> {
        let sent = bureau.test_webhook(self.id, self.delivery, asker)?;
        Ok(WebhookTest { schema: SCHEMA, time: Timestamp::now(), delivery: delivery(sent) })
    }

    fn wait(&self) -> Duration {
        LONGEST_WAIT
    }

    fn is_pending(answer: &WebhookTest) -> bool {
        answer.delivery.state == Standing::Waiting.as_str()
    }

    fn again(self, answer: &WebhookTest) -> Self {
        Self { delivery: Some(answer.delivery.id), ..self }
    }
}

impl Serve for DeliveriesQuery {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Deliveries, OfficeError> {
        let limit = self.limit.unwrap_or(LIMITS.0).min(LIMITS.1);
        let (found, truncated) = bureau.deliveries(self.webhook, limit, asker)?;
        let deliveries = found.into_iter().map(delivery).collect();
        Ok(Deliveries { schema: SCHEMA, time: Timestamp::now(), deliveries, truncated })
    }
}
