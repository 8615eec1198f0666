//! An Envoy process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::guest::Wat;

/// The programs that `HTTP_WASM_ENVOY` names, separated by colons.
pub(crate) fn programs() -> Vec<PathBuf> {
    let named = std::env::var_os("HTTP_WASM_ENVOY").unwrap_or_default();
    std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// The first of them. Without one, prints that the test is skipped.
pub(crate) fn program() -> Option<PathBuf> {
    let program = programs().into_iter().next();
    if program.is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: HTTP_WASM_ENVOY names no Envoy to test with");
    }
    program
}

/// Whether guests can write requests while this Envoy sends them.
pub(crate) fn can_stream_requests(program: &Path) -> bool {
    let program = program.to_string_lossy();
    !["1.37", "1.38"].iter().any(|version| program.contains(version))
}

/// The module that was built with this test.
pub(crate) fn module() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    let name = "libhttp_wasm_envoy.so";
    let found = [deps.join(name), deps.parent().unwrap().join(name)];
    let newest = found
        .iter()
        .filter(|path| path.exists())
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    newest.expect("cargo builds the module with its tests").clone()
}

/// Creates a subdirectory in which Envoy finds the module.
pub(crate) fn search_path(files: &Path) -> PathBuf {
    let modules = files.join("modules");
    std::fs::create_dir_all(&modules).unwrap();
    let link = modules.join("libhttp_wasm_envoy.so");
    if !link.exists() {
        std::os::unix::fs::symlink(module(), link).unwrap();
    }
    modules
}

/// The filter in front of Envoy's router.
enum Filter {
    /// The module, with this configuration.
    Module(String),
    /// The external processors at these addresses, and the first fields of the filter's configuration.
    ExtProc(Vec<SocketAddr>, String),
}

/// The setup of an Envoy.
pub(crate) struct Settings {
    upstream: SocketAddr,
    files: TempDir,
    routes: String,
    /// Filters in front of it.
    before: &'static str,
    filter: Filter,
    pub(crate) http: &'static str,
    pub(crate) env: Vec<(&'static str, String)>,
    pub(crate) extra: Vec<&'static str>,
    /// Whether the listener comes from a file that [`Envoy::update`] replaces.
    pub(crate) is_dynamic: bool,
    /// Whether Envoy speaks HTTP/2 to the upstream.
    pub(crate) http2_upstream: bool,
    /// Further fields of the action of each route that is added after this is set.
    pub(crate) policy: &'static str,
}

impl Settings {
    pub(crate) fn new(upstream: SocketAddr) -> Self {
        Self {
            upstream,
            files: tempfile::tempdir().unwrap(),
            routes: String::new(),
            before: "",
            filter: Filter::Module("{}".into()),
            http: "",
            env: Vec::new(),
            extra: Vec::new(),
            is_dynamic: false,
            http2_upstream: false,
            policy: "",
        }
    }

