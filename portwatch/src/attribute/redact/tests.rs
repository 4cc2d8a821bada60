//! Command lines of real tools, with invented secrets.

use proptest::prelude::*;

use super::*;

fn line(args: &[&str], truncated: bool) -> CommandLine {
    CommandLine { args: args.iter().map(|&arg| arg.to_owned()).collect(), truncated }
}

fn hidden(args: &[&str]) -> String {
    Redaction::default().line(line(args, false)).args.join(" ")
}

/// Splits at `␣`, so that an argument may hold blanks.
fn shown(command: &str) -> String {
    hidden(&command.split('␣').collect::<Vec<_>>()).replace('\n', "\\n")
}

/// What goes in (arguments separated by `␣`) and what comes out (arguments separated by blanks).
const TOOLS: &[(&str, &str)] = &[
    // Long options.
    ("vault␣server␣-dev␣-dev-root-token-id=hunter2", "vault server -dev -dev-root-token-id=***"),
    ("app␣--token=hunter2", "app --token=***"),
    ("app␣--token␣hunter2␣--port␣3100", "app --token *** --port 3100"),
    ("app␣--api-key␣hunter2", "app --api-key ***"),
    ("app␣--apiKey=hunter2", "app --apiKey=***"),
    ("app␣--password␣--verbose", "app --password --verbose"),
    ("app␣--password␣-hunter2", "app --password ***"),
    ("app␣--password=", "app --password="),
    ("app␣--password=hunter2 with blanks; and=signs", "app --password=***"),
    ("app␣-token␣hunter2", "app -token ***"),
    (
        "redis-server␣*:6379␣--requirepass␣hunter2␣--masterauth␣hunter2",
        "redis-server *:6379 --requirepass *** --masterauth ***",
    ),
    ("redis-cli␣-h␣db␣-a␣hunter2", "redis-cli -h db -a ***"),
    ("cloudflared␣tunnel␣run␣--token␣hunter2", "cloudflared tunnel run --token ***"),
    ("ngrok␣config␣add-authtoken␣hunter2", "ngrok config add-authtoken ***"),
    ("tailscaled␣up␣--authkey=hunter2", "tailscaled up --authkey=***"),
    ("aria2c␣--enable-rpc␣--rpc-secret=hunter2", "aria2c --enable-rpc --rpc-secret=***"),
    ("rclone␣rcd␣--rc-user␣me␣--rc-pass␣hunter2", "rclone rcd --rc-user me --rc-pass ***"),
    (
        "jupyter-lab␣--NotebookApp.token=hunter2␣--port=8888",
        "jupyter-lab --NotebookApp.token=*** --port=8888",
    ),
    (
        "java␣-Dserver.port=80␣-Djavax.net.ssl.keyStorePassword=hunter2␣-jar␣a.jar",
        "java -Dserver.port=80 -Djavax.net.ssl.keyStorePassword=*** -jar a.jar",
    ),
    ("java␣-Dpass=hunter2", "java -Dpass=***"),
    ("minio␣server␣/data␣--secret-key␣hunter2", "minio server /data --secret-key ***"),
    ("gotty␣--credential␣me:hunter2␣bash", "gotty --credential *** bash"),
    ("chisel␣server␣--auth␣me:hunter2", "chisel server --auth me:***"),
    ("mongod␣--auth␣--port␣27017", "mongod --auth --port 27017"),
    ("helm␣install␣--set␣auth.password=hunter2,port=80␣x", "helm install --set auth.password=*** x"),
    ("helm␣install␣--set=port=80,auth.password=hunter2", "helm install --set=port=80,auth.password=***"),
    ("xfreerdp␣/u:me␣/p:hunter2␣/v:host", "xfreerdp /u:me /p:*** /v:host"),
    ("tool.exe␣/password:hunter2", "tool.exe /password:***"),
    // Short options, where the program is known for them.
    ("mysql␣-u␣root␣-phunter2␣shop", "mysql -u root -p*** shop"),
    ("/usr/bin/mysql␣-uroot␣-p␣shop", "/usr/bin/mysql -uroot -p shop"),
    ("mysqldump␣--password=hunter2␣shop", "mysqldump --password=*** shop"),
    ("docker␣exec␣-it␣db␣mysql␣-phunter2", "docker exec -it db mysql -p***"),
    ("docker␣run␣--name␣mysql␣-p3306:3306␣mysql", "docker run --name mysql -p3306:3306 mysql"),
    (
        "docker␣run␣--name␣mongo␣-p␣127.0.0.1:27017:27017␣mongo",
        "docker run --name mongo -p 127.0.0.1:27017:27017 mongo",
    ),
    ("docker␣login␣-u␣me␣-p␣hunter2␣registry", "docker login -u me -p *** registry"),
    (
        "docker␣run␣-p␣80:80␣-e␣POSTGRES_PASSWORD=hunter2␣postgres",
        "docker run -p 80:80 -e POSTGRES_PASSWORD=*** postgres",
    ),
    ("mongosh␣-u␣me␣-p␣hunter2", "mongosh -u me -p ***"),
    ("sshpass␣-p␣hunter2␣ssh␣-p␣2222␣host", "sshpass -p *** ssh -p *** host"),
    ("curl␣-u␣me:hunter2␣http://localhost:3100/", "curl -u me:*** http://localhost:3100/"),
    ("curl␣--user=me:hunter2␣x", "curl --user=me:*** x"),
    ("curl␣-ume:hunter2␣x", "curl -ume:*** x"),
    ("curl␣-u␣me␣x", "curl -u me x"),
    ("ldapsearch␣-D␣cn=me␣-w␣hunter2", "ldapsearch -D cn=me -w ***"),
    ("smbclient␣//host/share␣-U␣me%hunter2", "smbclient //host/share -U me%***"),
    ("ttyd␣-p␣7681␣-c␣me:hunter2␣bash", "ttyd -p 7681 -c me:*** bash"),
    ("ss-server␣-p␣8388␣-k␣hunter2", "ss-server -p 8388 -k ***"),
    ("ssh␣-p␣2222␣-L␣3100:db:5432␣me@host", "ssh -p 2222 -L 3100:db:5432 me@host"),
    ("node␣server.js␣-p␣3100", "node server.js -p 3100"),
    // Variables.
    ("env␣PGPASSWORD=hunter2␣psql␣-h␣db", "env PGPASSWORD=*** psql -h db"),
    (
        "env␣AWS_SECRET_ACCESS_KEY=hunter2␣AWS_REGION=eu␣node␣x.js",
        "env AWS_SECRET_ACCESS_KEY=*** AWS_REGION=eu node x.js",
    ),
    ("sh␣-c␣TOKEN=hunter2 PORT=3100 node server.js", "sh -c TOKEN=*** PORT=3100 node server.js"),
    (
        "bash␣-lc␣export API_KEY='hunter2 x'; exec mysqld_safe",
        "bash -lc export API_KEY='***'; exec mysqld_safe",
    ),
    ("sh␣-c␣mysql -phunter2 < dump.sql", "sh -c mysql -p*** < dump.sql"),
    (
        "sh␣-c␣curl -H \"Authorization: Bearer hunter2\" localhost",
        "sh -c curl -H \"Authorization: Bearer ***\" localhost",
    ),
    ("sh␣-c␣echo it's && app --token hunter2", "sh -c echo it's && app --token ***"),
    ("sh␣-c␣app --token \"hunter2 x\" --port 1", "sh -c app --token \"***\" --port 1"),
    // A title that a process gave itself.
    ("worker --token hunter2 --port 3100", "worker --token *** --port 3100"),
    // Headers.
    ("curl␣-H␣Authorization: Bearer hunter2␣x", "curl -H Authorization: Bearer *** x"),
    ("curl␣-H␣authorization: hunter2␣x", "curl -H authorization: *** x"),
    ("curl␣-HAuthorization: Basic hunter2␣x", "curl -HAuthorization: Basic *** x"),
    ("curl␣-H␣X-Api-Key: hunter2␣x", "curl -H X-Api-Key: *** x"),
    ("curl␣-H␣PRIVATE-TOKEN: hunter2␣x", "curl -H PRIVATE-TOKEN: *** x"),
    ("curl␣-H␣Cookie: session=hunter2; theme=dark␣x", "curl -H Cookie: *** x"),
    ("curl␣-H␣Authorization:␣Bearer␣hunter2␣x", "curl -H Authorization: Bearer *** x"),
    ("curl␣-H␣Accept: text/html␣x", "curl -H Accept: text/html x"),
    ("http␣:3100/x␣Authorization:hunter2", "http :3100/x Authorization:***"),
    // URLs and connection strings.
    ("pgbouncer␣postgres://me:hunter2@db:5432/shop", "pgbouncer postgres://me:***@db:5432/shop"),
    ("app␣--dsn=postgresql://me:hunt/er#2@db/shop", "app --dsn=postgresql://me:***@db/shop"),
    ("app␣redis://:hunter2@cache:6379/0", "app redis://:***@cache:6379/0"),
    ("app␣amqp://me:hunt@er2@mq", "app amqp://me:***@mq"),
    ("git␣clone␣https://0123456789abcdef0123@example.org/x", "git clone https://***@example.org/x"),
    ("git␣clone␣ssh://git@example.org/x", "git clone ssh://git@example.org/x"),
    ("app␣http://localhost:3000/@scope/package", "app http://localhost:3000/@scope/package"),
    ("app␣http://[::1]:3000/@scope", "app http://[::1]:3000/@scope"),
    (
        "app␣https://example.org/?page=2&access_token=hunter2&x=1",
        "app https://example.org/?page=2&access_token=***&x=1",
    ),
    (
        "app␣Server=db;User Id=sa;Password=hunter2;Encrypt=true",
        "app Server=db;User Id=sa;Password=***;Encrypt=true",
    ),
    (
        "app␣host=db user=me password='hunter2 x' dbname=shop",
        "app host=db user=me password='***' dbname=shop",
    ),
    (
        "app␣{\"user\": \"me\", \"password\": \"hunt\\\"er2 x\", \"port\": 1}",
        "app {\"user\": \"me\", \"password\": \"***\", \"port\": 1}",
    ),
    // Keys known by their shape, wherever they stand.
    ("app␣AKIAIOSFODNN7EXAMPLE", "app ***"),
    ("app␣--id=AKIAIOSFODNN7EXAMPLE,x", "app --id=***,x"),
    ("app␣ghp_0123456789abcdefghijABCDEFGHIJ012345", "app ***"),
    ("app␣--set␣x:sk-proj-0123456789abcdefghij", "app --set x:***"),
    ("app␣eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc-def_123", "app ***"),
    ("app␣-----BEGIN RSA PRIVATE KEY-----\nMIIE\nxyz\n", "app -----BEGIN RSA PRIVATE KEY-----***"),
    // What is no secret stays.
    (
        "vllm␣serve␣--max-tokens␣4096␣--tokenizer␣llama␣--max-token=9",
        "vllm serve --max-tokens 4096 --tokenizer llama --max-token=9",
    ),
    (
        "app␣--password-file=/run/secrets/db␣--token-ttl␣60␣--secret-name␣db",
        "app --password-file=/run/secrets/db --token-ttl 60 --secret-name db",
    ),
    ("docker␣login␣--password-stdin␣registry", "docker login --password-stdin registry"),
    (
        "ssh␣-o␣StrictHostKeyChecking=no␣-oHostKeyAlgorithms=ssh-ed25519␣-o␣NumberOfPasswordPrompts=1␣host",
        "ssh -o StrictHostKeyChecking=no -oHostKeyAlgorithms=ssh-ed25519 -o NumberOfPasswordPrompts=1 host",
    ),
    ("psql␣--no-password␣shop", "psql --no-password shop"),
    ("nginx: master process nginx -g daemon off;", "nginx: master process nginx -g daemon off;"),
    ("nginx␣-g␣proxy_pass http://127.0.0.1:3000;", "nginx -g proxy_pass http://127.0.0.1:3000;"),
    ("app␣--tls-key␣/etc/ssl/app.key␣--key=/x", "app --tls-key /etc/ssl/app.key --key=/x"),
    ("npm␣run␣dev␣--␣--host", "npm run dev -- --host"),
    ("postgres␣-D␣/var/lib/postgresql/data␣-k␣/tmp", "postgres -D /var/lib/postgresql/data -k /tmp"),
    ("python3␣-m␣http.server␣3100", "python3 -m http.server 3100"),
    ("docker␣run␣-v␣secret:/run/secret␣x", "docker run -v secret:/run/secret x"),
    ("task-runner␣ask-me-0123456789abcdefghij", "task-runner ask-me-0123456789abcdefghij"),
];

