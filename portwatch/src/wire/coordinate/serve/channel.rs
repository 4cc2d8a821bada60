//! Channels and messages.

use std::time::Duration;

use super::{Serve, rows, whose};
use crate::{
    coordinate as inner,
    model::Timestamp,
    query::{
        claims::OfficeError,
        coordinate::{Asker, Bind, Bureau, ChannelView, Heard, MessageFilter, Saying},
    },
    wire::{
        SCHEMA,
        coordinate::{
            Channel, ChannelRequest, ChannelState, Channels, ChannelsQuery, Followed, Message, MessageGap,
            Messages, MessagesQuery, PublishRequest, Published,
        },
    },
};

/// Messages of an answer when no limit is given, and the most.
const USUAL: u32 = 100;
const MOST: u32 = 10_000;

fn channel(view: ChannelView) -> Channel {
    let ChannelView { channel, followers } = view;
    Channel {
        name: channel.name,
        uid: channel.user.uid,
        user: channel.user.name,
        shared: channel.shared,
        created: channel.created,
        last: channel.last,
        messages: channel.messages,
        newest: channel.newest,
        followers,
    }
}

fn message(message: inner::Message) -> Message {
    Message {
        id: message.id,
        channel: message.channel,
        time: message.at,
        sender: message.sender.name,
        sender_kind: message.sender.kind.as_str().to_owned(),
        uid: message.sender.user.uid,
        user: message.sender.user.name,
        pid: message.sender.process.map(|process| process.pid),
        text: message.text,
    }
}

impl From<Heard> for Followed {
    fn from(heard: Heard) -> Self {
        match heard {
            Heard::Message(inner) => Self::Message(message(inner)),
            Heard::Gap { after, through } => Self::Gap(MessageGap { after: Some(after), through }),
        }
    }
}

impl Serve for ChannelsQuery {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Channels, OfficeError> {
        let (found, total, hidden) = bureau.channels(rows(self.limit), asker)?;
        let channels: Vec<Channel> = found.into_iter().map(channel).collect();
        let truncated = u64::try_from(channels.len()).is_ok_and(|shown| shown < total);
        Ok(Channels { schema: SCHEMA, time: Timestamp::now(), channels, truncated, total, hidden })
    }
}

impl Serve for ChannelRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<ChannelState, OfficeError> {
        let view = match self.action.as_str() {
            "share" => bureau.share_channel(&self.name, true, asker)?,
            "unshare" => bureau.share_channel(&self.name, false, asker)?,
            "remove" => bureau.remove_channel(&self.name, asker)?,
            other => {
                return Err(OfficeError::Bad(format!(
                    "'{other}' is nothing that can be done with a channel; say share, unshare or remove"
                )));
            }
        };
        let action = self.action.clone();
        Ok(ChannelState { schema: SCHEMA, time: Timestamp::now(), action, channel: channel(view) })
    }
}

impl Serve for MessagesQuery {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Messages, OfficeError> {
        let filter = MessageFilter {
            channels: self.channel.clone(),
            after: self.after,
            since: self.since,
            most: self.limit.unwrap_or(USUAL).min(MOST),
        };
        let page = bureau.messages(&filter, asker)?;
        Ok(Messages {
            schema: SCHEMA,
            time: Timestamp::now(),
            database: page.database,
            messages: page.messages.into_iter().map(message).collect(),
            gap: page.cut.map(|through| MessageGap { after: self.after, through }),
            truncated: page.more,
            newest: page.newest,
            channels: page.known.into(),
            hidden: page.hidden.into(),
        })
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }

    fn is_pending(answer: &Messages) -> bool {
        answer.messages.is_empty() && answer.gap.is_none()
    }
}

impl Serve for PublishRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Published, OfficeError> {
        let saying = Saying {
            channel: self.channel.clone(),
            whose: whose(self.agent.as_ref(), self.session.as_ref(), Bind::Usual),
            text: self.text.clone(),
            shared: self.shared,
        };
        Ok(Published { schema: SCHEMA, message: message(bureau.publish(&saying, asker)?) })
    }
}