    /// Writes a guest's file, and returns its settings as JSON. `more` are further settings, as `"a": 1`.
    pub(crate) fn guest(&self, name: &str, wat: &Wat, more: &str) -> String {
        let path = self.files.path().join(format!("{name}.wat"));
        std::fs::write(&path, wat.module()).unwrap();
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        format!(r#"{{"path": "{}"{more}}}"#, path.display())
    }

    /// Sends requests for paths that begin with `prefix` through this guest.
    pub(crate) fn route(mut self, prefix: &str, wat: &Wat, more: &str) -> Self {
        let guest = self.guest(&prefix.replace('/', ""), wat, more);
        self = self.route_config(prefix, &format!(r#"{{"guests": {{"guest": {guest}}}}}"#));
        self
    }

    /// Uses this configuration for requests for paths that begin with `prefix`.
    pub(crate) fn route_config(mut self, prefix: &str, config: &str) -> Self {
        self.add_route(prefix, config);
        self
    }

    fn add_route(&mut self, prefix: &str, config: &str) {
        let policy = self.policy;
        self.routes.push_str(&format!(
            r#"{{"match": {{"prefix": "{prefix}"}}, "route": {{"cluster": "up", "timeout": "0s"{policy}}},
               "typed_per_filter_config": {{"http-wasm": {{
                 "@type":
                   "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute",
                 "dynamic_module_config": {{"name": "http_wasm_envoy", "do_not_close": true}},
                 "per_route_config_name": "http-wasm",
                 "filter_config": {{"@type": "type.googleapis.com/google.protobuf.Struct", "value": {config}}}}}}}}},"#
        ));
    }

    /// Uses this configuration for all other requests.
    pub(crate) fn filter(mut self, config: &str) -> Self {
        self.filter = Filter::Module(config.to_owned());
        self
    }

    /// Sends each request through one of these external processors. `more` are further settings of the filter, as `"a":
    /// 1,`.
    pub(crate) fn ext_proc(mut self, processors: &[SocketAddr], more: &str) -> Self {
        self.filter = Filter::ExtProc(processors.to_vec(), more.to_owned());
        self
    }

    /// Puts these filters in front of ours: `{...},` for each.
    pub(crate) fn before(mut self, filters: &'static str) -> Self {
        self.before = filters;
        self
    }

    /// The listener's configuration without its opening brace.
    fn listener(&self) -> String {
        let Self { routes, before, filter, http, .. } = self;
        let filter = filter.entry();
        format!(
            r#""name": "l", "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": 0}}}},
      "filter_chains": [{{"filters": [{{"name": "envoy.filters.network.http_connection_manager", "typed_config": {{
        "@type":
          "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "t", "http_protocol_options": {{"enable_trailers": true}}, {http}
        "route_config": {{"virtual_hosts": [{{"name": "v", "domains": ["*"], "routes": [{routes}
          {{"match": {{"prefix": "/"}}, "route": {{"cluster": "up"}}}}]}}]}},
        "http_filters": [{before}
          {filter},
          {{"name": "envoy.filters.http.router", "typed_config": {{
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}}]}}}}]}}]}}"#
        )
    }

    /// Writes the listener's file, and moves it into place so that Envoy notices.
    fn write_listener(&self) -> PathBuf {
        let path = self.files.path().join("listener.json");
        let new = path.with_extension("new");
        let text = format!(
            r#"{{"resources": [{{"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", {}]}}"#,
            self.listener()
        );
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }

    /// The bootstrap file.
    fn write(&self) -> PathBuf {
        let Self { upstream, filter, http2_upstream, .. } = self;
        let (port, cluster) = (upstream.port(), filter.cluster());
        let (listeners, dynamic) = if self.is_dynamic {
            let path = self.write_listener();
            let path = path.display();
            let source = format!(r#"{{"lds_config": {{"path_config_source": {{"path": "{path}"}}}}}}"#);
            (
                String::new(),
                format!(r#""node": {{"id": "n", "cluster": "c"}}, "dynamic_resources": {source},"#),
            )
        } else {
            (format!("{{{}", self.listener()), String::new())
        };
        let protocol = match http2_upstream {
            true => r#""http2_protocol_options": {}"#,
            false => r#""http_protocol_options": {"enable_trailers": true}"#,
        };
        let text = format!(
            r#"{{
  "admin": {{"address": {{"socket_address": {{"address": "127.0.0.1", "port_value": 0}}}}}}, {dynamic}
  "static_resources": {{
    "listeners": [{listeners}],
    "clusters": [{cluster} {{"name": "up", "type": "STATIC", "connect_timeout": "5s",
      "typed_extension_protocol_options": {{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {{
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {{{protocol}}}}}}},
      "load_assignment": {{"cluster_name": "up", "endpoints": [{{"lb_endpoints": [{{"endpoint": {{
        "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": {port}}}}}}}}}]}}]}}}}]
  }}}}"#
        );
        let path = self.files.path().join("envoy.json");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", search_path(self.files.path()))
            .env("HTTP_WASM_ALLOWED_PATHS", self.files.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .arg("-c")
            .arg(self.write())
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"])
            .args(&self.extra);
        command
    }

    /// Whether Envoy accepts this configuration, and its output.
    pub(crate) fn validate(&self, program: &Path) -> (bool, String) {
        let output = self.command(program).args(["--mode", "validate"]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts an Envoy.
    pub(crate) fn start(self, program: &Path) -> Envoy {
        let admin = self.files.path().join("admin");
        let log = self.files.path().join("log");
        let mut command = self.command(program);
        command.arg("--admin-address-path").arg(&admin).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).unwrap());
        let mut envoy = Envoy {
            child: command.spawn().unwrap(),
            log,
            admin: unknown(),
            addr: unknown(),
            updates: 1,
            settings: self,
        };
        // This is slow under Valgrind.
        let deadline = Instant::now() + Duration::from_secs(300);
        while envoy.addr.port() == 0 {
            assert!(Instant::now() < deadline, "Envoy doesn't start: {}", envoy.log());
            if let Some(status) = envoy.child.try_wait().unwrap() {
                panic!("Envoy has ended with {status}: {}", envoy.log());
            }
            std::thread::sleep(Duration::from_millis(50));
            let Ok(text) = std::fs::read_to_string(&admin) else { continue };
            let Ok(addr) = text.trim().parse() else { continue };
            envoy.admin = addr;
            if envoy.ask("/ready").contains("LIVE")
                && let Some(addr) = envoy.ask("/listeners").lines().find_map(|line| line.strip_prefix("l::"))
            {
                envoy.addr = addr.trim().parse().unwrap();
            }
        }
        envoy
    }
}