#[test]
fn secrets_of_popular_tools_are_hidden_and_the_rest_is_shown() {
    let wrong: Vec<String> = TOOLS
        .iter()
        .map(|(given, expected)| (shown(given), expected.replace('\n', "\\n")))
        .filter(|(got, expected)| got != expected)
        .map(|(got, expected)| format!("expected {expected}\n     got {got}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_line_cut_anywhere_shows_nothing_that_the_whole_hides() {
    for (given, whole) in TOOLS {
        let bytes: Vec<u8> = given.replace('␣', "\0").into_bytes();
        for end in 0..bytes.len() {
            let cut = CommandLine::from_nul_separated(&bytes[..end], true);
            let text = Redaction::default().line(cut).to_string();
            for part in ["hunte", "MIIE", "AKIAI", "ghp_0", "sk-proj-0", "eyJh", "0123456789"] {
                assert!(!text.contains(part) || whole.contains(part), "{given} cut at {end}: {text}");
            }
        }
    }
}

#[test]
fn the_cut_beginning_of_a_line_agrees_with_the_whole() {
    for (given, _) in TOOLS {
        let bytes: Vec<u8> = given.replace('␣', "\0").into_bytes();
        let whole = Redaction::default().line(CommandLine::from_nul_separated(&bytes, false));
        for end in 1..bytes.len() {
            let cut = Redaction::default().line(CommandLine::from_nul_separated(&bytes[..end], true));
            assert!(super::super::command::continues(&cut, &whole), "{cut} is no beginning of {whole}");
        }
    }
}

#[test]
fn names_of_ones_own_are_hidden_too_and_off_hides_nothing() {
    let own: Redaction = "--licence, SITE_PIN,k".parse().unwrap();
    let given = line(&["app", "--licence=a", "SITE_PIN=1", "-k", "v", "--token", "t"], false);
    assert_eq!(own.line(given.clone()).to_string(), "app --licence=*** SITE_PIN=*** -k *** --token ***");
    assert_eq!("off".parse::<Redaction>().unwrap().line(given.clone()), given);
    assert_eq!("on".parse::<Redaction>().unwrap(), Redaction::default());
    for bad in ["a b", "--", "a,,b", "x=y"] {
        assert!(bad.parse::<Redaction>().is_err(), "{bad}");
    }
}

/// Arguments made of what the rules look for, in any order.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "--token",
            "=",
            ":",
            "password",
            "'",
            "\"",
            " ",
            "mysql",
            "-p",
            "curl",
            "-u",
            "://",
            "@",
            "a",
            "http",
            "***",
            "Authorization:",
            "Bearer",
            "sh",
            "-c",
            "\u{fffd}",
            "\n",
            "é",
            "/",
            "\\",
            "{",
            ",",
            "AKIA",
            "sk-",
            "-----BEGIN",
            "PRIVATE KEY-----",
            "login",
            "docker",
            "auth",
            "-H",
            "%",
            "--",
            "0123456789abcdef",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,4}",
        "\\PC{0,2}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Places in which a secret stands in real life. The secret has no sign that would end it there.
fn around(secret: &str) -> Vec<Vec<String>> {
    let s = secret;
    [
        vec!["app".to_owned(), format!("--password={s}")],
        vec!["app".to_owned(), "--db-password".to_owned(), s.to_owned()],
        vec!["env".to_owned(), format!("PGPASSWORD={s}"), "psql".to_owned()],
        vec!["mysql".to_owned(), format!("-p{s}")],
        vec!["app".to_owned(), format!("postgres://me:{s}@db/x")],
        vec!["curl".to_owned(), "-H".to_owned(), format!("Authorization: Bearer {s}")],
        vec!["sh".to_owned(), "-c".to_owned(), format!("exec app --token {s} --port 1")],
        vec!["app".to_owned(), format!("https://h/?a=1&token={s}&b=2")],
    ]
    .into()
}

proptest! {
    #[test]
    fn any_line_is_read_and_reading_it_again_changes_nothing(
        args in prop::collection::vec(hostile(), 0..6),
        truncated in any::<bool>(),
    ) {
        let once = Redaction::default().line(CommandLine { args, truncated });
        let twice = Redaction::default().line(once.clone());
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_secret_comes_out_of_no_place_and_leaves_no_trace_of_its_length(
        secret in "[A-Za-z0-9_+~!^$][A-Za-z0-9_.+~!^$-]{7,60}",
    ) {
        for args in around(&secret) {
            let parts: Vec<&str> = args.iter().map(String::as_str).collect();
            let out = hidden(&parts);
            prop_assert!(!out.contains(&secret), "{}", out);
            let other: Vec<String> = around("another-secret").swap_remove(
                around(&secret).iter().position(|a| *a == args).unwrap_or_default(),
            );
            let other: Vec<&str> = other.iter().map(String::as_str).collect();
            prop_assert_eq!(out, hidden(&other));
        }
    }
}
