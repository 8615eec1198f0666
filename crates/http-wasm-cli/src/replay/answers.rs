//! Answers a guest's host calls from a recording.

use std::sync::Arc;

use http_wasm_gateway::recording::{CallEvent, Event, Outcome};
use http_wasm_host::{Answers, FUNCTIONS, ReplayedCall, Returned, TracedGrowth};

use super::inputs::{Inputs, changes, scatter};
use super::report::{Difference, shown, shown_call};
use super::unrecorded::{Messages, Unrecorded};

/// A position in a recording, and the differences so far.
pub(super) struct Script {
    events: Arc<[Event]>,
    /// The next event.
    at: usize,
    /// The range of the events of the current call of the guest.
    section: (usize, usize),
    /// Whether the recording ends before the end of the section.
    is_open: bool,
    /// Whether the guest is the recorded one, so that its pointers must be the same, too.
    is_same: bool,
    /// The exchange, counted from 1; 0 is the start-up.
    pub(super) exchange: usize,
    pub(super) function: String,
    /// Calls in this section so far.
    calls: usize,
    pub(super) all_calls: usize,
    pub(super) differences: Vec<Difference>,
    /// The calls of the recorded exchanges, if a trace was requested.
    pub(super) trace: Option<Vec<String>>,
    /// The number of the exchange in the recording, if it is one of these.
    recorded: Option<u32>,
    /// The position of the call whose result had no room in the guest's buffer, if that was the guest's last call.
    without_room: Option<usize>,
    /// The calls that gave the guest redacted values.
    pub(super) redacted: Vec<String>,
    unrecorded: Unrecorded,
}

/// The trap of a call that comes after the end of the recording.
pub(super) const END: &str = "the recording ends here";

impl Script {
    pub(super) fn new(events: Arc<[Event]>, is_same: bool, trace: bool, messages: Arc<Messages>) -> Self {
        let mut script = Self {
            events,
            at: 0,
            section: (0, 0),
            is_open: false,
            is_same,
            exchange: 0,
            function: "start-up".to_owned(),
            calls: 0,
            all_calls: 0,
            differences: Vec::new(),
            trace: trace.then(Vec::new),
            recorded: None,
            without_room: None,
            redacted: Vec::new(),
            unrecorded: Unrecorded::new(messages),
        };
        script.enter();
        script
    }

    /// The next event, if it is outside the current section.
    pub(super) fn next(&self) -> Option<&Event> {
        self.events.get(self.at)
    }

    /// Begins a call of the guest, whose events are the next ones.
    pub(super) fn begin(&mut self, function: &str, recorded: Option<u32>) {
        self.at += 1;
        if function == "handle_request" {
            self.exchange += 1;
        }
        function.clone_into(&mut self.function);
        self.recorded = recorded;
        self.unrecorded.begin(recorded, function);
        self.enter();
    }

    fn enter(&mut self) {
        let rest = &self.events[self.at..];
        let len = rest.iter().position(|event| !matches!(event, Event::Call(_) | Event::Growth { .. }));
        self.is_open = len.is_none();
        self.section = (self.at, self.at + len.unwrap_or(rest.len()));
        self.without_room = None;
        self.calls = 0;
    }

    /// Ends the call of the guest. Recorded calls that it hasn't made are differences, unless it was cut short. Returns
    /// the event at the end: `Started` or `Returned`, or `None` where the recording ends.
    pub(super) fn end(&mut self, was_cut: bool) -> Option<Event> {
        while self.at < self.section.1 {
            if !was_cut {
                self.misses(self.at);
            }
            self.at += 1;
        }
        let end = self.events.get(self.at).cloned();
        self.at += usize::from(end.is_some());
        end
    }

    /// Skips to the next request.
    pub(super) fn skip_response(&mut self) {
        let is_request =
            |event: &Event| matches!(event, Event::Entered { function, .. } if function == "handle_request");
        let rest = &self.events[self.at..];
        self.at += rest.iter().position(is_request).unwrap_or(rest.len());
    }

    pub(super) fn differs(&mut self, call: usize, text: String) {
        let (exchange, function) = (self.exchange, self.function.clone());
        self.differences.push(Difference { exchange, function, call, text });
    }

    /// Reports that the guest didn't repeat a recorded event.
    fn misses(&mut self, at: usize) {
        match &self.events[at] {
            Event::Call(call) => {
                let text = format!("the recorded call {} is missing", shown(call));
                self.differs(self.calls, text);
            }
            Event::Growth { table, to, .. } => {
                let (what, unit) = if *table { ("table", "elements") } else { ("memory", "bytes") };
                let text = format!("the recorded growth of a {what} to {to} {unit} is missing");
                self.differs(self.calls, text);
            }
            _ => {}
        }
    }

