//! The part of the engines' answer that is read (Docker Engine API, ContainerList; Podman answers the same).

use std::{collections::HashMap, net::IpAddr};

use serde::Deserialize;

use super::{Compose, Container, Engine, Port, Protocol, Published, Running, client::Whose};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
    #[serde(default)]
    ports: Option<Vec<ListedPort>>,
    #[serde(default)]
    network_settings: Option<Settings>,
}

/// Docker writes `IP`, Podman has written `IP` and `hostIP`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedPort {
    #[serde(rename = "IP", default)]
    ip: Option<String>,
    private_port: u16,
    #[serde(default)]
    public_port: Option<u16>,
    #[serde(rename = "Type", default)]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    #[serde(default)]
    networks: Option<HashMap<String, Network>>,
}

#[derive(Deserialize)]
struct Network {
    #[serde(rename = "IPAddress", default)]
    v4: Option<String>,
    #[serde(rename = "GlobalIPv6Address", default)]
    v6: Option<String>,
}

/// The running containers in an answer of `engine`.
pub(super) fn running(body: &[u8], engine: Engine, whose: Whose) -> Result<Vec<Running>, serde_json::Error> {
    let listed: Vec<Listed> = serde_json::from_slice(body)?;
    Ok(listed.into_iter().map(|listed| one(listed, engine, whose)).collect())
}

fn one(listed: Listed, engine: Engine, whose: Whose) -> Running {
    let labels = listed.labels.unwrap_or_default();
    let label = |names: [&str; 2]| names.iter().find_map(|name| labels.get(*name)).cloned();
    let project = label(["com.docker.compose.project", "io.podman.compose.project"]);
    let service = label(["com.docker.compose.service", "io.podman.compose.service"]);
    let networks = listed.network_settings.and_then(|s| s.networks).unwrap_or_default();
    let mut addresses: Vec<IpAddr> = networks
        .values()
        .flat_map(|network| [&network.v4, &network.v6])
        .filter_map(|address| address.as_deref()?.parse().ok())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut running = Running {
        container: Container {
            engine: Some(engine),
            id: listed.id,
            pod: None,
            // Links give a container further names, with the other's name before: `/proxy/db`.
            name: listed
                .names
                .unwrap_or_default()
                .into_iter()
                .map(|name| name.trim_start_matches('/').to_owned())
                .find(|name| !name.is_empty() && !name.contains('/')),
            image: listed.image.filter(|image| !image.is_empty()),
            compose: project.zip(service).map(|(project, service)| Compose { project, service }),
            owner: None,
        },
        uid: whose.uid,
        first: None,
        netns: whose.netns,
        addresses,
        published: listed.ports.unwrap_or_default().iter().filter_map(published).collect(),
    };
    running.container.owner = running.owner();
    running
}

/// The first process in an answer about one container (ContainerInspect), as the engine's machine counts.
pub(super) fn first(body: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inspected {
        state: State,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct State {
        pid: u32,
    }
    serde_json::from_slice::<Inspected>(body).ok().map(|told| told.state.pid).filter(|&pid| pid != 0)
}

/// `None` for a port that is only exposed, and for protocols that are not watched (SCTP).
fn published(listed: &ListedPort) -> Option<Published> {
    let protocol = match listed.kind.as_deref() {
        Some("tcp") | None => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        Some(_) => return None,
    };
    Some(Published {
        address: listed.ip.as_deref().and_then(|ip| ip.parse().ok()),
        port: Port::new(listed.public_port?)?,
        inner: Port::new(listed.private_port)?,
        protocol,
    })
}
