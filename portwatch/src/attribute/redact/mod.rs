//! Secrets in arguments, hidden before anything else sees them. What is hidden is listed in `docs/redaction.md`.
//!
//! Arguments are read from left to right, and what became of one depends only on those before it. So the
//! beginning of a line is hidden as the same part of the whole line is.

mod inline;
mod names;
mod programs;
#[cfg(test)]
mod tests;
mod words;

use std::str::FromStr;

use self::{
    names::{Names, Verdict},
    programs::{Program, Short},
};
use crate::model::CommandLine;

/// Stands for what was hidden. It tells nothing of it, not even its length.
pub const MARK: &str = "***";

/// Authorization schemes that are shown; what follows them is hidden.
const SCHEMES: [&str; 8] =
    ["apikey", "aws4-hmac-sha256", "basic", "bearer", "digest", "negotiate", "ntlm", "token"];

/// What is hidden.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redaction {
    off: bool,
    extra: Vec<String>,
}

/// Why a text is no [`Redaction`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a name of an option or variable")]
pub struct RedactionError(String);

impl Redaction {
    /// Nothing is hidden.
    pub const fn off() -> Self {
        Self { off: true, extra: Vec::new() }
    }

    /// The line with its secrets hidden.
    pub(super) fn line(&self, line: CommandLine) -> CommandLine {
        if self.off {
            return line;
        }
        let names = Names::new(&self.extra);
        let mut reader = Reader::new(&names);
        let last = line.args.len().saturating_sub(1);
        let hide = |(number, arg): (usize, &String)| reader.argument(arg, line.truncated && number == last);
        CommandLine { args: line.args.iter().enumerate().map(hide).collect(), truncated: line.truncated }
    }
}

/// `on`, `off`, or names separated by commas, which are hidden too.
impl FromStr for Redaction {
    type Err = RedactionError;

    fn from_str(text: &str) -> Result<Self, RedactionError> {
        match text.trim() {
            "on" | "" => Ok(Self::default()),
            "off" => Ok(Self::off()),
            list => {
                let extra = list.split(',').map(|name| {
                    let name = name.trim();
                    let bare = name.trim_start_matches('-');
                    if bare.is_empty() || !bare.chars().all(names::belongs) {
                        return Err(RedactionError(name.to_owned()));
                    }
                    Ok(bare.to_owned())
                });
                Ok(Self { off: false, extra: extra.collect::<Result<_, _>>()? })
            }
        }
    }
}

/// What the argument before said of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Plain,
    /// It is a secret.
    Secret,
    /// It is a secret by a short option, unless it is a port: `docker run --name mongo -p 8080:80`.
    Short,
    /// It is `user:secret`.
    Pair,
    /// It is the value of a header: a scheme and a secret, or a secret.
    Header,
    /// It is a shell's script.
    Script,
}

struct Reader<'a> {
    names: &'a Names,
    program: Option<&'static Program>,
    /// A word that some programs' rules ask for was there: `login`.
    login: bool,
    shell: bool,
    next: Next,
}

impl<'a> Reader<'a> {
    const fn new(names: &'a Names) -> Self {
        Self { names, program: None, login: false, shell: false, next: Next::Plain }
    }

    /// One argument. `cut`: its end is missing.
    fn argument(&mut self, arg: &str, cut: bool) -> String {
        if let Some(hidden) =
            self.awaited(arg, cut).or_else(|| self.assignment(arg)).or_else(|| self.header(arg))
        {
            return hidden;
        }
        self.script(arg, cut)
    }

    /// An argument of which the one before said what it is.
    fn awaited(&mut self, arg: &str, cut: bool) -> Option<String> {
        match std::mem::replace(&mut self.next, Next::Plain) {
            Next::Plain => None,
            Next::Script => Some(self.script(arg, cut)),
            // What is cut may go on as a secret that begins with a dash.
            _ if names::is_option(arg) && !(cut && arg.len() <= 2) => None,
            Next::Short if programs::is_port_mapping(arg) => None,
            Next::Pair => Some(pair(arg, ':')),
            Next::Header if is_scheme(arg) => {
                self.next = Next::Secret;
                Some(arg.to_owned())
            }
            Next::Secret | Next::Short | Next::Header => Some(mask(arg)),
        }
    }

    /// Text that may hold several words: a shell's script, a title that a process gave itself.
    fn script(&mut self, text: &str, cut: bool) -> String {
        let text = inline::hide(text, self.names, cut);
        if !text.contains(char::is_whitespace) {
            return self.word(&text);
        }
        let mut inner = Reader::new(self.names);
        let pieces = words::split(&text, cut);
        let last = pieces.len().saturating_sub(1);
        pieces.iter().enumerate().map(|(number, piece)| inner.piece(piece, cut && number == last)).collect()
    }

    /// A word of a text, with its quotes, or the blanks between two.
    fn piece(&mut self, piece: &str, cut: bool) -> String {
        if piece.starts_with(char::is_whitespace) {
            return piece.to_owned();
        }
        if let Some((quote, within, close)) = words::quoted(piece, cut) {
            return format!("{quote}{}{close}", self.argument(within, cut));
        }
        if !piece.contains(char::is_whitespace) {
            return self.argument(piece, cut);
        }
        // Blanks inside a word that is no quotation as a whole: x="a b".
        if let Some(hidden) = self.awaited(piece, cut).or_else(|| self.assignment(piece)) {
            return hidden;
        }
        let parts = words::at_blanks(piece);
        let last = parts.len().saturating_sub(1);
        let hide = |(number, part): (usize, &&str)| {
            if part.starts_with(char::is_whitespace) {
                (*part).to_owned()
            } else {
                self.argument(part, cut && number == last)
            }
        };
        parts.iter().enumerate().map(hide).collect()
    }

