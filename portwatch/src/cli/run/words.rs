//! What `run` says while a program runs.

use std::time::Duration;

use crate::{
    model::Port,
    resolve::{
        Place,
        run::{Moved, Note, Refused},
    },
};

/// The sentence for a note.
pub(super) fn of(note: &Note, place: &Place) -> String {
    match note {
        Note::Retry(which, of, refused) => format!("{}; try {which} of {of}", by(place, refused)),
        Note::Refused(refused) => match refused.holder {
            Some(_) => format!("{}; to end that: portwatch free {place}", by(place, refused)),
            None if refused.waiting > 0 => format!(
                "{}; they end within a minute, or: portwatch free {place} --time-wait",
                by(place, refused)
            ),
            None => format!("{}; portwatch who {place} says what is in the way", by(place, refused)),
        },
        Note::Took(words) => format!("{place} taken back: {words}"),
        Note::NotTaken(why) => format!("{place} is not taken: {why}"),
        Note::Elsewhere(from, to, moved) => elsewhere(*from, *to, moved),
        Note::Several(ports) => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            format!("it does not listen on {}, but on {}: the claim stays", place.port, ports.join(" and "))
        }
        Note::Restart(which, of, pause) => {
            format!("it failed; restart {which} of {of} in {}", span(*pause))
        }
        Note::Waiting(after, words) => format!("waiting {} s: {words}", after.as_secs()),
        Note::Ready(after, words) => format!("ready after {}: {words}", span(*after)),
        Note::NotReady(after, words) => {
            format!("not ready within {}, so it is ended: {words}", span(*after))
        }
    }
}

fn elsewhere(from: Port, to: Port, moved: &Moved) -> String {
    if from == to {
        return format!("it listens on {to} after all");
    }
    match moved {
        Moved::NoClaim => format!("it listens on {to} instead of {from}"),
        Moved::Claim(name) => format!("it listens on {to} instead of {from}; {name} is {to} from now on"),
        Moved::Stays(why) => format!("it listens on {to} instead of {from}; the claim stays: {why}"),
    }
}

fn by(place: &Place, refused: &Refused) -> String {
    if refused.holder.is_none() && refused.waiting > 0 {
        let may = if refused.certain { "was" } else { "may have been" };
        return format!(
            "{place} {may} refused to it: {} in TIME_WAIT, and it does not set SO_REUSEADDR",
            refused.waiting
        );
    }
    let holder = refused.holder.as_deref().unwrap_or("something");
    let sure = if refused.certain { "" } else { " (concluded; the refusal itself was not seen)" };
    format!("{place} was refused to it: {holder} has it{sure}")
}

/// `500 ms`, `1.2 s`, `30 s`
fn span(span: Duration) -> String {
    match span.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        ms if ms % 1000 < 50 || ms >= 10_000 => format!("{} s", ms / 1000),
        ms => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Moved, Note, Place, Port, Refused, of};

    #[test]
    fn every_note_is_one_sentence_that_says_what_is_next() {
        let place: Place = "3100".parse().unwrap();
        let port = |number| Port::new(number).unwrap();
        let refused = |holder: Option<&str>, certain| {
            let waiting = if holder.is_none() { 3 } else { 0 };
            Refused { holder: holder.map(str::to_owned), waiting, certain }
        };
        let notes = [
            Note::Retry(1, 4, refused(Some("node (812)"), true)),
            Note::Refused(refused(Some("node (812)"), false)),
            Note::Refused(refused(None, true)),
            Note::Refused(refused(None, false)),
            Note::Refused(Refused { holder: None, waiting: 0, certain: true }),
            Note::Elsewhere(port(3100), port(3101), Moved::Claim("myapp:web".to_owned())),
            Note::Elsewhere(port(3100), port(3101), Moved::NoClaim),
            Note::Elsewhere(port(3100), port(5173), Moved::Stays("it is taken".to_owned())),
            Note::Elsewhere(port(3100), port(3100), Moved::NoClaim),
            Note::Several(vec![port(4000), port(9229)]),
            Note::Restart(2, 5, Duration::from_millis(1500)),
            Note::Waiting(Duration::from_secs(3), "nothing of it listens on 3100".to_owned()),
            Note::Ready(Duration::from_millis(340), "it listens on 3100".to_owned()),
            Note::NotReady(Duration::from_mins(1), "3100: answers 503 Service Unavailable, 2 ms".to_owned()),
        ];
        let words: Vec<String> = notes.iter().map(|note| of(note, &place)).collect();
        insta::assert_snapshot!(words.join("\n"));
    }
}
