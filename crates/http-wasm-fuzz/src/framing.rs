//! Framing after rewrites: any header edits, any body edits, any kind of message. The result is compared with a model
//! of the rules.

use arbitrary::{Result, Unstructured};
use http_wasm_host::ErrorKind;
use http_wasm_tck::guest::{FREE, Function};
use http_wasm_tck::script::{Arg, REQUEST, REQUEST_TRAILERS, RESPONSE, RESPONSE_TRAILERS, Script, script};

use crate::exchange::{End, Plan, play_in_both};
use crate::message::{Request, Response};

const BUFFER_REQUEST: u32 = 1;
const BUFFER_RESPONSE: u32 = 2;

/// A guest edits headers and bodies as the input says; see [`crate`].
pub fn framing(input: &[u8]) {
    let Ok((plan, edits)) = plan(&mut Unstructured::new(input)) else { return };
    let trace = play_in_both(&plan);
    if let Some(error) = &trace.error {
        let kind = error.kind();
        return assert!(
            matches!(kind, ErrorKind::Body(_) | ErrorKind::BodyTooLarge(_) | ErrorKind::Limit),
            "{error}"
        );
    }
    let mut request = Body::new(plan.request.message.body(), edits.features & BUFFER_REQUEST != 0);
    // Before the next handler responds, the body is only what the guest has written itself.
    let mut response = Body::new(Vec::new(), true);
    for edit in &edits.before {
        edit.apply(if edit.kind == REQUEST { &mut request } else { &mut response });
    }
    let early = response.outgoing();
    let seen = trace.response.expect("it was answered");
    if let Some(handed_on) = &trace.request {
        assert!(handed_on.broke || handed_on.body == request.outgoing(), "the next handler's body");
        let answered = plan.response.message.body();
        response = Body::new([early, answered].concat(), true);
        edits.after.iter().for_each(|edit| edit.apply(&mut response));
    }
    let no_body = matches!(seen.status, 101 | 204 | 304) || plan.request.method == "HEAD";
    assert!(no_body || seen.broke || seen.body == response.outgoing(), "the client's body");
}

/// The rules for outgoing messages, stated as simply as possible.
struct Body {
    original: Vec<u8>,
    /// Whether the part that was read is sent nevertheless.
    kept: bool,
    read: usize,
    written: Option<Vec<u8>>,
}

impl Body {
    fn new(original: Vec<u8>, kept: bool) -> Self {
        Self { original, kept, read: 0, written: None }
    }

    fn outgoing(&self) -> Vec<u8> {
        match &self.written {
            Some(written) => written.clone(),
            None if self.kept => self.original.clone(),
            None => self.original[self.read..].to_vec(),
        }
    }
}

#[derive(Debug)]
struct Edit {
    kind: u32,
    what: EditKind,
}

/// EditKind a guest does to a body, or to its framing.
#[derive(Debug)]
enum EditKind {
    Read(u32),
    Write(Vec<u8>),
    Set(&'static str, &'static str),
    Add(&'static str, &'static str),
    Remove(&'static str),
    SetTrailer(&'static str),
    RemoveTrailer(&'static str),
    SetStatus(u32),
}

impl Edit {
    fn apply(&self, body: &mut Body) {
        match &self.what {
            EditKind::Read(len) => body.read = body.original.len().min(body.read + *len as usize),
            EditKind::Write(data) => body.written.get_or_insert_default().extend(data),
            EditKind::Set("content-length", "0") | EditKind::Add("content-length", "0") => {
                body.written = Some(Vec::new())
            }
            _ => {}
        }
    }

    fn append(script: Script, edit: &Self) -> Script {
        let kind = edit.kind;
        let trailers = if kind == REQUEST { REQUEST_TRAILERS } else { RESPONSE_TRAILERS };
        match &edit.what {
            EditKind::Read(len) => script.call(Function::ReadBody, [kind.into(), FREE.into(), (*len).into()]),
            EditKind::Write(data) => script.write(kind, Arg::T(data.clone())),
            EditKind::Set(name, value) => script.set(kind, *name, *value),
            EditKind::Add(name, value) => script.add(kind, *name, *value),
            EditKind::Remove(name) => script.remove(kind, *name),
            EditKind::SetTrailer(name) => script.set(trailers, *name, "1"),
            EditKind::RemoveTrailer(name) => script.remove(trailers, *name),
            EditKind::SetStatus(status) => script.call(Function::SetStatusCode, [(*status).into()]),
        }
    }

    fn generate(u: &mut Unstructured<'_>, kinds: &[u32]) -> Result<Self> {
        const NAMES: [&str; 6] =
            ["content-length", "content-length", "transfer-encoding", "trailer", "connection", "x-a"];
        const VALUES: [&str; 6] = ["0", "0", "7", "00", "chunked", "x-a"];
        let what = match u.int_in_range(0..=10)? {
            0 | 1 => EditKind::Read(u.int_in_range(1..=64)?),
            2 => EditKind::Read(65_536),
            3..=5 => {
                let len = u.int_in_range(0..=8)?;
                EditKind::Write(u.bytes(len)?.to_vec())
            }
            6 => EditKind::Set(u.choose(&NAMES)?, u.choose(&VALUES)?),
            7 => EditKind::Add(u.choose(&NAMES)?, u.choose(&VALUES)?),
            8 => EditKind::Remove(u.choose(&NAMES)?),
            9 if u.arbitrary()? => EditKind::SetTrailer(u.choose(&["x-a", "x-b"])?),
            9 => EditKind::RemoveTrailer(u.choose(&["x-a", "x-b"])?),
            _ => EditKind::SetStatus(*u.choose(&[200, 204, 205, 304, 404])?),
        };
        Ok(Self { kind: *u.choose(kinds)?, what })
    }
}

struct Edits {
    features: u32,
    before: Vec<Edit>,
    after: Vec<Edit>,
}

fn plan(u: &mut Unstructured<'_>) -> Result<(Plan, Edits)> {
    let features = u.int_in_range(0..=7)?;
    let request = Request::generate(u)?;
    let response = Response::generate(u, request.version)?;
    let before = edits(u, &[REQUEST, RESPONSE])?;
    let mut after = edits(u, &[RESPONSE])?;
    // Anything else would be refused.
    if features & BUFFER_RESPONSE == 0 || response.status == 101 {
        after.clear();
    }
    let first = script().call(Function::EnableFeatures, [features.into()]);
    let mut first = before.iter().fold(first, Edit::append);
    if u.ratio(1, 8)? {
        first = first.proceed(0, 0);
    }
    let last = after.iter().fold(script(), Edit::append);
    let plan = Plan {
        request,
        before: first,
        after: last,
        response,
        end: End::Answered,
        waits: usize::MAX,
        comparable: true,
    };
    Ok((plan, Edits { features, before, after }))
}

fn edits(u: &mut Unstructured<'_>, kinds: &[u32]) -> Result<Vec<Edit>> {
    (0..u.int_in_range(0..=8)?).map(|_| Edit::generate(u, kinds)).collect()
}