    /// `--password=x`, `PGPASSWORD=x`, `-Ddb.password=x`, `--set=auth.password=x`, `/password:x`. All of the rest
    /// is the secret, whatever characters it has.
    fn assignment(&self, arg: &str) -> Option<String> {
        let at = arg.find(['=', ':'])?;
        let (left, separator, right) = (arg.get(..at)?, arg.get(at..=at)?, arg.get(at + 1..)?);
        let bare = left.trim_start_matches(['-', '"', '\'']);
        let option = bare.len() < left.len() || left.starts_with('/');
        let bare = bare.strip_prefix('/').unwrap_or(bare);
        if bare.is_empty() || !bare.chars().all(names::belongs) {
            return None;
        }
        if separator == ":" && (!option || right.starts_with([' ', '/'])) {
            return None;
        }
        match self.names.verdict(bare) {
            Verdict::Secret => Some(format!("{left}{separator}{}", mask(right))),
            Verdict::Pair => Some(format!("{left}{separator}{}", pair(right, ':'))),
            Verdict::Open => Some(format!("{left}{separator}{}", self.assignment(right)?)),
        }
    }

    /// `Authorization: Bearer x`; also with the value in the arguments that follow.
    fn header(&mut self, arg: &str) -> Option<String> {
        let (left, right) = arg.split_once(':')?;
        let bare = left.trim_start_matches(['"', '\'']);
        let bare = bare.strip_prefix("-H").unwrap_or(bare);
        let known = names::is_header(bare);
        let value = right.trim_start();
        let spaced = value.is_empty() || value.len() < right.len();
        let secret = || bare.chars().all(names::belongs) && self.names.verdict(bare) == Verdict::Secret;
        if bare.is_empty() || !(known || spaced && secret()) {
            return None;
        }
        let lead = arg.get(..arg.len() - value.len())?;
        if value.is_empty() {
            self.next = Next::Header;
            return Some(arg.to_owned());
        }
        if is_scheme(value) {
            self.next = Next::Secret;
            return Some(arg.to_owned());
        }
        let scheme = value.split_once(char::is_whitespace).map(|(scheme, _)| scheme);
        Some(match scheme.filter(|scheme| is_scheme(scheme)) {
            Some(scheme) => format!("{lead}{scheme} {MARK}"),
            None => format!("{lead}{MARK}"),
        })
    }

    /// A word without blanks: an option whose value follows, a program, an option that only some programs have.
    fn word(&mut self, word: &str) -> String {
        let bare = word.trim_start_matches('-');
        let long = word.starts_with("--") || names::is_common(bare);
        // `mysql -pmy-token` is not an option that is called so.
        if !long && let Some(hidden) = self.short(word) {
            return hidden;
        }
        if bare.len() < word.len() && bare.chars().all(names::belongs) {
            match self.names.verdict(bare) {
                Verdict::Secret => self.next = Next::Secret,
                Verdict::Pair => self.next = Next::Pair,
                Verdict::Open => return self.short(word).unwrap_or_else(|| word.to_owned()),
            }
            return word.to_owned();
        }
        if word.starts_with('-') {
            return self.short(word).unwrap_or_else(|| word.to_owned());
        }
        self.login |= word == "login";
        if programs::takes_secret(word) {
            self.next = Next::Secret;
        }
        let name = programs::base_name(word);
        if let Some(program) = programs::find(name) {
            self.program = Some(program);
            self.shell = false;
        } else if programs::is_shell(name) {
            self.shell = true;
        }
        word.to_owned()
    }

    /// Short options: their meaning is the program's. `None` for those that it does not have.
    fn short(&mut self, word: &str) -> Option<String> {
        if self.shell && programs::takes_script(word) {
            self.next = Next::Script;
            return Some(word.to_owned());
        }
        let program = self.program?;
        for &(option, how) in program.options {
            let Some(rest) = word.strip_prefix(option) else { continue };
            if program.login_only && !self.login || programs::is_port_mapping(rest) {
                continue;
            }
            match (how, rest) {
                (Short::Attached, "") => {}
                (Short::Secret, "") => self.next = Next::Short,
                (Short::Pair, "") => self.next = Next::Pair,
                // A long option is not a short one with a value.
                _ if option.starts_with("--") && !rest.starts_with('=') => continue,
                (Short::Attached | Short::Secret, rest) => return Some(format!("{option}{}", mask(rest))),
                (Short::Pair, rest) => return Some(format!("{option}{}", pair(rest, program.between))),
            }
            return Some(word.to_owned());
        }
        None
    }
}

/// Hides a value. An empty one is no secret, and what is hidden already keeps its quotes.
fn mask(value: &str) -> String {
    let bare = value.trim_matches(['"', '\'', ';', ',']);
    if value.is_empty() || bare == MARK { value.to_owned() } else { MARK.to_owned() }
}

/// `user:secret`, of which the user is shown. Without the sign between there is no secret.
fn pair(value: &str, between: char) -> String {
    match value.split_once([between, '%']) {
        Some((user, secret)) if !programs::is_port_mapping(value) => {
            let sign = value.get(user.len()..value.len() - secret.len()).unwrap_or_default();
            format!("{user}{sign}{}", mask(secret))
        }
        _ => value.to_owned(),
    }
}

fn is_scheme(word: &str) -> bool {
    SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}
