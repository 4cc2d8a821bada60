//! For the shells of Unix.

pub(in super::super) const TOP: &str = "\
Examples:
  portwatch who 3100                who has it, and would a bind succeed
  portwatch 3100                    the same
  portwatch ls                      what is open
  portwatch log --since 10m         what happened lately
  portwatch log --type refused      who was refused a port, and who held it
  portwatch watch                   live
  PORT=$(portwatch claim myapp:api -q)   a port that will work, the same every time
  portwatch find 'myapp:*'          what is claimed, and what runs there

'portwatch COMMAND --help' says more of each.
Exit codes: 0 yes or done, 1 no (free, nothing found), 2 usage, 3 not permitted
or unknown, 4 ambiguous, 5 no daemon where one is required, 70 internal.";

pub(in super::super) const WHO: &str = "\
Examples:
  portwatch who 3100                  any address, TCP and UDP
  portwatch who 127.0.0.1:3100        as seen by a bind of this address
  portwatch who http://localhost:3100/  the place of a URL: http, https, ws,
                                      wss, tcp, udp
  portwatch who 53/udp                UDP only
  portwatch who 3000 3001 5432        several at once
  portwatch who pid:4711              every socket of a process
  portwatch who 3100 --json | jq '.targets[0].sockets[].holders[].process.pid'

Exit codes: 0 held, 1 free, 3 could not be seen, 4 ambiguous;
of several targets the worst.";

pub(in super::super) const PROBE: &str = "\
Examples:
  portwatch probe 3100                every address, IPv4 and IPv6
  portwatch probe 127.0.0.1:3100
  portwatch probe '[::1]:3100'
  portwatch probe 53/udp
  portwatch probe 3100 --reuse-addr && ./server

The port is bound for some microseconds and given back; who says the same
without touching it.
Exit codes: 0 it could be bound, on every address, without any option (with
--reuse-addr: with SO_REUSEADDR), 1 it could not, 3 nothing could be tried.";

pub(in super::super) const LOG: &str = "\
Examples:
  portwatch log --since 1h --port 3100
  portwatch log --type refused,exit --since yesterday
  portwatch log --filter '*seed.py*'
  portwatch log --follow --port 3100  the last ten events, then live
  portwatch log --summary --since 7d
  portwatch log --since 14:00 --until 15:00 --json

Types: bind refused listen unlisten close exit noise timewait claim release
auto ghost conflict rogue health lock unlock extend session note heartbeat gap start
stop error. A gap says how many records may be missing.

A time of day is its latest occurrence; times without a zone are local.
Exit codes: 0 something found, 1 nothing found, 3 could not be seen,
5 no journal.";

pub(in super::super) const FREE: &str = "\
Examples:
  portwatch free 3100 --dry-run       who would be ended, and who is connected
  portwatch free 3100                 the same, and asks
  portwatch free 3000 3001 --yes      for scripts
  portwatch free 3100 --signal INT --grace 30s
  portwatch free 3100 --time-wait --yes

Only processes that listen on the port or are bound to it are ended, never
clients: SIGTERM, then SIGKILL when the grace is over. Several are ended as a
group, the master first. Right before each signal it is checked that the
process is still the one that was shown and still holds the port. Units are
stopped by systemctl. What a supervisor or a container engine would start
again, another user's processes, forwarders and the ancestors of this command
are left alone, with the command that would work.
Exit codes: 0 free, 1 not free or you said no, 2 nobody to ask and no --yes,
3 refused or could not be seen.";

pub(in super::super) const RUN: &str = "\
Examples:
  portwatch run 3100 -- npm run dev
  portwatch run myapp:api -- npm run dev       on the port of a claim
  portwatch run 3100 --take -- node server.js  end my own leftover first
  portwatch run 127.0.0.1:3100 -- ./server --listen {host}:{port}
  portwatch run 3100 --restart 5 -- ./server

PORT is set, and HOST where an address is given. Where the kernel refused the
port to the program (EADDRINUSE) and it failed, it is started again: as often as
--retries says, each time when the port is free or --delay has passed. --take
ends who holds the port if it is a leftover of the same project, and then tries
once more. Signals are passed on, and Ctrl-C and Ctrl-Z go to the program.
Exit codes: the program's own; 128 and the number of the signal that ended it;
127 when it is not found, 126 when it cannot be run.";

