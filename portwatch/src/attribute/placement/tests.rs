use crate::model::{Maker, Placement};

/// Where everything is root's.
fn of(path: &str) -> Placement {
    super::of(path, &|_| Maker::System)
}

/// A row as the table writes it.
fn row(path: &str) -> String {
    let placement = of(path);
    let word = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let (unit, container) = (placement.unit.as_ref(), placement.container.as_ref());
    let engine = container.map(|c| c.engine.map_or("?", crate::model::Engine::as_str));
    [
        path.to_owned(),
        word(unit.map(|u| u.name.as_str())),
        word(unit.and_then(|u| u.slice.as_deref())),
        unit.and_then(|u| u.manager).map_or_else(|| "-".to_owned(), |uid| uid.to_string()),
        word(engine),
        word(container.map(|c| c.id.as_str())),
        word(container.and_then(|c| c.pod.as_deref())),
    ]
    .join("\t")
}

#[test]
fn every_documented_and_captured_path_says_what_it_should() {
    let rows: Vec<&str> =
        include_str!("paths.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(rows.len() > 50, "{}", rows.len());
    let found: Vec<String> =
        rows.iter().map(|line| row(line.split('\t').next().unwrap_or_default())).collect();
    assert_eq!(found.join("\n"), rows.join("\n"));
}

#[test]
fn names_of_containers_that_have_no_other_are_their_ids() {
    let container = of("/lxc.payload.web").container.unwrap();
    assert_eq!((container.name.as_deref(), container.image), (Some("web"), None));
    assert_eq!(of(&format!("/docker/{}", "a".repeat(64))).container.unwrap().name, None);
}

#[test]
fn no_path_is_too_strange() {
    for path in [
        "\\x",
        "/\\xZZ.service",
        "/machine-\\xc3\\xa4.scope/payload",
        "/é.service/ü",
        "//a//b",
        ":",
        "/:",
        "/a:é",
    ] {
        let _ = of(path);
    }
    assert_eq!(of("/machine-\\xc3a.scope/payload").container.unwrap().id, "\\xc3a");
}

#[test]
fn a_name_below_a_users_group_proves_no_container_and_no_unit_inside() {
    let id = "a".repeat(64);
    let users = |above: &[&str]| {
        if above.contains(&"user@1000.service") { Maker::User(1000) } else { Maker::System }
    };
    let forged = super::of(
        &format!("/user.slice/user-1000.slice/user@1000.service/docker-{id}.scope/nginx.service"),
        &users,
    );
    assert_eq!(forged.container, None);
    assert_eq!(forged.unit.map(|unit| (unit.name, unit.manager)), {
        Some((format!("docker-{id}.scope"), Some(1000)))
    });
    let unproven = forged.unproven.unwrap();
    assert_eq!((unproven.container.id, unproven.maker), (id.clone(), Maker::User(1000)));
    assert_eq!(unproven.unit.unwrap().name, "nginx.service", "if it is that container");
    // The manager's own group was made above.
    assert!(super::of(&format!("/user.slice/docker-{id}.scope"), &users).container.is_some());
    // A container in a container: whoever is root in the outer one could have made it.
    let other = "b".repeat(64);
    let inner = super::of(&format!("/docker/{id}/docker/{other}"), &users);
    assert_eq!(inner.container.unwrap().id, other);
    assert_eq!(inner.unproven.unwrap().maker, Maker::Container);
    // The outer one stays known where the inner is a user's.
    let owned = |above: &[&str]| if above.len() > 1 { Maker::User(7) } else { Maker::System };
    let outer = super::of(&format!("/docker/{id}/mine/docker-{other}.scope"), &owned);
    assert_eq!(outer.container.unwrap().id, id);
    assert_eq!(outer.unproven.unwrap().container.id, other);
}