impl Filter {
    fn entry(&self) -> String {
        match self {
            Self::Module(config) => format!(
                r#"{{"name": "http-wasm", "typed_config": {{
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {{"name": "http_wasm_envoy", "do_not_close": true}},
            "filter_name": "http-wasm",
            "filter_config": {{"@type": "type.googleapis.com/google.protobuf.Struct", "value": {config}}}}}}}"#
            ),
            Self::ExtProc(_, more) => format!(
                r#"{{"name": "envoy.filters.http.ext_proc", "typed_config": {{
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", {more}
            "grpc_service": {{"envoy_grpc": {{"cluster_name": "processor"}}}},
            "message_timeout": "10s",
            "mutation_rules": {{"allow_all_routing": true}},
            "request_attributes": ["source.address", "request.protocol"]}}}}"#
            ),
        }
    }

    fn cluster(&self) -> String {
        let Self::ExtProc(addrs, _) = self else { return String::new() };
        let endpoints = addrs.iter().map(|addr| {
            let port = addr.port();
            format!(
                r#"{{"endpoint": {{"address": {{"socket_address": {{
                  "address": "127.0.0.1", "port_value": {port}}}}}}}}}"#
            )
        });
        let endpoints = endpoints.collect::<Vec<_>>().join(", ");
        format!(
            r#"{{"name": "processor", "type": "STATIC", "connect_timeout": "5s",
      "typed_extension_protocol_options": {{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {{
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {{"http2_protocol_options": {{
          "max_outbound_frames": 100000, "max_outbound_control_frames": 100000}}}}}}}},
      "health_checks": [{{"timeout": "5s", "interval": "0.2s", "no_traffic_interval": "0.2s",
        "unhealthy_threshold": 1, "healthy_threshold": 1, "grpc_health_check": {{}}}}],
      "load_assignment": {{"cluster_name": "processor", "endpoints": [{{"lb_endpoints": [{endpoints}]}}]}}}},"#
        )
    }
}

fn unknown() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A running Envoy, which is stopped on drop.
pub(crate) struct Envoy {
    child: Child,
    log: PathBuf,
    admin: SocketAddr,
    /// The address that it listens on.
    pub(crate) addr: SocketAddr,
    settings: Settings,
    /// How many listeners it has been given.
    updates: usize,
}

impl Envoy {
    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The response of its admin interface.
    pub(crate) fn ask(&self, path: &str) -> String {
        let Ok(mut socket) = TcpStream::connect(self.admin) else { return String::new() };
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let _ = socket.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Updates the configuration of the filter and of the routes with these prefixes, and waits until it is in use. The
    /// listener must be [dynamic](Settings::is_dynamic).
    pub(crate) fn update(&mut self, filter: &str, routes: &[(&str, String)]) {
        self.settings.filter = Filter::Module(filter.to_owned());
        self.settings.routes.clear();
        for (prefix, config) in routes {
            self.settings.add_route(prefix, config);
        }
        self.settings.write_listener();
        self.updates += 1;
        let wanted = format!("update_success: {}\n", self.updates);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.ask("/stats?filter=listener_manager.lds.update_success").contains(&wanted) {
            assert!(Instant::now() < deadline, "Envoy has not taken the update: {}", self.log());
            self.assert_alive();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The settings, for writing guests.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Stops it as an operator would. Returns whether it exited successfully, and its log.
    pub(crate) fn stop(mut self) -> (bool, String) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        let status = self.child.wait().unwrap();
        (status.success(), self.log())
    }

    /// Fails the test if Envoy has crashed.
    pub(crate) fn assert_alive(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "Envoy has ended: {}", self.log());
    }

    /// Sends a request without a body.
    pub(crate) fn get(&self, path: &str) -> super::Message {
        super::exchange(
            self.addr,
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes(),
        )
    }

    /// Sends a request with this body.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> super::Message {
        let length = body.len();
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(body);
        super::exchange(self.addr, &request)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
