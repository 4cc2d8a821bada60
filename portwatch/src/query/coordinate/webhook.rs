//! Webhooks, as they are asked for. Each is one user's: others neither see it nor touch it, and root does.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::{Asker, Bureau, OfficeError};
use crate::{
    deliver,
    journal::{NewWebhook, Webhooks},
    model::Timestamp,
    webhook::{
        Delivery, Host, LONGEST_PATTERN, LONGEST_SECRET, MOST, MOST_OF_USER, MOST_TRIES, Policy,
        SHORTEST_SECRET, Secret, Target, Webhook, Wish,
    },
};

/// Longest list of ports.
const MOST_PORTS: usize = 64;

/// The tables, opened at first use: most commands need none of them.
pub(super) struct Hooks {
    path: PathBuf,
    boot_id: String,
    store: OnceLock<Mutex<Webhooks>>,
    pub(super) policy: Policy,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl Hooks {
    pub(super) fn new(path: &Path, boot_id: &str) -> Self {
        Self {
            path: path.to_owned(),
            boot_id: boot_id.to_owned(),
            store: OnceLock::new(),
            policy: Policy::default(),
        }
    }

    fn store(&self) -> Result<MutexGuard<'_, Webhooks>, OfficeError> {
        let store = if let Some(store) = self.store.get() {
            store
        } else {
            let store = Webhooks::open(&self.path, &self.boot_id)?;
            self.store.get_or_init(|| Mutex::new(store))
        };
        // A statement that failed left the tables as they were.
        Ok(store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A webhook that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedWebhook {
    /// Where it leads.
    pub url: String,
    /// Which events.
    pub wish: Wish,
    /// Signs; one is made where there is none.
    pub secret: Option<String>,
    /// An event is tried so often.
    pub tries: u32,
}

impl Bureau {
    /// The same with what the configuration says of webhooks.
    #[must_use]
    pub fn with_webhooks(mut self, policy: Policy) -> Self {
        self.hooks.policy = policy;
        self
    }

    /// Adds a webhook of the asker's. Gives the secret that was made, where one was: it is told once.
    pub fn add_webhook(
        &self,
        wanted: &WantedWebhook,
        asker: &Asker,
    ) -> Result<(Webhook, Option<String>), OfficeError> {
        let target = Target::parse(&wanted.url).map_err(|error| OfficeError::Bad(error.to_string()))?;
        check(wanted)?;
        self.may_lead(&target, asker.user.uid)?;
        let made = if wanted.secret.is_none() { Some(random_text()?) } else { None };
        let secret = wanted.secret.as_ref().or(made.as_ref()).map(|text| text.clone().into_bytes());
        let new = NewWebhook {
            uid: asker.user.uid,
            user: asker.user.name.as_deref(),
            url: &wanted.url,
            wish: &wanted.wish,
            secret: &Secret(secret.unwrap_or_default()),
            tries: wanted.tries,
        };
        let added = self.hooks.store()?.add(&new, (MOST_OF_USER, MOST), Timestamp::now())?;
        let webhook = added.ok_or_else(|| OfficeError::Refused {
            what: format!("a user has at most {MOST_OF_USER} webhooks, all together {MOST}"),
            remedy: "remove one: portwatch webhook list, portwatch webhook remove ID".to_owned(),
        })?;
        self.stir();
        Ok((webhook, made))
    }

    /// An address can be judged now. A name is judged by what it means when something is sent.
    fn may_lead(&self, target: &Target, uid: u32) -> Result<(), OfficeError> {
        let list = self.hooks.policy.of(uid);
        let what = match &target.host {
            Host::Address(address) => {
                let at = SocketAddr::new(*address, target.port);
                if list.allows(at) {
                    return Ok(());
                }
                deliver::not_allowed(target, &[at])
            }
            Host::Name(_) if !list.is_empty() => return Ok(()),
            Host::Name(_) => "your webhooks may lead nowhere".to_owned(),
        };
        Err(OfficeError::NotPermitted {
            what,
            remedy: "whoever runs the daemon says where webhooks may lead: [webhooks] allow = [\"loopback\", \"10.0.0.5:9000\"] \
                     in its configuration file"
                .to_owned(),
        })
    }

    /// The asker's webhooks; root's are everybody's.
    pub fn webhooks(&self, asker: &Asker) -> Result<Vec<Webhook>, OfficeError> {
        let mut all = self.hooks.store()?.all()?;
        all.retain(|webhook| may_see(webhook, asker));
        Ok(all)
    }

    /// How many there are, and how many events wait for them.
    pub fn webhook_counts(&self) -> Result<(u64, u64), OfficeError> {
        let all = self.hooks.store()?.all()?;
        Ok((u64::try_from(all.len()).unwrap_or(u64::MAX), all.iter().map(|webhook| webhook.waiting).sum()))
    }

    fn own_webhook(&self, id: i64, asker: &Asker) -> Result<Webhook, OfficeError> {
        // Another user's is as one that is not there.
        let found = self.hooks.store()?.get(id)?.filter(|webhook| may_see(webhook, asker));
        found.ok_or_else(|| OfficeError::Absent {
            what: format!("you have no webhook {id}"),
            remedy: "portwatch webhook list shows those you have".to_owned(),
        })
    }

    /// Removes one, and what waits for it.
    pub fn remove_webhook(&self, id: i64, asker: &Asker) -> Result<Webhook, OfficeError> {
        let webhook = self.own_webhook(id, asker)?;
        self.hooks.store()?.remove(id)?;
        self.stir();
        Ok(webhook)
    }

    /// Sends a test, or says what became of one that was sent.
    pub fn test_webhook(&self, id: i64, sent: Option<i64>, asker: &Asker) -> Result<Delivery, OfficeError> {
        self.own_webhook(id, asker)?;
        let absent = || OfficeError::Absent {
            what: format!("webhook {id} has no such delivery"),
            remedy: format!("portwatch webhook log {id} shows those it has"),
        };
        let delivery = if let Some(delivery) = sent {
            delivery
        } else {
            let queued = self.hooks.store()?.queue_test(id, Timestamp::now())?;
            let queued = queued.ok_or_else(|| OfficeError::Refused {
                what: format!("a test of webhook {id} is on its way already"),
                remedy: format!("portwatch webhook log {id} shows what becomes of it"),
            })?;
            self.stir();
            queued
        };
        let found = self.hooks.store()?.delivery(delivery)?;
        found.filter(|delivery| delivery.webhook == id).ok_or_else(absent)
    }

    /// The newest deliveries of one of the asker's webhooks, or of all; and whether there are more.
    pub fn deliveries(
        &self,
        webhook: Option<i64>,
        limit: u64,
        asker: &Asker,
    ) -> Result<(Vec<Delivery>, bool), OfficeError> {
        if let Some(id) = webhook {
            self.own_webhook(id, asker)?;
        }
        let uid = Some(asker.user.uid).filter(|uid| *uid != 0);
        let mut found = self.hooks.store()?.deliveries(webhook, uid, limit)?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > most;
        found.truncate(most);
        Ok((found, more))
    }
}

fn may_see(webhook: &Webhook, asker: &Asker) -> bool {
    asker.user.uid == 0 || webhook.uid == asker.user.uid
}

fn check(wanted: &WantedWebhook) -> Result<(), OfficeError> {
    let bad = |words: String| Err(OfficeError::Bad(words));
    if !(1..=MOST_TRIES).contains(&wanted.tries) {
        return bad(format!("an event is tried 1 to {MOST_TRIES} times"));
    }
    if wanted.wish.ports.len() > MOST_PORTS {
        return bad(format!("at most {MOST_PORTS} ports"));
    }
    if let Some(pattern) = &wanted.wish.pattern
        && (pattern.is_empty() || pattern.len() > LONGEST_PATTERN || pattern.chars().any(char::is_control))
    {
        return bad(format!("a pattern has 1 to {LONGEST_PATTERN} bytes and no control characters"));
    }
    if let Some(secret) = &wanted.secret
        && !(SHORTEST_SECRET..=LONGEST_SECRET).contains(&secret.len())
    {
        return bad(format!("a secret has {SHORTEST_SECRET} to {LONGEST_SECRET} bytes"));
    }
    Ok(())
}

/// 256 bits of the kernel's, in hexadecimal.
fn random_text() -> Result<String, OfficeError> {
    use std::{fmt::Write as _, io::Read as _};
    let mut bytes = [0_u8; 32];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| {
        OfficeError::Bad(format!("no secret can be made here ({error}); give one with --secret-file"))
    })?;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
