//! Channels: publishing, reading, following.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{Asker, Bureau, OfficeError, Whose};
use crate::{
    coordinate::{Channel, Channels, Message, label, may_use, message},
    journal::{MessagePage, MessagesWanted, Publish},
    model::Timestamp,
};

/// A follower is given so many messages at once: an answer of bounded size, however far behind it is.
const AT_ONCE: u32 = 100;

/// What somebody says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    /// Where.
    pub channel: String,
    /// For whom.
    pub whose: Whose,
    /// Its words.
    pub text: String,
    /// Share the channel with every user.
    pub shared: bool,
}

/// Which messages somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageFilter {
    /// A channel, or a pattern.
    pub channels: String,
    /// With greater numbers than this.
    pub after: Option<i64>,
    /// Not published before.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub most: u32,
}

/// A channel, and how many follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// It.
    pub channel: Channel,
    /// Followers of this daemon; `None` without one: they do not know of each other.
    pub followers: Option<u64>,
}

/// What a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Message),
    /// Messages with numbers greater than `after` and up to `through` may be missing: they are not kept any more.
    Gap {
        /// What the follower had seen.
        after: i64,
        /// The greatest number that went.
        through: i64,
    },
}

/// Somebody who reads all that is said, from a number on. It is counted as long as it lives.
#[derive(Debug)]
pub struct Follower {
    channels: Channels,
    reader: u32,
    after: i64,
    list: Arc<Followers>,
    entry: u64,
}

/// Who follows what.
#[derive(Debug, Default)]
pub(super) struct Followers(Mutex<FollowerList>);

#[derive(Debug, Default)]
struct FollowerList {
    next: u64,
    all: BTreeMap<u64, (Channels, u32)>,
}

impl Followers {
    fn list(&self) -> MutexGuard<'_, FollowerList> {
        // A map that a panic elsewhere left is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, channel: &Channel) -> u64 {
        let may = |reader: u32| may_use(channel.user.uid, channel.shared, reader);
        let list = self.list();
        let count = list.all.values().filter(|(which, reader)| which.means(&channel.name) && may(*reader));
        u64::try_from(count.count()).unwrap_or(u64::MAX)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.list.list().all.remove(&self.entry);
    }
}

impl Follower {
    /// What it has not heard yet, oldest first; nothing where there is nothing new.
    pub fn hear(&mut self, bureau: &Bureau) -> Result<Vec<Heard>, OfficeError> {
        let page = bureau.page(&MessagesWanted {
            channels: &self.channels,
            after: Some(self.after),
            since: None,
            most: AT_ONCE,
            reader: self.reader,
        })?;
        let mut heard = Vec::new();
        if let Some(through) = page.cut {
            heard.push(Heard::Gap { after: self.after, through });
        }
        // What is published from now on has greater numbers than all that was there.
        self.after = match page.messages.last() {
            Some(last) if page.more => last.id,
            _ => page.newest.max(self.after),
        };
        heard.extend(page.messages.into_iter().map(Heard::Message));
        Ok(heard)
    }
}

impl Bureau {
    /// Changes whenever something may have been published.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.sayings.subscribe()
    }

    fn page(&self, wanted: &MessagesWanted<'_>) -> Result<MessagePage, OfficeError> {
        Ok(self.store().messages(wanted)?)
    }

    /// Publishes a message. It is on disk when this returns.
    pub fn publish(&self, saying: &Saying, asker: &Asker) -> Result<Message, OfficeError> {
        let channel = label(&saying.channel, "a channel")?;
        let text = message(&saying.text)?;
        let sender = self.owner(&saying.whose, asker)?;
        let publish = Publish { channel: &channel, sender: &sender, text, shared: saying.shared };
        let (message, told) = self.store().publish(&publish, Timestamp::now())?;
        self.tell(told);
        self.sayings.send_modify(|count| *count += 1);
        Ok(message)
    }

    /// Messages of channels that the asker may read.
    pub fn messages(&self, filter: &MessageFilter, asker: &Asker) -> Result<MessagePage, OfficeError> {
        let channels = Channels::parse(&filter.channels)?;
        let page = self.page(&MessagesWanted {
            channels: &channels,
            after: filter.after,
            since: filter.since,
            most: filter.most,
            reader: asker.user.uid,
        })?;
        in_this_database(filter.after, page.newest)?;
        Ok(page)
    }

    /// Follows what is said from `after` on; without it from now on.
    pub fn follow(&self, channels: &str, after: Option<i64>, asker: &Asker) -> Result<Follower, OfficeError> {
        let channels = Channels::parse(channels)?;
        let reader = asker.user.uid;
        let page = self.page(&MessagesWanted { channels: &channels, after, since: None, most: 0, reader })?;
        in_this_database(after, page.newest)?;
        let list = Arc::clone(&self.followers);
        let entry = {
            let mut list = list.list();
            list.next += 1;
            let entry = list.next;
            list.all.insert(entry, (channels.clone(), reader));
            entry
        };
        Ok(Follower { channels, reader, after: after.unwrap_or(page.newest), list, entry })
    }

    /// Channels that the asker may use, at most so many; how many those are, and how many more there are of others.
    pub fn channels(&self, most: u32, asker: &Asker) -> Result<(Vec<ChannelView>, u64, u64), OfficeError> {
        let (channels, total, hidden) = self.store().channels(asker.user.uid, most)?;
        Ok((channels.into_iter().map(|channel| self.view(channel)).collect(), total, hidden))
    }

    /// Shares a channel of the asker's with every user, or no longer.
    pub fn share_channel(&self, name: &str, shared: bool, asker: &Asker) -> Result<ChannelView, OfficeError> {
        let name = label(name, "a channel")?;
        let (channel, told) = self.store().share_channel(&name, shared, &asker.user, Timestamp::now())?;
        self.tell(told);
        Ok(self.view(channel))
    }

    /// Removes a channel of the asker's, with all that was said in it.
    pub fn remove_channel(&self, name: &str, asker: &Asker) -> Result<ChannelView, OfficeError> {
        let name = label(name, "a channel")?;
        let (channel, told) = self.store().remove_channel(&name, &asker.user, Timestamp::now())?;
        self.tell(told);
        self.sayings.send_modify(|count| *count += 1);
        Ok(self.view(channel))
    }

    /// How many channels somebody follows; nobody knows without a daemon.
    pub(super) fn followed(&self) -> Result<Option<u64>, OfficeError> {
        if !self.is_daemons {
            return Ok(None);
        }
        if self.followers.list().all.is_empty() {
            return Ok(Some(0));
        }
        let (channels, _, _) = self.store().channels(0, u32::MAX)?;
        let count = channels.iter().filter(|channel| self.followers.of(channel) > 0).count();
        Ok(u64::try_from(count).ok())
    }

    fn view(&self, channel: Channel) -> ChannelView {
        let followers = self.is_daemons.then(|| self.followers.of(&channel));
        ChannelView { channel, followers }
    }
}

/// Numbers mean something in their own database alone.
fn in_this_database(after: Option<i64>, newest: i64) -> Result<(), OfficeError> {
    match after {
        Some(after) if after > newest => Err(OfficeError::Refused {
            what: format!("there is no message {after} yet, the newest is {newest}"),
            remedy: "is it the same daemon and state directory? without --after it begins anew".to_owned(),
        }),
        _ => Ok(()),
    }
}