pub(in super::super) const WAIT: &str = "\
Examples:
  portwatch wait 3100 --free --timeout 30s && npm run dev
  portwatch wait 3000 5432 6379 --listening
  portwatch wait 8080 --healthy --path /health --timeout 2m
  portwatch wait 127.0.0.1:3100 --free --strict

Free means bindable on that host: without a host, on every address. A
connection that waits for its end (TIME_WAIT) is only in the way of servers
that do not set SO_REUSEADDR; --strict waits for those too.
On a terminal it shows what it waits for; in a pipe it is silent.
Exit codes: 0 as wanted, 1 the time was up, 2 not an address of this machine,
3 not permitted or could not be seen.";

pub(in super::super) const CLAIM: &str = "\
Examples:
  portwatch claim myapp:api
  PORT=$(portwatch claim myapp:api -q) npm run dev
  eval \"$(portwatch claim web --export)\"   a stack of the project here
  portwatch claim                         everything .portwatch.toml names
  portwatch claim myapp:api --port 3100 --ttl 8h
  portwatch claim myapp:dns --range 5300-5399 --pair udp
  portwatch claim myapp:cluster --ports 3 -q

The port was bindable when the claim was made; it is not held until your
program binds it. Who may release it: you, and root.
Exit codes: 0 claimed, 1 refused (taken, none free), 2 usage, 3 not permitted.";

pub(in super::super) const FIND: &str = "\
Examples:
  portwatch find                      every claim
  portwatch find 'myapp:*'            a project
  portwatch find '*:api'              a stack in every project
  portwatch find :3100                whoever has the port, claimed or not
  portwatch find 'myapp:*' --json | jq '.claims[] | {name, port, state}'

States: live (its program listens), ghost (it is gone), squatted (somebody else
has the port), idle (never used yet), unknown (could not be seen).
Exit codes: 0 something found, 1 nothing found, 3 could not be seen.";

pub(in super::super) const RELEASE: &str = "\
Examples:
  portwatch release myapp:api
  portwatch release 'myapp:*'
  portwatch release :3100
  portwatch release '*' --yes

Ends the name, not the program. Only the owner and root can.
Exit codes: 0 released, 1 nothing is claimed so, 3 belongs to another user.";

pub(in super::super) const HEALTH: &str = "\
Examples:
  portwatch health                    every claim
  portwatch health myapp:api          one, with the answer's body
  portwatch health myapp:api --path '/health?deep=true' --timeout 2s
  portwatch health 'myapp:*' --header 'Authorization: Bearer x' --status 200,204

Paths, headers and statuses of a project go into its .portwatch.toml.
Exit codes: 0 all well, 1 one is not (or none is claimed), 3 could not be seen.";

pub(in super::super) const ROGUE: &str = "\
Examples:
  portwatch rogue
  portwatch rogue --since 1h          those too that are gone
  portwatch rogue --watch             as they appear (with a daemon)
  portwatch rogue allow comm:code-server 'port:9000-9099'
  portwatch rogue allowed

A rule of root's is for everybody, another's for that user's own programs.
Exit codes: 0 something rogue, 1 nothing rogue, 3 could not be seen.";

pub(in super::super) const ENV: &str = "\
Examples:
  portwatch env > .env                PORT_WEB=8081
  eval \"$(portwatch env --format shell)\"
  portwatch env 'myapp:*' --format json
  portwatch env --format compose > compose.override.yaml

Exit codes: 0 something claimed, 1 nothing claimed.";

pub(in super::super) const IMPORT: &str = "\
Examples:
  portwatch import --dry-run          what is found here, and what would be claimed
  portwatch import
  portwatch import ../shop/.portdaddyrc --project shop
  portwatch import design/worktrees/ports.json --reassign
  portwatch import --toml > .portwatch.toml

May be done again: what is claimed already stays as it is. The claims are yours.
A .portdaddyrc is also read where it lies: its ports and health paths hold for
claim, health and automatic claims where there is no .portwatch.toml.
Exit codes: 0 all is claimed, 1 something cannot be (or nothing was found),
2 a file is wrong.";

pub(in super::super) const LOCKS: &str = "\
Examples:
  portwatch locks
  portwatch locks --json | jq '.locks[] | {name, owner, heldSince, ttl}'
  portwatch log --type lock,unlock,extend --filter db-migrations

An EXPIRED lock is shown until somebody takes it or gives it back; it keeps
nobody out.
Exit codes: 0 some are held, 1 none is.";

