//! Accepts requests with the right bearer token, passes the user's name to the next handler, and redacts a field in
//! JSON responses. The configuration is one line: the token, the user, and the name of the field.

use http_wasm_guest::host::{Request, Response, admin, feature, log};
use http_wasm_guest::{Guest, register};

const MAX_BODY: usize = 1024 * 1024;
const WARN: i32 = 1;

struct AuthRedact {
    token: String,
    user: String,
    field: String,
}

/// Runs once per instance, before its first request: a library has no `main`.
#[unsafe(export_name = "_initialize")]
extern "C" fn initialize() {
    let config = admin::config();
    let config = std::str::from_utf8(&config).unwrap_or_default();
    // Fail rather than let everything pass.
    let [token, user, field] = config.split_whitespace().collect::<Vec<_>>()[..] else {
        log::write(WARN, b"the configuration must be: TOKEN USER FIELD");
        std::process::abort();
    };
    register(AuthRedact { token: token.into(), user: user.into(), field: format!("\"{field}\"") });
    // Required for changing the response.
    admin::enable(feature::BufferResponse);
}

impl Guest for AuthRedact {
    fn handle_request(&self, request: &Request, response: &Response) -> (bool, i32) {
        if !self.authorizes(request) {
            log::write(WARN, b"denied");
            response.set_status(401);
            response.header.set(b"www-authenticate", b"Bearer");
            response.body.write(b"unauthorized\n");
            return (false, 0);
        }
        request.header.remove(b"authorization");
        request.header.set(b"x-user", self.user.as_bytes());
        (true, 0)
    }

    fn handle_response(&self, _: i32, _: &Request, response: &Response, is_error: bool) {
        let content_type = response.header.get(b"content-type").unwrap_or_default();
        if is_error || !content_type.starts_with(b"application/json") {
            return;
        }
        let mut body = Vec::new();
        for part in response.body.read_iter() {
            body.extend_from_slice(&part);
            // Too long to be redacted: fail rather than leak the secret.
            assert!(body.len() <= MAX_BODY);
        }
        if let Some(redacted) = redacted(&body, self.field.as_bytes()) {
            response.body.write(&redacted);
        }
    }
}

impl AuthRedact {
    fn authorizes(&self, request: &Request) -> bool {
        let values = request.header.values(b"authorization");
        let [value] = &values[..] else { return false };
        let Some(token) = value.strip_prefix(b"Bearer ") else { return false };
        // Compares in constant time, so that timing doesn't reveal how much of a token is right.
        let differs = token.iter().zip(self.token.as_bytes()).fold(0, |differs, (a, b)| differs | a ^ b);
        token.len() == self.token.len() && differs == 0
    }
}

/// The JSON with the value of each such field replaced. `field` includes its quotes. `None` if there is no such field.
fn redacted(json: &[u8], field: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut written, mut at) = (Vec::new(), 0, 0);
    while let Some(quote) = json[at..].iter().position(|byte| *byte == b'"') {
        let name = at + quote;
        at = string_end(json, name);
        let colon = skip_space(json, at);
        let start = skip_space(json, colon + 1);
        if &json[name..at] == field && json.get(colon) == Some(&b':') && json.get(start) == Some(&b'"') {
            out.extend_from_slice(&json[written..=start]);
            out.extend_from_slice(b"***");
            at = string_end(json, start);
            written = at - 1;
        }
    }
    out.extend_from_slice(&json[written..]);
    (written > 0).then_some(out)
}

fn skip_space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The end of the string that begins with its quote at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}
