//! Configurations that are wrong: each message says where, what was expected, and what to do.

use crate::files::Files;

/// What every configuration needs.
const BASE: &str = "listen = ['127.0.0.1:0']\n";
const ROUTE: &str = "[[routes]]\nbackend = 'echo'\n";

/// What follows [`BASE`] or stands alone, and parts of the message about it.
const FAULTS: &[(&str, &[&str])] = &[
    ("listen = ['127.0.0.1:0'\n", &["invalid TOML", "gateway.toml:1:"]),
    ("listen = ['127.0.0.1:0\nroutes = []\n", &["invalid TOML", "gateway.toml:1:", "more syntax errors"]),
    (
        "listen = '127.0.0.1:0'\nroutes = []\n",
        &["expected a list", "write a list with one element: [\"127.0.0.1:0\"]"],
    ),
    (
        "listen = ['127.0.0.1:0']\n[routes]\nbackend = 'echo'\n",
        &["expected a list, found a table", "double brackets"],
    ),
    ("listen = ['http://127.0.0.1:80']\nroutes = []\n", &["expected HOST:PORT", "without a URL scheme"]),
    (
        "listen = [{ address = '127.0.0.1:0', tls = true }]\nroutes = []\n",
        &["expected a table", "its settings: certificates"],
    ),
    ("listen = 5\nroutes = []\n", &["expected a list, found the number 5", "gateway.toml:1:10"]),
    ("[[routes]]\nbackend = 'echo'\n", &["missing setting `listen`", "as in listen = [\"127.0.0.1:8080\"]"]),
    ("listen = ['127.0.0.1:0']\n", &["missing setting `routes`"]),
    ("listen = []\nroutes = []\n", &["at least one element"]),
    ("listen = ['8080']\nroutes = []\n", &["is not an address: expected HOST:PORT"]),
    ("listen = [{}]\nroutes = []\n", &["missing setting `address`"]),
    ("listen = ['a:1', 'a:1']\nroutes = []\n", &["cannot listen on both", "the other one"]),
    ("listen = ['0.0.0.0:1', '127.0.0.1:1']\nroutes = []\n", &["cannot listen on both"]),
    ("listen = ['127.0.0.1:9901']\nroutes = []\n[admin]\n", &["cannot listen on both", "of [admin]"]),
    ("+listn = 1\n", &["unknown setting `listn`", "did you mean `listen`?"]),
    (
        "+[server]\nmax_requests = 0\n",
        &["a whole number from 1 to", "found the number 0", "gateway.toml:3:16"],
    ),
    ("+[server]\ndrain_timeout = 30\n", &["a duration with its unit", "found the number 30"]),
    ("+[server]\ndrain_timeout = '30'\n", &["a duration with its unit", "\"30\""]),
    ("+[server]\ndrain_timeout = '366days'\n", &["exceeds the maximum of 365 days", "gateway.toml:3:17"]),
    (
        "listen = [{ address = 'a:1', limits = { idle_timeout = '9999y' } }]\nroutes = []\n",
        &["exceeds the maximum of 365 days"],
    ),
    ("+[server]\nguest_memory_budget = 'lots'\n", &["a size, as in", "\"lots\""]),
    ("+[log]\nformat = 'xml'\n", &["unknown value \"xml\"; expected \"pretty\" or \"json\""]),
    ("+[telemetry]\notlp_endpoint = 'collector'\n", &["not an http or https URL", "http://127.0.0.1:4318"]),
    ("+[telemetry]\notlp_endpoint = 'http://h'\nsample_ratio = 2\n", &["a number from 0 to 1"]),
    ("+[access_log]\nfile = 'no/such/log'\n", &["doesn't exist"]),
    ("+[access_log]\nfile = '.'\n", &["is a directory; expected a file"]),
    ("+[server]\ncode_cache = 'guest.wat'\n", &["guest.wat is not a directory"]),
    (
        "+[upstreams.a]\naddresses = ['http://h']\nhttp = '2'\nhost = 'client'\n",
        &["can't be forwarded over HTTP/2", "remove `host`", "gateway.toml:5:8"],
    ),
    ("+[guests.a]\n", &["missing setting `path`"]),
    ("+[guests.a]\npath = 'none.wasm'\n", &["cannot read the guest none.wasm: no such file"]),
    ("+[guests.'a b']\npath = 'guest.wat'\n", &["invalid name", "letters, digits"]),
    ("+[guests.a]\npath = 'guest.wat'\nsha256 = '12'\n", &["64 hexadecimal digits", "sha256sum"]),
    (
        "+[guests.a]\npath = 'guest.wat'\n\
         sha256 = '0000000000000000000000000000000000000000000000000000000000000000'\n",
        &["has a different SHA-256: ", "use this value"],
    ),
    ("+[guests.a]\npath = 'guest.wat'\nlimits = { deadline = '0s' }\n", &["must be longer than 0"]),
    ("+[guests.a]\npath = 'guest.wat'\nlimits = { memory_bytes = 0 }\n", &["must be more than 0"]),
    ("+[guests.a]\npath = 'guest.wat'\nlimits = { memory = 1 }\n", &["did you mean `memory_bytes`?"]),
    ("+[guests.a]\npath = 'guest.wat'\npool = { min_warm = 2, max_idle = 1 }\n", &["exceeds `max_idle`"]),
    (
        "+[guests.a]\npath = 'guest.wat'\non_failure = 'opne'\n",
        &["unknown value \"opne\"; expected \"closed\" or \"open\"", "did you mean \"open\"?"],
    ),
    ("+[guests.a]\npath = 'guest.wat'\nsnapshot = 'yes'\n", &["expected false, true or \"shared-seed\""]),
    ("+[guests.a]\npath = 'guest.wat'\nconfig = 1\n", &["expected a string or a table"]),
    (
        "+[guests.a]\npath = 'guest.wat'\nconfig = ''\nconfig_file = 'guest.wat'\n",
        &["only one of `config`, `config_file`"],
    ),
    ("+[guests.a]\npath = 'guest.wat'\nmounts = ['none:/x']\n", &[": no such file"]),
    ("+[guests.a]\npath = 'guest.wat'\nmounts = ['a:b:c']\n", &["HOST:GUEST:ro"]),
    ("+[guests.a]\npath = 'guest.wat'\nenv = { '' = 'x' }\n", &["invalid name of an environment variable"]),
    ("+[upstreams.a]\naddresses = []\n", &["at least one element"]),
    ("+[upstreams.a]\naddresses = ['localhost:80']\n", &["starts with http:// or https://"]),
    ("+[upstreams.a]\naddresses = ['http://h:99999']\n", &["port must be a number from 1 to 65535"]),
    ("+[upstreams.a]\naddresses = ['http://h', 'https://h']\n", &["can't mix http and https addresses"]),
    ("+[upstreams.a]\naddresses = ['http://h', 'http://h']\n", &["listed twice"]),
    (
        "+[upstreams.a]\naddresses = ['http://h']\ntls = {}\n",
        &["`tls` has no effect without an https address"],
    ),
    ("+[upstreams.a]\naddresses = ['https://h']\ntls = { ca = 'guest.wat' }\n", &["no certificate in PEM"]),
    ("+[upstreams.a]\naddresses = ['http://h']\nhealth.active.path = 'x'\n", &["invalid path \"x\""]),
    ("+[[routes]]\n", &["one of `upstream`, `redirect`, `respond`, `backend`, `ext_proc` is required"]),
    ("+[[routes]]\nbackend = 'echo'\nrespond = {}\n", &["only one of `upstream`"]),
    ("+[[routes]]\npath = '/a'\npath_prefix = '/a'\nbackend = 'echo'\n", &["only one of `path`"]),
    ("+[[routes]]\npath = '/a/../b'\nbackend = 'echo'\n", &["in which this is \"/b\""]),
    ("+[[routes]]\npath_pattern = '/{*a}/b'\nbackend = 'echo'\n", &["is not a path pattern"]),
    ("+[[routes]]\npath = '/a/*'\nbackend = 'echo'\n", &["`*` belong in a `path_pattern`"]),
    ("+[[routes]]\npath_prefix = '/{a}'\nbackend = 'echo'\n", &["belong in a `path_pattern`"]),
    ("+[[routes]]\npath_pattern = '/a//{b}'\nbackend = 'echo'\n", &["in which this is \"/a/x\""]),
    (
        "+[[routes]]\npath_prefix = '/a%2Fb'\nbackend = 'echo'\n",
        &["no request can reach this route", "has an escaped slash", "escaped_slashes = \"keep\""],
    ),
    (
        "listen = [{ address = '127.0.0.1:0', trusted_fields = ['x-user'] }]\n[[routes]]\nbackend = 'echo'\n",
        &["\"x-user\" isn't a known field about the client", "client_fields = [\"x-user\"]"],
    ),
    (
        "listen = [{ address = '127.0.0.1:0', client_fields = ['x_user'] }]\n[[routes]]\nbackend = 'echo'\n",
        &["use `-` instead of `_`"],
    ),
    (
        "+[[routes]]\nescaped_slashes = 'drop'\nbackend = 'echo'\n",
        &["unknown value \"drop\"", "\"keep\" or \"decode\""],
    ),
    ("+[[routes]]\nhost = 'h:80'\nbackend = 'echo'\n", &["a host can't have a port here"]),
    ("+[[routes]]\nmethod = 'get'\nbackend = 'echo'\n", &["written in capitals: \"GET\""]),
    ("+[[routes]]\nguests = ['a']\nbackend = 'echo'\n", &["unknown guest \"a\"", "add a section [guests.a]"]),
    (
        "+[guests.auth]\npath = 'guest.wat'\n[[routes]]\nguests = ['auht']\nbackend = 'echo'\n",
        &["unknown guest \"auht\"", "did you mean `auth`?", "gateway.toml:5:11"],
    ),
    ("+[[routes]]\nupstream = 'x'\n", &["unknown upstream \"x\""]),
    ("+[[routes]]\nredirect = { to = '/x', status = 200 }\n", &["invalid redirect status", "301, 302"]),
    ("+[[routes]]\nredirect = { to = '/', keep_path = true }\n", &["redirects to itself"]),
    ("+[[routes]]\nredirect = { to = '{scheme}://{host}{path}' }\n", &["redirects to itself"]),
    (
        "+[[routes]]\nredirect = { to = '/a{path}', keep_path = true }\n",
        &["`keep_path` appends", "remove `keep_path`"],
    ),
    ("+[[routes]]\nredirect = { to = 'new.example' }\n", &["expected a URL or a path", "gateway.toml:3:19"]),
    (
        "+[[routes]]\nredirect = { to = 'https://{hots}/' }\n",
        &["unknown part `{hots}`", "did you mean `host`?"],
    ),
    (
        "+[[routes]]\nlisten = '127.0.0.1:80'\nbackend = 'echo'\n",
        &["no listener has the address", "did you mean"],
    ),
    (
        "+[[routes]]\nscheme = 'htps'\nbackend = 'echo'\n",
        &["unknown value \"htps\"", "did you mean \"https\"?"],
    ),
    (
        "+[[routes]]\nscheme = 'http'\nbackend = 'echo'\n[[routes]]\nscheme = 'http'\npath = '/a'\nbackend = 'echo'\n",
        &["no request can reach"],
    ),
    ("+[[routes]]\nredirect = {}\n", &["missing setting `to`"]),
    ("+[[routes]]\nrespond = { status = 99 }\n", &["a status from 200 to 599"]),
    ("+[[routes]]\nrespond = { headers = { 'a b' = 'x' } }\n", &["invalid header name"]),
    (
        "+[[routes]]\nbackend = 'echo'\n[[routes]]\npath = '/a'\nbackend = 'echo'\n",
        &["no request can reach", "takes all of its requests"],
    ),
    (
        "+[[routes]]\npath_prefix = '/a'\nbackend = 'echo'\n[[routes]]\npath_pattern = '/a/{x}'\nbackend = 'echo'\n",
        &["no request can reach"],
    ),
    (
        "+[[routes]]\nname = 'a'\npath = '/a'\nbackend = 'echo'\n[[routes]]\nname = 'a'\nbackend = 'echo'\n",
        &["two routes are named \"a\""],
    ),
    (
        "+[[routes]]\npath = '/a'\nbackend = 'echo'\n[[routes]]\nname = 'route-1'\nbackend = 'echo'\n",
        &["two routes are named \"route-1\"", "has no name and is numbered"],
    ),
    ("+[[routes]]\nname = 'none'\nbackend = 'echo'\n", &["can't be named \"none\"", "match no route"]),
];