pub(in super::super) const WITH_LOCK: &str = "\
Examples:
  portwatch with-lock db-migrations -- npm run migrate
  portwatch with-lock deploy --wait 5m -- ./deploy.sh
  portwatch with-lock nightly --wait 0s -- ./backup.sh   or not at all

The lock is the program's: it is free when the program ends, however it ends,
and when this command is killed it stays with the program. Signals are passed
on, and Ctrl-C and Ctrl-Z go to the program.
Exit codes: the program's own; 128 and the number of the signal that ended it;
127 when it is not found, 126 when it cannot be run; 1 when the lock could not
be had.";

pub(in super::super) const AGENT: &str = "\
Examples:
  portwatch agent register agent-db --purpose 'Database migrations' --pid $$
  export PORTWATCH_AGENT=agent-db      from here on every command speaks for it
  portwatch agent heartbeat
  portwatch agent unregister agent-db

Every command in the name of an agent is a sign of life, and makes it known. Silent
for 10 minutes it is stale, for 20 dead; with --pid also when that process ends.
Names are each user's own.
Exit codes: 0 done, 1 no such agent, 2 usage, 3 another user's.";

pub(in super::super) const SESSION: &str = "\
Examples:
  portwatch session start 'Building checkout UI' --files src/checkout src/hooks/usePayment.ts
  portwatch session claim src/api/payments
  portwatch session release src/api/payments
  portwatch session end 'merged as #41'
  portwatch session abandon --session session-a1b2 'the idea was wrong'

A session is its agent's (--agent, PORTWATCH_AGENT), else this terminal's, and is found
again by that; --session and PORTWATCH_SESSION name one. A terminal's ends with it.
Claims are advice: they keep nobody from writing.
Exit codes: 0 done, 1 a file is claimed by another session (nothing was changed) or there
is no such session, 2 usage, 3 another user's, 4 several sessions may be meant.";

pub(in super::super) const NOTE: &str = "\
Examples:
  portwatch note 'CheckoutForm component complete'
  portwatch note --type blocked 'need payment API types from session-c3d4'

It goes into the session of this agent or terminal, or the one that --session names, and
is on disk when the command ends. Do not write secrets into it.
Exit codes: 0 written, 1 there is no such session, 2 usage, 3 another user's, 4 several
sessions may be meant.";

pub(in super::super) const PUB: &str = "\
Examples:
  portwatch pub builds 'api: tests are green'
  portwatch pub builds --shared done          from here on every user may read and write it
  git log -1 | portwatch pub commits

The message is on disk when the command ends, and its number says where it stands among
all. The sender is the user, and the agent (--agent, PORTWATCH_AGENT), the session, or the
process that ran this command. A new channel is yours alone unless it is --shared.
Exit codes: 0 published, 1 no more channels may be made, 2 usage, 3 the channel is private
to another user.";

pub(in super::super) const SUB: &str = "\
Examples:
  portwatch sub builds
  portwatch sub 'build*' --since 1h
  portwatch sub builds --follow --history 5
  portwatch sub builds --follow --after 41    misses nothing that came after message 41
  portwatch sub builds --follow --limit 1     waits for one message

Following goes on when the daemon is started again. Where messages are not kept any
more that were not read yet, a line beginning with GAP says so.
Exit codes: 0 there were some, 1 there was none, 2 usage, 3 the channel is private to
another user, 5 the daemon ended and did not come back.";

pub(in super::super) const WEBHOOK: &str = "\
Examples:
  portwatch webhook add http://127.0.0.1:9000/hook --on refused,rogue
  portwatch webhook add http://127.0.0.1:9000/ --on all --filter 'myapp' --secret-file key
  portwatch webhook list
  portwatch webhook test 1
  portwatch webhook log 1
  portwatch webhook remove 1

Where webhooks may lead is the daemon's configuration: [webhooks] allow, this
machine unless it says otherwise. Only http:// is supported, signed with
HMAC-SHA256; docs/webhooks.md says how to verify it and how to reach https.
Exit codes: 0 done, 1 no webhook, nothing sent, or the test failed, 3 not
permitted or still unknown, 5 no daemon to send a test.";

pub(in super::super) const METRICS: &str = "\
Examples:
  portwatch metrics
  portwatch metrics --json | jq .peakResponseMs
  portwatch metrics > /var/lib/node_exporter/portwatch.$$ &&
    mv /var/lib/node_exporter/portwatch.$$ /var/lib/node_exporter/portwatch.prom