    /// The recorded call whose results the guest gets for one that it makes.
    fn find(&mut self, function: &str, args: &[u64], inputs: &Inputs) -> Option<CallEvent> {
        let events = self.events.clone();
        let (at, is_repeated) = self.position(&events, function, inputs)?;
        let mut recorded = call_of(&events[at])?;
        let sizes = value_len(recorded).zip(room(function, args));
        if sizes.is_some_and(|(len, room)| len > 0 && len <= room) && recorded.written.is_empty() {
            // The recorded guest had no room, but may have asked again.
            recorded = self.answer_to_retry(&events, at, inputs)?;
        }
        if is_repeated {
            self.differs(self.calls, format!("{} is called again", shown_call(function, inputs)));
        }
        let mut recorded = recorded.clone();
        if sizes.is_some_and(|(len, room)| len > room) {
            // The guest gets only the length, and may ask again with more room.
            recorded.written.clear();
            self.without_room = Some(at);
        }
        Some(recorded)
    }

    /// A recorded call with the same inputs and result as the one at this position, but with enough room for the value.
    /// Advances past it if it is the next event.
    fn answer_to_retry<'e>(
        &mut self,
        events: &'e [Event],
        at: usize,
        inputs: &Inputs,
    ) -> Option<&'e CallEvent> {
        let first = call_of(&events[at])?;
        let is_answer = |call: &CallEvent| {
            is_call(call, &first.function, inputs)
                && call.outcome == first.outcome
                && !call.written.is_empty()
        };
        let (start, end) = self.section;
        let mut others = (at + 1..end).chain((start..at).rev());
        let again = others.find(|at| call_of(&events[*at]).is_some_and(is_answer))?;
        if again == self.at {
            self.at += 1;
        }
        call_of(&events[again])
    }

    /// The position of the recorded call that matches one that the guest makes, and whether the guest repeats an
    /// earlier call that the recorded guest didn't repeat. Advances past it.
    fn position(&mut self, events: &[Event], function: &str, inputs: &Inputs) -> Option<(usize, bool)> {
        let is_same = |event: &Event| call_of(event).is_some_and(|call| is_call(call, function, inputs));
        let without_room = self.without_room.take();
        let rest = &events[self.at..self.section.1];
        if let Some(Event::Call(call)) = rest.first()
            && call.function == function
            && (changes(function) || is_same(&rest[0]))
        {
            self.at += 1;
            return Some((self.at - 1, false));
        }
        // It asks again, while the recorded guest had enough room at once.
        if let Some(at) = without_room.filter(|at| is_same(&events[*at])) {
            return Some((at, false));
        }
        // The recorded calls in between are missing.
        if let Some(ahead) = rest.iter().position(is_same) {
            for missed in self.at..self.at + ahead {
                self.misses(missed);
            }
            self.at += ahead + 1;
            return Some((self.at - 1, false));
        }
        // It is an additional call, perhaps one that repeats an earlier question.
        if changes(function) {
            return None;
        }
        let mut before = self.section.0..self.at;
        before.rfind(|at| is_same(&events[*at])).map(|at| (at, true))
    }
}

fn call_of(event: &Event) -> Option<&CallEvent> {
    match event {
        Event::Call(call) => Some(call),
        _ => None,
    }
}

/// Whether a guest that calls this function with these inputs repeats the recorded call.
fn is_call(recorded: &CallEvent, function: &str, inputs: &Inputs) -> bool {
    recorded.function == function && inputs.are_of(recorded)
}

