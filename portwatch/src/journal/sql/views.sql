DROP VIEW IF EXISTS events;
DROP VIEW IF EXISTS processes;
DROP VIEW IF EXISTS claims;
DROP VIEW IF EXISTS locks;
DROP VIEW IF EXISTS agents;
DROP VIEW IF EXISTS sessions;
DROP VIEW IF EXISTS webhooks;
DROP VIEW IF EXISTS deliveries;
DROP VIEW IF EXISTS channels;
DROP VIEW IF EXISTS messages;

CREATE VIEW processes AS
SELECT
    p.id,
    p.pid,
    strftime('%Y-%m-%dT%H:%M:%S', p.started / 1000000000, 'unixepoch')
        || printf('.%06dZ', p.started % 1000000000 / 1000) AS started,
    strftime('%Y-%m-%dT%H:%M:%S', p.ended / 1000000000, 'unixepoch')
        || printf('.%06dZ', p.ended % 1000000000 / 1000) AS ended,
    p.comm,
    (SELECT group_concat(value, ' ') FROM json_each(p.command)) AS command,
    p.exe,
    p.cwd,
    p.uid,
    p.user,
    c.path AS cgroup,
    p.unit,
    ifnull(k.name, k.container_id) AS container,
    k.container_id,
    k.engine,
    k.image,
    k.compose_project,
    k.compose_service,
    k.pod,
    k.owner AS container_owner,
    (SELECT group_concat(json_extract(value, '$.comm') || ' ' || json_extract(value, '$.pid'), ' < ')
     FROM json_each(p.lineage)) AS parents,
    p.project,
    p.project_root,
    p.project_kind,
    p.worktree,
    p.branch,
    (SELECT word FROM word WHERE topic = 'evidence' AND code = p.evidence) AS evidence,
    p.start_ticks,
    b.uuid AS boot
FROM process p
JOIN boot b ON b.id = p.boot
LEFT JOIN cgroup c ON c.id = p.cgroup
LEFT JOIN container k ON k.id = p.container;

CREATE VIEW events AS
SELECT
    e.id,
    strftime('%Y-%m-%dT%H:%M:%S', e.at / 1000000000, 'unixepoch')
        || printf('.%06dZ', e.at % 1000000000 / 1000) AS time,
    (SELECT word FROM word WHERE topic = 'type' AND code = e.type) AS type,
    (SELECT word FROM word WHERE topic = 'evidence' AND code = e.evidence) AS evidence,
    CASE e.protocol WHEN 6 THEN 'tcp' WHEN 17 THEN 'udp' END AS protocol,
    e.address,
    e.port,
    e.netns,
    (SELECT word FROM word WHERE topic = 'state' AND code = e.state) AS state,
    e.asked_port,
    e.asked_port = 0 AS random,
    p.pid,
    p.comm,
    (SELECT group_concat(value, ' ') FROM json_each(p.command)) AS command,
    p.user,
    p.cwd,
    p.project,
    p.unit,
    (SELECT ifnull(k.name, k.container_id) FROM container k WHERE k.id = p.container) AS container,
    o.pid AS other_pid,
    o.comm AS other_comm,
    (SELECT group_concat(value, ' ') FROM json_each(o.command)) AS other_command,
    (SELECT word FROM word WHERE topic = 'evidence' AND code = e.other_evidence) AS other_evidence,
    e.errno,
    e.exit_code,
    e.exit_signal,
    e.sent_signal,
    (SELECT word FROM word WHERE topic = 'sent_by' AND code = e.sent_by) AS sent_by,
    e.sent_again,
    (SELECT word FROM word WHERE topic = 'gap' AND code = e.gap) AS gap,
    e.lost,
    strftime('%Y-%m-%dT%H:%M:%S', e.since / 1000000000, 'unixepoch')
        || printf('.%06dZ', e.since % 1000000000 / 1000) AS since,
    e.count,
    e.claim,
    e.subject,
    e.message,
    e.cookie,
    e.inode,
    e.at,
    e.process,
    e.other
FROM event e
LEFT JOIN process p ON p.id = e.process
LEFT JOIN process o ON o.id = e.other;

CREATE VIEW claims AS
SELECT
    c.id,
    c.name,
    (SELECT group_concat(port || '/' || protocol, ' ')
     FROM (SELECT port, protocol FROM claim_port WHERE claim = c.id ORDER BY slot, protocol)) AS ports,
    (SELECT port FROM claim_port WHERE claim = c.id ORDER BY slot, protocol LIMIT 1) AS port,
    c.kind,
    ifnull(c.owner_name, c.owner) AS owner,
    c.agent,
    c.session,
    c.root,
    c.worktree,
    c.created,
    c.renewed,
    c.expires,
    c.seen,
    h.result AS health,
    h.healthy AS last_healthy
FROM claim c
LEFT JOIN health h ON h.claim = c.id;

CREATE VIEW locks AS
SELECT
    name,
    owner,
    kind,
    ifnull(user, uid) AS user,
    pid,
    since AS held_since,
    ttl_ms / 1000 AS ttl,
    expires,
    ifnull(expires <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), 0) AS expired,
    (SELECT count(*) FROM lock_waiter w WHERE w.lock = lock.name) AS waiting
FROM lock;

CREATE VIEW agents AS
SELECT
    name,
    CASE
        WHEN ended IS NOT NULL THEN 'ended'
        WHEN died IS NOT NULL OR seen < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-20 minutes') THEN 'dead'
        WHEN seen < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-10 minutes') THEN 'stale'
        ELSE 'active'
    END AS state,
    purpose,
    identity,
    ifnull(user, uid) AS user,
    pid,
    registered,
    seen AS last_heartbeat,
    died,
    cause,
    salvaged_by
FROM agent;

CREATE VIEW sessions AS
SELECT
    id,
    purpose,
    state,
    agent,
    ifnull(user, uid) AS user,
    created,
    ended,
    outcome,
    (SELECT count(*) FROM note WHERE note.session = session.id) AS notes,
    (SELECT count(*) FROM file_claim f WHERE f.session = session.id AND f.released IS NULL) AS files
FROM session;

CREATE VIEW webhooks AS
SELECT
    id,
    url,
    CASE types WHEN '' THEN 'all' ELSE types END AS types,
    ports,
    filter,
    ifnull(user, uid) AS user,
    created,
    (SELECT count(*) FROM webhook_delivery d WHERE d.webhook = webhook.id AND d.state = 'waiting') AS waiting,
    delivered,
    given_up,
    dropped,
    failures,
    paused AS rests_until
FROM webhook;

CREATE VIEW deliveries AS
SELECT id, webhook, event, type, state, queued, tried, tries, status, latency_ms, problem FROM webhook_delivery;

CREATE VIEW channels AS
SELECT
    name,
    CASE shared WHEN 1 THEN 'shared' ELSE 'private' END AS access,
    ifnull(user, uid) AS user,
    created,
    last AS last_message,
    (SELECT ifnull(sum(messages), 0) FROM publisher p WHERE p.channel = channel.name) AS messages
FROM channel
WHERE removed IS NULL;

CREATE VIEW messages AS
SELECT id, at AS time, channel, sender, kind AS sender_kind, ifnull(user, uid) AS user, pid, text FROM message;