The daemon serves the same at /v1/metrics on its socket. Without a daemon
portwatch_up is 0, and what can be counted by a look is there.
Exit codes: 0 here they are, 3 could not be seen.";

pub(in super::super) const DOCTOR: &str = "\
Examples:
  portwatch doctor
  sudo portwatch doctor               what root would get

Exit codes: 0 nothing failed, 1 a check failed.";

pub(in super::super) const DAEMON: &str = "\
Examples:
  sudo portwatch daemon               the whole machine, from the kernel
  portwatch daemon                    without privileges, by scanning
  sudo portwatch daemon --record bug.rec
  portwatch daemon --source replay:bug.rec

Stops in order on SIGINT and SIGTERM.";

pub(in super::super) const START: &str = "\
Examples:
  sudo portwatch start
  portwatch start --retention-days 7

Exit codes: 0 started, 1 one runs already, 3 not permitted, 5 it did not start.";

pub(in super::super) const STOP: &str = "\
Examples:
  sudo portwatch stop

Exit codes: 0 stopped, 1 none was running, 3 not permitted.";

pub(in super::super) const RESTART: &str = "\
Examples:
  sudo portwatch restart

Exit codes: as those of stop and start.";

pub(in super::super) const CONFIG: &str = "\
Examples:
  portwatch config
  PORTWATCH_SOURCE=scan portwatch config
  portwatch config --json | jq '.settings[] | select(.origin != \"default\")'

A flag beats a variable, a variable beats the file, the file beats the default.
The file is $XDG_CONFIG_HOME/portwatch/config.toml (root's is
/etc/portwatch/config.toml), and may say:
  source = \"scan\"
  color = \"never\"
  exclude = [8081]
  [daemon]
  retention_days = 7
  [auto]
  enabled = false
  [ranges]
  web = \"8080-8099\"
  [rogue]
  allow = [\"comm:code-server\"]
Of automatic claims, ranges and excluded ports the project's .portwatch.toml has
the first word, then the file of the user whose program it is, then that of the
daemon's user.";

pub(in super::super) const COMPLETIONS: &str = "\
Examples:
  portwatch completions bash > /etc/bash_completion.d/portwatch
  portwatch completions zsh > ~/.zfunc/_portwatch
  portwatch completions fish > ~/.config/fish/completions/portwatch.fish";

pub(in super::super) const MAN: &str = "\
Examples:
  portwatch man | man -l -
  portwatch man /usr/local/share/man/man1";

pub(in super::super) const WATCH: &str = "\
Examples:
  portwatch watch
  portwatch watch --type refused      tell me when a bind is refused
  portwatch watch --port 3100 --limit 1   wait for the next event on a port
  portwatch watch --json              one JSON object a line

Without a daemon it polls, or reads the kernel itself when run as root.";

pub(in super::super) const LS: &str = "\
Examples:
  portwatch ls
  portwatch ls --port 3000-3999       a range of ports
  portwatch ls --udp --all            UDP, with resolvers' short-lived ports
  portwatch ls --user www-data --sort since
  portwatch ls --time-wait            who left connections in TIME_WAIT

In SINCE, 6h+ means at least six hours: the socket is older than the observer;
-- means not known. A port in TIME_WAIT is reusable by a bind with SO_REUSEADDR
if the socket that left it had that option too.
Exit codes: 0 something found, 1 nothing found, 3 could not be seen.";

pub(in super::super) const UNLOCK: &str = "\
Examples:
  portwatch unlock db-migrations --owner agent-db
  portwatch unlock db-migrations --force

Only the owner gives a lock back. --force takes it away from another agent,
session or process of the same user (root: of anybody); the log says who did.
Exit codes: 0 free, 1 not held, or by somebody else, 3 another user's.";

pub(in super::super) const NOTES: &str = "\
Examples:
  portwatch notes
  portwatch notes --session session-a1b2
  portwatch notes --session session-a1b2 --type error --json

Notes are for the session's user and root.
Exit codes: 0 there are some, 1 there is none or no such session, 3 another user's.";

pub(in super::super) const CHANNELS: &str = "\
Examples:
  portwatch channels
  portwatch channels --share builds
  portwatch channels --remove builds

A channel is used by the user who made it, and root; a shared one by all.
Exit codes: 0 there are some, done, 1 there is none, 3 another user's.";
