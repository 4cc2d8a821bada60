//! Units and containers, and what stands behind a port in place of a claim.

use super::{answer, everywhere, list, target, verdict};
use crate::{
    render::{
        ls,
        sample::{HOSTILE, node, process, socket},
        who,
    },
    wire::{
        Cgroup, Container, Forward, List, Process, Published, Socket, Unit, UnprovenContainer, WhoTarget,
    },
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
        owner: None,
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
    let rootless = Container { owner: Some(1000), ..container(Some("web")) };
    let rootless = Process { container: Some(rootless), ..httpd() };
    let claimed = |uid| UnprovenContainer {
        engine: Some("docker".to_owned()),
        id: "818bd0bbdacb9bbb063a630afeb6bd12b578d5a3aab13bac726cd596a3e7cbba".to_owned(),
        uid,
    };
    let [users, nobodys] = [Some(1000), None].map(|uid| Process {
        container: None,
        unproven_container: Some(claimed(uid)),
        cgroup: Some(Cgroup { id: None, path: "/user.slice/docker-818bd0bbdacb.scope".to_owned() }),
        ..httpd()
    });
    let targets: Vec<_> =
        [postgres, own, session, httpd(), unnamed, pod, lxc, hostile, rootless, users, nobodys]
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

fn forward(container: Option<Container>, process: Option<Process>, evidence: &str) -> Forward {
    let known = container.is_some();
    Forward {
        forwarder: "docker-proxy".to_owned(),
        address: known.then(|| "172.17.0.2".to_owned()),
        port: known.then_some(80),
        container,
        netns: process.as_ref().map(|_| 4_026_532_253),
        process,
        evidence: evidence.to_owned(),
    }
}

fn proxy(port: u16, to: Forward) -> Socket {
    let args =
        ["/usr/bin/docker-proxy", "-proto", "tcp", "-container-ip", "172.17.0.2", "-container-port", "80"];
    let proxy = Process { user: Some("root".to_owned()), ..process(17523, "docker-proxy", &args) };
    Socket { forwards_to: Some(to), ..socket("0.0.0.0", port, vec![proxy]) }
}

#[test]
fn who_says_where_a_forwarder_leads_and_what_is_elsewhere() {
    let inside = |name| forward(Some(container(name)), Some(httpd()), "inferred");
    let targets = vec![
        target("8088", "held", vec![proxy(8088, inside(Some("web")))]),
        target("8089", "held", vec![proxy(8089, forward(Some(container(None)), None, "inferred"))]),
        target("8090", "held", vec![proxy(8090, forward(None, None, "ambiguous"))]),
        target("8091", "held", vec![proxy(8091, forward(None, None, "unknown"))]),
        WhoTarget {
            published: vec![Published {
                address: None,
                port: 8092,
                protocol: "tcp".to_owned(),
                to: Forward { forwarder: "docker".to_owned(), ..inside(Some(HOSTILE)) },
            }],
            ..target("8092", "held", Vec::new())
        },
        WhoTarget {
            elsewhere: vec![
                Socket { netns: Some(4_026_532_253), ..socket("::", 80, vec![httpd()]) },
                Socket {
                    netns: Some(4_026_532_177),
                    netns_name: Some("blue".to_owned()),
                    ..socket("127.0.0.1", 80, vec![node()])
                },
                Socket {
                    netns: Some(7),
                    owner: "not-permitted".to_owned(),
                    ..socket("127.0.0.1", 80, Vec::new())
                },
            ],
            verdict: Some(verdict(true, "A bind of 0.0.0.0:80 would succeed.")),
            ..target("80", "free", Vec::new())
        },
    ];
    insta::assert_snapshot!(everywhere(|out, look| who(out, &answer(true, targets.clone()), look)));
}

#[test]
fn ls_has_a_column_for_namespaces_only_where_there_are_several() {
    let blue = Socket {
        netns: Some(4_026_532_177),
        netns_name: Some("blue".to_owned()),
        ..socket("127.0.0.1", 3100, vec![node()])
    };
    let inside = Socket { netns: Some(4_026_532_253), ..socket("::", 80, vec![httpd()]) };
    let leads = proxy(8088, forward(Some(container(Some("web"))), Some(httpd()), "inferred"));
    let all = list(vec![inside, socket("::", 3100, vec![node()]), blue, leads.clone()]);
    insta::assert_snapshot!("ls_of_all_namespaces", everywhere(|out, look| ls(out, &all, look)));
    let own = List { elsewhere: 2, ..list(vec![leads]) };
    insta::assert_snapshot!("ls_of_the_own_namespace", everywhere(|out, look| ls(out, &own, look)));
}
