//! `--netns`: which network namespace is meant. It becomes a number here, with the caller's own rights; a daemon opens
//! no path that a caller names.

use super::{args, failure::Failure};

/// The namespace of a question: its inode, and whether all are meant, of which it is then the one that is asked from.
pub(super) fn space(args: &args::Namespaces) -> Result<(Option<u32>, bool), Failure> {
    match &args.netns {
        _ if args.all_namespaces => Ok((own(), true)),
        Some(text) => named(text).map(|inode| (Some(inode), false)),
        None => Ok((own(), false)),
    }
}

/// Our own: a daemon may run in another one.
#[cfg(target_os = "linux")]
pub(super) fn own() -> Option<u32> {
    crate::source::netns::inode(std::path::Path::new("/proc/self/ns/net")).map(|netns| netns.0)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn own() -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
fn named(text: &str) -> Result<u32, Failure> {
    use std::{io, path::PathBuf};

    use crate::{access::AccessError, source::netns};

    let usage = |what: String| Failure::from(AccessError::Usage(what));
    let path = if let Some(pid) = text.strip_prefix("pid:") {
        let pid: u32 =
            pid.parse().map_err(|_| usage(format!("'{text}' is not pid:N with a whole number")))?;
        PathBuf::from(format!("/proc/{pid}/ns/net"))
    } else if let Ok(inode) = text.parse() {
        return Ok(inode);
    } else if text.is_empty() || text.contains('/') || text.starts_with('.') {
        return Err(usage(format!(
            "'{text}' is not a network namespace; give a name of `ip netns list`, an inode or pid:N"
        )));
    } else {
        PathBuf::from(netns::NAMED).join(text)
    };
    if let Some(netns) = netns::inode(&path) {
        return Ok(netns.0);
    }
    Err(match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && text.starts_with("pid:") => {
            usage(format!("there is no process {}", text.trim_start_matches("pid:")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => usage(format!(
            "there is no network namespace named {text} in {}; `ip netns list` shows them, ls --all-namespaces \
             the others",
            netns::NAMED
        )),
        Err(error) => AccessError::NotSeen {
            what: format!("the network namespace of {text} may not be looked at: {error}"),
            remedy: "ask as its owner or as root".to_owned(),
        }
        .into(),
        Ok(_) => usage(format!("{} is no network namespace any more", path.display())),
    })
}

#[cfg(not(target_os = "linux"))]
fn named(_: &str) -> Result<u32, Failure> {
    Err(crate::access::AccessError::Usage("only Linux has network namespaces".to_owned()).into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::named;
    use crate::cli::exit::Exit;

    #[test]
    fn a_namespace_is_a_name_an_inode_or_that_of_a_process() {
        let own = super::own().unwrap();
        assert_eq!(named(&format!("pid:{}", std::process::id())).unwrap(), own);
        assert_eq!(named("4026531840").unwrap(), 4_026_531_840);
        for wrong in ["", "../x", "a/b", "pid:", "pid:x", "pid:4194305", "no-such-namespace"] {
            let failure = named(wrong).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{wrong}: {failure}");
        }
    }
}
