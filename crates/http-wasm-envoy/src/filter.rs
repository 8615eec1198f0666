//! A safe wrapper of Envoy's interface for one stream.
#![expect(unsafe_code, reason = "each method is one call of Envoy's interface")]

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

use bytes::{Bytes, BytesMut};
use http_wasm_host::{BodyKind, Fields};

use crate::ffi::{Attribute, BodyPart, Buf, Callbacks, FilterPtr, Header, Map, NotSend, callbacks};
use crate::snapshot::{self, FIELDS, Found, MapInHook};
use crate::stream_memory::StreamMemory;
use crate::wake::Scheduler;
use crate::watermarks::{Pace, Watermarks};

/// Methods that are recognised without being copied.
pub(crate) const METHODS: [&[u8]; 8] =
    [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT"];

/// Envoy's name for the method.
const METHOD: &[u8] = b":method";

/// Envoy's filter object for a stream. It is valid from `http_filter_new` to `http_filter_destroy`, and only on the
/// worker's thread.
///
/// After the end of the stream, all methods do nothing.
pub(crate) struct Filter {
    ptr: Cell<FilterPtr>,
    /// The number of the current hook.
    hook: Cell<u32>,
    /// The request's method, if it is one of [`METHODS`] and known.
    pub(crate) method: Cell<Option<&'static [u8]>>,
    pub(crate) watermarks: Watermarks,
    pub(crate) memory: StreamMemory,
    _bound: NotSend,
}

/// Envoy's functions and the pointer to pass to them.
type Live = (&'static Callbacks, FilterPtr);

impl Filter {
    /// # Safety
    /// `ptr` must be the one passed to `http_filter_new`, and [`end`](Self::end) must be called when the filter is
    /// destroyed.
    pub(crate) unsafe fn new(ptr: FilterPtr) -> Self {
        Self {
            ptr: Cell::new(ptr),
            hook: Cell::default(),
            method: Cell::default(),
            watermarks: Watermarks::default(),
            memory: StreamMemory::default(),
            _bound: NotSend::MARK,
        }
    }

    /// Marks the stream as destroyed.
    pub(crate) fn end(&self) {
        self.ptr.set(null_mut());
        snapshot::forget();
    }

    /// Maps may have changed before each hook, and while Envoy has continued a message.
    pub(crate) fn begin_hook(&self) {
        self.hook.set(self.hook.get().wrapping_add(1));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ptr.get().is_null()
    }

    /// Envoy's functions and the pointer to pass to them, until the stream ends.
    #[inline]
    fn live(&self) -> Option<Live> {
        let ptr = self.ptr.get();
        if ptr.is_null() { None } else { callbacks().map(|callbacks| (callbacks, ptr)) }
    }

    /// The first value under `name`.
    ///
    /// It points into Envoy's map: it must not be used after the map has changed, or outside the current hook. Hosts
    /// return it with a borrow of themselves, during which nothing changes the map.
    #[inline]
    pub(crate) fn header(&self, map: Map, name: &[u8]) -> Option<&[u8]> {
        let live @ (envoy, ptr) = self.live()?;
        let value = match self.find(live, map, name, 0) {
            Found::Value(value, _) => value,
            Found::Nothing => return None,
            Found::Unknown => {
                let mut value = Buf::EMPTY;
                // SAFETY: the stream is alive, and both pointers are valid for the call.
                let found =
                    unsafe { (envoy.http_get_header)(ptr, map, Buf::of(name), &mut value, 0, null_mut()) };
                found.then_some(value)?
            }
        };
        // SAFETY: the value lives until the map changes; see above.
        Some(unsafe { value.bytes() })
    }

    /// Looks for a field in what is known of a map.
    fn find(&self, live: Live, map: Map, name: &[u8], from: usize) -> Found {
        snapshot::find(self.in_hook(live, map), name, from, |fields| self.read(live, map, fields))
    }

    fn in_hook(&self, (_, filter): Live, map: Map) -> MapInHook {
        MapInHook { filter, map, hook: self.hook.get() }
    }

    /// Reads all fields of a map if there are few. Returns their number.
    fn read(&self, (envoy, ptr): Live, map: Map, fields: &mut [Header; FIELDS]) -> usize {
        // SAFETY: the stream is alive.
        let count = unsafe { (envoy.http_get_headers_size)(ptr, map) };
        if count > FIELDS {
            return count;
        }
        // SAFETY: the stream is alive, and there is room for as many fields as Envoy has counted.
        if count == 0 || !unsafe { (envoy.http_get_headers)(ptr, map, fields.as_mut_ptr()) } {
            return 0;
        }
        if map == Map::Request && self.method.get().is_none() {
            let named = fields[..count].iter().filter(|field| field.name.len == METHOD.len());
            // SAFETY: the names and values live until the map changes.
            let mut named = named.map(|field| unsafe { (field.name.bytes(), field.value.bytes()) });
            let method = named.find_map(|(name, value)| (name == METHOD).then_some(value));
            self.method.set(METHODS.into_iter().find(|known| Some(*known) == method));
        }
        count
    }

    /// Called before a map is changed. Returns whether it may contain `name`.
    fn change(&self, live: Live, map: Map, name: &[u8], removes: bool) -> bool {
        // Envoy shows these under other names, or not at all.
        let is_hidden = name.starts_with(b":") || name.eq_ignore_ascii_case(b"host");
        let of = self.in_hook(live, map);
        snapshot::change(of, name, removes && !is_hidden, |fields| self.read(live, map, fields)) || is_hidden
    }

    /// Visits all values under `name`. They point into Envoy's map: see [`header`](Self::header).
    #[inline]
    pub(crate) fn header_values<'a>(&'a self, map: Map, name: &[u8], mut visit: impl FnMut(&'a [u8])) {
        let Some(live @ (envoy, ptr)) = self.live() else { return };
        let mut from = 0;
        loop {
            match self.find(live, map, name, from) {
                Found::Value(value, next) => {
                    // SAFETY: the value lives until the map changes; see above.
                    visit(unsafe { value.bytes() });
                    from = next;
                }
                Found::Nothing => return,
                Found::Unknown => break,
            }
        }
        let (mut at, mut count) = (0, 0);
        loop {
            let mut value = Buf::EMPTY;
            // SAFETY: the stream is alive, and all pointers are valid for the call.
            let found =
                unsafe { (envoy.http_get_header)(ptr, map, Buf::of(name), &mut value, at, &mut count) };
            if !found {
                return;
            }
            // SAFETY: the value lives until the map changes; see above.
            visit(unsafe { value.bytes() });
            at += 1;
            if at >= count {
                return;
            }
        }
    }

    /// Visits all fields of a map, including pseudo-headers. They point into Envoy's map: see [`header`](Self::header).
    pub(crate) fn fields<'a>(&'a self, map: Map, mut visit: impl FnMut(&'a [u8], &'a [u8])) {
        let Some((envoy, ptr)) = self.live() else { return };
        // SAFETY: the stream is alive.
        let count = unsafe { (envoy.http_get_headers_size)(ptr, map) };
        let (mut few, mut many) = ([Header::EMPTY; FIELDS], Vec::new());
        let fields = match few.get_mut(..count) {
            Some(few) => few,
            None => {
                many.resize(count, Header::EMPTY);
                &mut many[..]
            }
        };
        // SAFETY: the stream is alive, and there is room for as many fields as Envoy has counted.
        if count == 0 || !unsafe { (envoy.http_get_headers)(ptr, map, fields.as_mut_ptr()) } {
            return;
        }
        for field in fields {
            // SAFETY: the names and values live until the map changes; see above.
            let (name, value) = unsafe { (field.name.bytes(), field.value.bytes()) };
            visit(name, value);
        }
    }

    /// Copies a map, without its pseudo-headers.
    pub(crate) fn copy(&self, map: Map) -> Fields {
        let mut copy = Fields::new();
        self.fields(map, |name, value| {
            if !name.starts_with(b":") {
                copy.add(name, value);
            }
        });
        copy
    }

    /// Sets `name` to the single value `value`. Envoy 1.40 removes the header if the value is empty. Returns `false` if
    /// the stream has no such map.
    #[inline]
    pub(crate) fn set_header(&self, map: Map, name: &[u8], value: &[u8]) -> bool {
        self.live().is_some_and(|live @ (envoy, ptr)| {
            let contains = self.change(live, map, name, false);
            let set =
                if contains || value.is_empty() { envoy.http_set_header } else { envoy.http_add_header };
            // SAFETY: the stream is alive; Envoy copies both.
            unsafe { set(ptr, map, Buf::of(name), Buf::of(value)) }
        })
    }

    /// Adds `value` under `name`. An empty value, which Envoy 1.40 rejects, is ignored. Returns `false` if the stream
    /// has no such map.
    pub(crate) fn add_header(&self, map: Map, name: &[u8], value: &[u8]) -> bool {
        if value.is_empty() {
            return !self.has_ended();
        }
        self.live().is_some_and(|live @ (envoy, ptr)| {
            self.change(live, map, name, false);
            // SAFETY: the stream is alive; Envoy copies both.
            unsafe { (envoy.http_add_header)(ptr, map, Buf::of(name), Buf::of(value)) }
        })
    }

    /// Removes all values under `name`.
    pub(crate) fn remove_header(&self, map: Map, name: &[u8]) {
        if let Some(live @ (envoy, ptr)) = self.live()
            && self.change(live, map, name, true)
        {
            // SAFETY: the stream is alive; a null value removes the header.
            unsafe { (envoy.http_set_header)(ptr, map, Buf::of(name), Buf::EMPTY) };
        }
    }

    /// The number of bytes in a part of a body.
    pub(crate) fn body_size(&self, part: BodyPart) -> usize {
        // SAFETY: the stream is alive.
        self.live().map_or(0, |(envoy, ptr)| unsafe { (envoy.http_get_body_size)(ptr, part) })
    }

    /// Takes up to `limit` bytes out of a part of a body.
    pub(crate) fn take_body(&self, part: BodyPart, limit: usize) -> Bytes {
        let Some((envoy, ptr)) = self.live() else { return Bytes::new() };
        let len = self.body_size(part).min(limit);
        if len == 0 {
            return Bytes::new();
        }
        // SAFETY: the stream is alive.
        let count = unsafe { (envoy.http_get_body_chunks_size)(ptr, part) };
        let mut chunks = vec![Buf::EMPTY; count];
        // SAFETY: the stream is alive, and there is room for as many chunks as Envoy has counted.
        if count == 0 || !unsafe { (envoy.http_get_body_chunks)(ptr, part, chunks.as_mut_ptr()) } {
            return Bytes::new();
        }
        let mut copy = BytesMut::with_capacity(len);
        for chunk in chunks {
            // SAFETY: Envoy's chunks live until the body is drained.
            let bytes = unsafe { chunk.bytes() };
            copy.extend_from_slice(&bytes[..bytes.len().min(len - copy.len())]);
        }
        // SAFETY: the stream is alive.
        unsafe { (envoy.http_drain_body)(ptr, part, copy.len()) };
        copy.freeze()
    }

    /// Appends a copy of `bytes` to a part of a body.
    pub(crate) fn append_body(&self, part: BodyPart, bytes: &[u8]) -> bool {
        bytes.is_empty()
            || self.live().is_some_and(|(envoy, ptr)| {
                // SAFETY: the stream is alive; Envoy copies the bytes.
                unsafe { (envoy.http_append_body)(ptr, part, Buf::of(bytes)) }
            })
    }

    /// Raises Envoy's buffer limit so that it can hold a message of this length, if this version of Envoy supports
    /// that.
    pub(crate) fn raise_buffer_limit(&self, bytes: usize) {
        let Some((envoy, ptr)) = self.live() else { return };
        if let (Some(get), Some(set)) = (envoy.http_get_buffer_limit, envoy.http_set_buffer_limit) {
            let bytes = bytes as u64;
            // SAFETY: the stream is alive.
            if unsafe { get(ptr) } <= bytes {
                // SAFETY: as above.
                unsafe { set(ptr, bytes + 1) };
            }
        }
    }

    /// Sets Envoy's buffer limit for a message that guests may stream, which determines whether Envoy continues to read
    /// it.
    ///
    /// Envoy stops reading when the bytes that a filter has left in its buffer exceed the limit, and fails a message
    /// whose last piece exceeds it. So the limit is unreachable while nothing is left, and minimal otherwise. Envoy may
    /// call the watermark hooks during this call.
    pub(crate) fn pace(&self, kind: BodyKind, pace: Pace) {
        let Some((envoy, ptr)) = self.live() else { return };
        if let (Some(get), Some(set)) = (envoy.http_get_buffer_limit, envoy.http_set_buffer_limit) {
            // SAFETY: the stream is alive.
            let limit = self.watermarks.limit_for(kind, pace, || unsafe { get(ptr) });
            // SAFETY: as above.
            unsafe { set(ptr, limit) };
        }
    }

    /// Ends the response with these bytes, although the upstream's hasn't ended. From Envoy 1.39 on, no more hooks for
    /// the response are called; before, the hook for its body is called with them. Envoy may destroy the stream before
    /// this returns.
    pub(crate) fn end_response(&self, bytes: &[u8]) {
        if let Some((envoy, ptr)) = self.live()
            && let Some(send) = envoy.http_send_response_data
        {
            // SAFETY: the stream is alive; Envoy copies the bytes.
            unsafe { send(ptr, Buf::of(bytes), true) };
            self.begin_hook();
        }
    }

    /// Sends a local response. Envoy may destroy the stream or call its hooks before this returns, so nothing may be
    /// borrowed.
    pub(crate) fn send_response(&self, status: u16, fields: &Fields, body: &[u8], details: &[u8]) {
        let Some((envoy, ptr)) = self.live() else { return };
        let headers: Vec<_> = fields
            .iter()
            .map(|(name, value)| Header { name: Buf::of(name), value: Buf::of(value) })
            .collect();
        // SAFETY: the stream is alive; Envoy copies all arguments before it can destroy the stream.
        unsafe {
            (envoy.http_send_response)(
                ptr,
                status.into(),
                headers.as_ptr(),
                headers.len(),
                Buf::of(body),
                Buf::of(details),
            );
        }
        self.begin_hook();
    }

    /// Continues a held request. Envoy may destroy the stream or call its hooks before this returns.
    pub(crate) fn continue_decoding(&self) {
        if let Some((envoy, ptr)) = self.live() {
            // SAFETY: the stream is alive.
            unsafe { (envoy.http_filter_continue_decoding)(ptr) };
            self.begin_hook();
        }
    }

    /// Continues a held response. Envoy may destroy the stream or call its hooks before this returns.
    pub(crate) fn continue_encoding(&self) {
        if let Some((envoy, ptr)) = self.live() {
            // SAFETY: the stream is alive.
            unsafe { (envoy.http_filter_continue_encoding)(ptr) };
            self.begin_hook();
        }
    }

    /// Resets the stream, if this version of Envoy supports that.
    pub(crate) fn reset(&self, details: &[u8]) -> bool {
        let Some((envoy, ptr)) = self.live() else { return false };
        let Some(reset) = envoy.http_filter_reset_stream else { return false };
        // SAFETY: the stream is alive; 0 is a local reset.
        unsafe { reset(ptr, 0, Buf::of(details)) };
        true
    }

    /// Makes Envoy select the route again.
    pub(crate) fn clear_route_cache(&self) {
        if let Some((envoy, ptr)) = self.live() {
            // SAFETY: the stream is alive.
            unsafe { (envoy.http_clear_route_cache)(ptr) };
        }
    }

    /// The configuration of the most specific route that has one, as made by `http_filter_per_route_config_new`. The
    /// stream keeps its route alive.
    pub(crate) fn route_config(&self) -> Option<NonNull<c_void>> {
        let (envoy, ptr) = self.live()?;
        // SAFETY: the stream is alive.
        NonNull::new(unsafe { (envoy.get_most_specific_route_config)(ptr) }.cast_mut())
    }

    /// A copy of a property of the stream.
    pub(crate) fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>> {
        let (envoy, ptr) = self.live()?;
        let mut value = Buf::EMPTY;
        // SAFETY: the stream is alive, and the pointer is valid for the call.
        let found = unsafe { (envoy.http_filter_get_attribute_string)(ptr, attribute, &mut value) };
        // SAFETY: the value lives until the hook returns.
        found.then(|| unsafe { value.bytes() }.to_vec())
    }

    /// Sets a string in the stream's dynamic metadata.
    pub(crate) fn set_metadata(&self, namespace: &str, key: &str, value: &str) {
        if let Some((envoy, ptr)) = self.live() {
            let [namespace, key, value] = [namespace, key, value].map(|text| Buf::of(text.as_bytes()));
            // SAFETY: the stream is alive; Envoy copies all three.
            unsafe { (envoy.http_set_dynamic_metadata_string)(ptr, namespace, key, value) };
        }
    }

    /// Adds to a counter that was defined with the filter's configuration.
    pub(crate) fn count<const N: usize>(&self, counter: usize, labels: [&str; N], count: u64) {
        if let Some((envoy, ptr)) = self.live() {
            let labels = labels.map(|label| Buf::of(label.as_bytes()));
            // SAFETY: the stream is alive; Envoy copies the labels.
            unsafe {
                (envoy.http_filter_increment_counter)(ptr, counter, labels.as_ptr(), labels.len(), count)
            };
        }
    }

    /// Records a value in a histogram that was defined with the filter's configuration.
    pub(crate) fn record<const N: usize>(&self, histogram: usize, labels: [&str; N], value: u64) {
        if let Some((envoy, ptr)) = self.live()
            && let Some(record) = envoy.http_filter_record_histogram_value
        {
            let labels = labels.map(|label| Buf::of(label.as_bytes()));
            // SAFETY: the stream is alive; Envoy copies the labels.
            unsafe { record(ptr, histogram, labels.as_ptr(), labels.len(), value) };
        }
    }

    /// A scheduler that can call this stream's `scheduled` hook from any thread.
    pub(crate) fn scheduler(&self) -> Option<Scheduler> {
        let (envoy, ptr) = self.live()?;
        // SAFETY: the stream is alive.
        let scheduler = unsafe { (envoy.http_filter_scheduler_new)(ptr) };
        // SAFETY: Envoy has just created it.
        (!scheduler.is_null()).then(|| unsafe { Scheduler::new(scheduler) })
    }
}
