//! Since when a socket is there, told by a daemon that was not there at the time.

#![expect(clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use portwatch_tests::{Actor, Netns, Portwatch, require_bpf, require_netns};
use serde_json::Value;

/// Listens, closes that and listens at the same place again when a line comes, and ends when its input does.
const AGAIN: &str = "
import socket, sys
s = socket.create_server(('127.0.0.1', 0))
place = s.getsockname()
print(place[1], flush=True)
sys.stdin.readline()
s.close()
s = socket.create_server(place)
print('again', flush=True)
sys.stdin.read()
";

fn times(target: &Value) -> [Value; 3] {
    ["since", "listening_since", "evidence"].map(|field| target["sockets"][0][field].clone())
}

#[test]
fn a_daemon_that_comes_later_says_since_when_a_listener_really_listens() {
    if !require_netns() || !require_bpf() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let mut portwatch = Portwatch::started(&[])?;
            let (stays, kept) = Actor::listener("127.0.0.1", 0)?;
            let mut lives = Actor::python(AGAIN, &[])?;
            let (kept, port) = (kept.to_string(), lives.line()?);
            let listen = portwatch.wait_for("listen", &["--port", &kept])?;
            portwatch.wait_for("listen", &["--port", &port])?;
            let seen = times(&portwatch.who(&kept)?);
            assert_eq!((&seen[1], &seen[2]), (&listen["time"], &"kernel".into()));
            // Asked again and again, and by a daemon with another source too.
            for source in ["auto", "scan", "auto"] {
                portwatch.stop()?;
                portwatch.start(&["--source", source])?;
                let target = portwatch.who(&kept)?;
                assert_eq!(times(&target), seen, "{source}: {target:#}");
                assert_eq!(target["sockets"][0]["creator"]["pid"], stays.pid(), "{source}: {target:#}");
                let said = portwatch.run(&["who", &kept])?;
                assert!(said.stdout.contains("  since ") && !said.stdout.contains("first seen"), "{said:?}");
            }

            // The same process, the same place, another socket: nobody saw when it came.
            portwatch.crash()?;
            lives.say("")?;
            assert_eq!(lives.line()?, "again");
            let began = jiff::Timestamp::now();
            portwatch.start(&[])?;
            let [since, listening, evidence] = times(&portwatch.who(&port)?);
            assert!(since.as_str().unwrap_or_default().parse::<jiff::Timestamp>()? >= began, "{since}");
            assert_eq!((listening, evidence), (Value::Null, "scan".into()));
            Ok(())
        })
        .unwrap();
}