#[test]
fn each_fault_is_told_once_with_its_place_and_what_to_do() {
    let files = Files::new();
    let mut wrong = Vec::new();
    for (text, parts) in FAULTS {
        let text = match text.strip_prefix('+') {
            Some(rest) if rest.contains("[[routes]]") => format!("{BASE}{rest}"),
            Some(rest) => format!("{BASE}{rest}{ROUTE}"),
            None => (*text).to_owned(),
        };
        let message = files.fault(&text);
        // Guests that no route uses are warned of besides.
        let message = message.replacen(": 1 error, ", ": 1 error\n", 1);
        let whole = [": 1 error\n", "--> gateway.toml:"];
        if let Some(part) = parts.iter().chain(&whole).find(|part| !message.contains(**part)) {
            wrong.push(format!("{part:?} is not in:\n{message}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_faults_of_a_file_are_told_at_once_in_its_order() {
    let message = Files::new().fault(
        "listen = ['nope', 'a:1', 'a:1']\n[server]\nmax_requests = 0\n[guests.a]\npath = 'none'\ntypo = 1\n\
         [[routes]]\nguests = ['b']\nupstream = 'u'\n",
    );
    assert!(message.contains(": 7 errors\n"), "{message}");
    let order = [
        "\"nope\" is not an address",
        "cannot listen on both",
        "found the number 0",
        "`typo`",
        "unknown guest \"b\"",
        "unknown upstream",
    ];
    let places: Vec<_> = order.iter().map(|part| message.find(part)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}\n{message}");
}

#[test]
fn a_listener_that_lets_nobody_in_is_told_of_beside_other_faults_but_not_for_a_network_that_cannot_be_read() {
    let inline =
        |trusted| format!("listen = [{{ address = '127.0.0.1:0', proxy_protocol = 'v2', {trusted} }}]\n");
    let table = |trusted| format!("[[listen]]\naddress = '127.0.0.1:0'\nproxy_protocol = 'v2'\n{trusted}\n");
    for trusted in ["", "trusted_proxies = []", "trusted_proxies = ['ten']", "trusted_proxies = 'ten'"] {
        for listen in [inline(trusted), table(trusted)] {
            let message = Files::new().fault(&format!("{listen}{ROUTE}[server]\nmax_requests = 0\n"));
            assert!(message.contains(": 2 errors\n"), "{message}");
            assert_eq!(message.contains("rejects every connection"), !trusted.contains("ten"), "{message}");
        }
    }
}

#[test]
fn a_route_that_no_request_reaches_is_told_of_beside_other_faults_but_not_for_a_condition_that_cannot_be_read()
 {
    for (all, last, unreachable) in [
        ("", "path = '/a'", true),
        ("", "path = 5", false),
        ("path_prefix = '/'", "host = 'a'", true),
        ("path_prefix = 5", "host = 'a'", false),
        ("metod = 'GET'", "host = 'a'", false),
    ] {
        let routes = format!("[[routes]]\n{all}\nbackend = 'echo'\n[[routes]]\n{last}\nupstream = 'u'\n");
        let message = Files::new().fault(&format!("{BASE}{routes}"));
        assert!(message.contains("unknown upstream"), "{message}");
        assert!(message.contains(": 2 errors\n"), "{message}");
        assert_eq!(message.contains("no request can reach"), unreachable, "{message}");
    }
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let files = Files::new();
    files.write("other.pem", include_str!("../fixtures/other.key.pem"));
    files.write(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    for (key, expected) in [
        ("other.pem", "doesn't match the certificate"),
        ("cert.pem", "no private key"),
        ("locked.pem", "has a password"),
    ] {
        let message = files.fault(&format!(
            "[[listen]]\naddress = '127.0.0.1:0'\ntls.certificates = [{{ certificate = 'cert.pem', key = '{key}' }}]\n\
             {ROUTE}"
        ));
        assert!(message.contains(expected) && message.contains(": 1 error\n"), "{message}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error =
        http_wasm_gateway::config::Config::load("/no/such.toml".as_ref()).expect_err("there is no such file");
    assert_eq!(error.to_string(), "configuration /no/such.toml: no such file or directory");
}