impl Answers for Script {
    fn call(&mut self, call: ReplayedCall<'_>) -> Returned {
        let ReplayedCall { function, args, memory, .. } = call;
        self.calls += 1;
        self.all_calls += 1;
        let inputs = Inputs::read(function, args, memory);
        if self.recorded.is_some()
            && let Some(trace) = &mut self.trace
        {
            trace.push(format!("{} {}", self.function, shown_call(function, &inputs)));
        }
        if self.is_open && self.at >= self.section.1 {
            return Returned::Trap(END.to_owned());
        }
        let Some(recorded) = self.find(function, args, &inputs) else {
            let known = self.unrecorded.answer(function, args, memory);
            let note = if known.is_known { "" } else { "; the recording doesn't have its result" };
            self.differs(self.calls, format!("{} was not recorded{note}", shown_call(function, &inputs)));
            return Returned::Value(known.value);
        };
        if recorded.redacted {
            let place = format!("exchange {}, {}: {function}", self.exchange, self.function);
            self.redacted.push(place);
        }
        if !inputs.are_of(&recorded) {
            let text = format!("recorded {}, but called {}", shown(&recorded), shown_call(function, &inputs));
            self.differs(self.calls, text);
        } else if self.is_same && *recorded.args != *args {
            let text = format!(
                "{function} is called with the arguments {args:?}, but was recorded with {:?}",
                recorded.args
            );
            self.differs(self.calls, text);
        }
        self.unrecorded.note(&recorded);
        let mut written = &*recorded.written;
        if let ("fd_read" | "fd_pread", &[_, iovs, count, ..], [parts @ .., _]) = (function, args, written) {
            let read: Vec<u8> = parts.iter().flat_map(|(_, data)| data.0.iter().copied()).collect();
            if !scatter(memory, iovs as u32, count as u32, &read) {
                let text = format!("{function} has no room for the {} bytes that were recorded", read.len());
                self.differs(self.calls, text);
            }
            written = &written[parts.len()..];
        }
        for (offset, data) in written {
            let mut data = data.0.clone();
            // A function of the ABI writes only to its buffer.
            let buffer = param(function, "buf");
            let place = buffer.or_else(|| recorded.args.iter().position(|arg| *arg == u64::from(*offset)));
            let offset =
                place.and_then(|place| args.get(place).copied()).unwrap_or((*offset).into()) as usize;
            if matches!(function, "args_get" | "environ_get") && place == Some(0) {
                rebase(&mut data, &recorded.args, args);
            }
            let fits = room(function, args).is_none_or(|room| data.len() <= room);
            match memory.get_mut(offset..offset.saturating_add(data.len())) {
                Some(target) if fits => target.copy_from_slice(&data),
                _ => {
                    let text = format!(
                        "the buffer for {function} has no room for the {} recorded bytes",
                        data.len()
                    );
                    self.differs(self.calls, text);
                }
            }
        }
        match recorded.outcome {
            Outcome::Returned(value) => Returned::Value(value),
            Outcome::Trapped(reason) => Returned::Trap(reason),
        }
    }

    fn growth(&mut self, growth: TracedGrowth) -> bool {
        let events = self.events.clone();
        let rest = &events[self.at..self.section.1];
        if let Some(Event::Growth { table, from, to, granted }) = rest.first()
            && *table == growth.is_table
        {
            self.at += 1;
            if (*from, *to) != (growth.from, growth.to) {
                let unit = if *table { "elements" } else { "bytes" };
                let text = format!("requests {} {unit}, but {to} were recorded", growth.to);
                self.differs(self.calls, text);
                // A guest with a larger initial memory is allowed to have it.
                return *granted || growth.from == 0;
            }
            return *granted;
        }
        let unit = if growth.is_table { "elements of a table" } else { "bytes of memory" };
        self.differs(self.calls, format!("requests {} {unit}, which was not recorded", growth.to));
        true
    }
}

/// The size of the buffer that a function of the ABI writes to.
fn room(function: &str, args: &[u64]) -> Option<usize> {
    args.get(param(function, "buf_limit")?).map(|limit| *limit as usize)
}

/// The length of the value that a function of the ABI returned. `read_body` returns a part of a body instead.
fn value_len(call: &CallEvent) -> Option<usize> {
    match call.outcome {
        // Packed results have the length in the lower half.
        Outcome::Returned(result) if call.function != "read_body" => Some(result as u32 as usize),
        _ => None,
    }
}

/// The index of a parameter of a function of the ABI.
fn param(function: &str, name: &str) -> Option<usize> {
    let function = FUNCTIONS.iter().find(|its| its.name == function)?;
    function.param_names.iter().position(|its| *its == name)
}

/// Adjusts the pointers of a list of strings to its new address.
fn rebase(pointers: &mut [u8], recorded: &[u64], args: &[u64]) {
    let (Some(from), Some(to)) = (recorded.get(1), args.get(1)) else { return };
    let moved = (*to as u32).wrapping_sub(*from as u32);
    for pointer in pointers.chunks_exact_mut(4) {
        if let Ok(bytes) = <[u8; 4]>::try_from(&*pointer) {
            pointer.copy_from_slice(&u32::from_le_bytes(bytes).wrapping_add(moved).to_le_bytes());
        }
    }
}
