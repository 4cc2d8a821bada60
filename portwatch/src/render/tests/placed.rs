//! Units and containers, and what stands behind a port in place of a claim.

use super::{answer, everywhere, list, target};
use crate::{
    render::{
        ls,
        sample::{HOSTILE, node, process, socket},
        who,
    },
    wire::{Container, Process, Unit},
};

pub(super) fn container(name: Option<&str>) -> Container {
    Container {
        engine: Some("docker".to_owned()),
        id: "818bd0bbdacb9bbb063a630afeb6bd12b578d5a3aab13bac726cd596a3e7cbba".to_owned(),
        pod: None,
        name: name.map(str::to_owned),
        image: name.map(|_| "nginx:1.27".to_owned()),
        compose_project: name.map(|_| "shop".to_owned()),
        compose_service: name.map(str::to_owned),
    }
}

fn unit(name: &str, manager: Option<u32>) -> Unit {
    Unit { name: name.to_owned(), slice: Some("system.slice".to_owned()), manager }
}

pub(super) fn httpd() -> Process {
    Process {
        container: Some(container(Some("web"))),
        ..process(22240, "httpd", &["httpd", "-f", "-p", "80"])
    }
}

#[test]
fn who_names_unit_and_container() {
    let postgres = Process {
        unit: Some(unit("postgresql@17-main.service", None)),
        ..process(812, "postgres", &["/usr/lib/postgresql/17/bin/postgres"])
    };
    let own = Process { unit: Some(unit("dev.service", Some(1000))), ..node() };
    let session = Process { unit: Some(unit("session-3.scope", None)), ..node() };
    let unnamed = Process { container: Some(container(None)), ..httpd() };
    let mut pod = container(None);
    pod.engine = Some("cri-o".to_owned());
    pod.pod = Some("0f5aeb2b-5d2b-4a58-9b5f-2f8f4a6d3c1e".to_owned());
    let pod = Process { container: Some(pod), ..httpd() };
    let mut lxc = container(Some("web"));
    (lxc.engine, lxc.id) = (Some("lxc".to_owned()), "web".to_owned());
    (lxc.image, lxc.compose_project) = (None, None);
    let lxc = Process { container: Some(lxc), unit: Some(unit("ssh.service", None)), ..httpd() };
    let hostile = Process { container: Some(container(Some(HOSTILE))), ..httpd() };
    let targets: Vec<_> = [postgres, own, session, httpd(), unnamed, pod, lxc, hostile]
        .into_iter()
        .zip(8080..)
        .map(|(process, port)| {
            target(&port.to_string(), "held", vec![socket("127.0.0.1", port, vec![process])])
        })
        .collect();
    insta::assert_snapshot!(everywhere(|out, look| who(out, &answer(true, targets.clone()), look)));
}

#[test]
fn ls_shows_what_stands_behind_a_port_that_no_claim_names() {
    let postgres = Process {
        unit: Some(unit("postgresql@17-main.service", None)),
        ..process(812, "postgres", &["postgres"])
    };
    let session = Process { unit: Some(unit("session-3.scope", None)), ..node() };
    let mut claimed = socket("127.0.0.1", 8089, vec![httpd()]);
    claimed.claim = Some("shop:web".to_owned());
    let sockets = vec![
        socket("::", 3100, vec![session]),
        socket("127.0.0.1", 5432, vec![postgres]),
        socket("127.0.0.1", 8088, vec![httpd()]),
        claimed,
        socket("127.0.0.1", 8090, vec![Process { container: Some(container(None)), ..httpd() }]),
    ];
    insta::assert_snapshot!(everywhere(|out, look| ls(out, &list(sockets.clone()), look)));
}
