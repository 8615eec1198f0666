//! The part of Envoy's C interface for dynamic modules that this crate uses, declared by hand.
//!
//! All functions of Envoy are looked up with `dlsym` when the module is initialised. Versions of Envoy that lack one of
//! the optional functions can therefore load the module, and tests can link it without Envoy.
#![expect(unsafe_code, reason = "this is the interface to Envoy")]

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Bytes that either side lends the other for the duration of a call.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Buf {
    pub(crate) ptr: *const u8,
    pub(crate) len: usize,
}

impl Buf {
    pub(crate) const EMPTY: Self = Self { ptr: std::ptr::null(), len: 0 };

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// # Safety
    /// The bytes must be valid for `'a`, or the buffer empty.
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: the caller guarantees it.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// One header field.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) name: Buf,
    pub(crate) value: Buf,
}

impl Header {
    pub(crate) const EMPTY: Self = Self { name: Buf::EMPTY, value: Buf::EMPTY };
}

/// A header or trailer map of a stream.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    Request = 0,
    RequestTrailers = 1,
    Response = 2,
    ResponseTrailers = 3,
}

/// A piece of a body: what a body hook was called with, or what Envoy holds because a hook stopped it.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyPart {
    ReceivedRequest = 0,
    BufferedRequest = 1,
    ReceivedResponse = 2,
    BufferedResponse = 3,
}

/// The result of a headers hook.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadersStatus {
    Continue = 0,
    StopIteration = 1,
}

/// The result of a body hook.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyStatus {
    Continue = 0,
    StopAndWatermark = 2,
    StopNoBuffer = 3,
}

/// The result of a trailers hook.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrailersStatus {
    Continue = 0,
    StopIteration = 1,
}

/// Properties of a stream.
#[repr(u32)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attribute {
    Protocol = 10,
    SourceAddress = 24,
}

/// Levels of Envoy's log.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

/// Envoy's object for a stream's filter.
pub(crate) type FilterPtr = *mut c_void;
/// Envoy's object for a filter configuration.
pub(crate) type ConfigPtr = *mut c_void;
/// Envoy's object that schedules an event on a stream's worker.
pub(crate) type SchedulerPtr = *mut c_void;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
}

#[cfg(target_os = "linux")]
const RTLD_DEFAULT: *mut c_void = std::ptr::null_mut();
#[cfg(not(target_os = "linux"))]
const RTLD_DEFAULT: *mut c_void = -2_isize as *mut c_void;

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name is a C string, and the default handle is always valid.
    let found = unsafe { dlsym(RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Declares Envoy's functions with their types.
macro_rules! callbacks {
    (
        required { $($required:ident: fn($($rarg:ty),*) $(-> $rret:ty)?;)* }
        optional { $($optional:ident: fn($($oarg:ty),*) $(-> $oret:ty)?;)* }
    ) => {
        /// The functions of the Envoy that has loaded this module.
        pub(crate) struct Callbacks {
            $(pub(crate) $required: unsafe extern "C" fn($($rarg),*) $(-> $rret)?,)*
            $(pub(crate) $optional: Option<unsafe extern "C" fn($($oarg),*) $(-> $oret)?>,)*
        }

        impl Callbacks {
            /// # Errors
            /// The name of a function that Envoy lacks.
            fn find() -> Result<Self, &'static str> {
                Ok(Self {
                    $($required: {
                        let name = concat!("envoy_dynamic_module_callback_", stringify!($required), "\0");
                        let name = CStr::from_bytes_with_nul(name.as_bytes()).map_err(|_| "a name")?;
                        let found = symbol(name).ok_or(stringify!($required))?;
                        // SAFETY: Envoy exports a function of this type under this name; a test compares all names with
                        // those that each supported Envoy exports.
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($rarg),*) $(-> $rret)?>(found)
                        }
                    },)*
                    $($optional: {
                        let name = concat!("envoy_dynamic_module_callback_", stringify!($optional), "\0");
                        let name = CStr::from_bytes_with_nul(name.as_bytes()).map_err(|_| "a name")?;
                        // SAFETY: as above.
                        symbol(name).map(|found| unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($oarg),*) $(-> $oret)?>(found)
                        })
                    },)*
                })
            }
        }

        /// The names of the functions that the module requires, without their common prefix.
        pub const REQUIRED_CALLBACKS: &[&str] = &[$(stringify!($required)),*];
        /// The names of the functions that are used if they exist, without their common prefix.
        pub const OPTIONAL_CALLBACKS: &[&str] = &[$(stringify!($optional)),*];
    };
}

callbacks! {
    required {
        log: fn(Level, Buf);
        log_enabled: fn(Level) -> bool;
        http_get_headers_size: fn(FilterPtr, Map) -> usize;
        http_get_headers: fn(FilterPtr, Map, *mut Header) -> bool;
        http_get_header: fn(FilterPtr, Map, Buf, *mut Buf, usize, *mut usize) -> bool;
        http_set_header: fn(FilterPtr, Map, Buf, Buf) -> bool;
        http_add_header: fn(FilterPtr, Map, Buf, Buf) -> bool;
        http_get_body_size: fn(FilterPtr, BodyPart) -> usize;
        http_get_body_chunks_size: fn(FilterPtr, BodyPart) -> usize;
        http_get_body_chunks: fn(FilterPtr, BodyPart, *mut Buf) -> bool;
        http_drain_body: fn(FilterPtr, BodyPart, usize) -> bool;
        http_append_body: fn(FilterPtr, BodyPart, Buf) -> bool;
        http_send_response: fn(FilterPtr, u32, *const Header, usize, Buf, Buf);
        http_filter_scheduler_new: fn(FilterPtr) -> SchedulerPtr;
        http_filter_scheduler_commit: fn(SchedulerPtr, u64);
        http_filter_scheduler_delete: fn(SchedulerPtr);
        http_filter_continue_decoding: fn(FilterPtr);
        http_filter_continue_encoding: fn(FilterPtr);
        http_clear_route_cache: fn(FilterPtr);
        get_most_specific_route_config: fn(FilterPtr) -> *const c_void;
        http_filter_get_attribute_string: fn(FilterPtr, Attribute, *mut Buf) -> bool;
        http_set_dynamic_metadata_string: fn(FilterPtr, Buf, Buf, Buf);
        http_filter_config_define_counter: fn(ConfigPtr, Buf, *const Buf, usize, *mut usize) -> u32;
        http_filter_increment_counter: fn(FilterPtr, usize, *const Buf, usize, u64) -> u32;
    }
    optional {
        http_get_buffer_limit: fn(FilterPtr) -> u64;
        http_set_buffer_limit: fn(FilterPtr, u64);
        http_filter_reset_stream: fn(FilterPtr, u32, Buf);
        http_send_response_data: fn(FilterPtr, Buf, bool);
        http_filter_config_define_histogram: fn(ConfigPtr, Buf, *const Buf, usize, *mut usize) -> u32;
        http_filter_record_histogram_value: fn(FilterPtr, usize, *const Buf, usize, u64) -> u32;
        http_get_header_values: fn();
        log_v2: fn();
    }
}

impl Callbacks {
    /// Whether a message can be sent, paced and aborted while a guest is writing it.
    pub(crate) fn can_stream(&self) -> bool {
        self.http_get_buffer_limit.is_some()
            && self.http_set_buffer_limit.is_some()
            && self.http_filter_reset_stream.is_some()
            && self.http_send_response_data.is_some()
    }

    /// Whether the same is possible for requests. Envoy 1.38 has a single flag for both directions that says whether a
    /// message was continued, so the response could never be sent once its request had been continued. Of the functions
    /// that 1.39 has added, this one tells the versions apart.
    pub(crate) fn can_stream_requests(&self) -> bool {
        self.can_stream() && self.http_get_header_values.is_some()
    }
}

static CALLBACKS: OnceLock<Callbacks> = OnceLock::new();

/// Envoy's functions, once the module is initialised. Before that, no stream can exist.
#[inline]
pub(crate) fn callbacks() -> Option<&'static Callbacks> {
    CALLBACKS.get()
}

/// Looks up Envoy's functions. Returns the version of the interface that this Envoy expects.
///
/// # Errors
/// The name of a function that Envoy lacks.
pub(crate) fn initialise() -> Result<&'static CStr, &'static str> {
    let found = Callbacks::find()?;
    let version = match (&found.log_v2, &found.http_get_buffer_limit) {
        (Some(_), _) => c"v0.2.0",
        (None, Some(_)) => c"v0.1.0",
        // This hash identifies the interface of Envoy 1.37.
        (None, None) => c"4dae397a7c9ff0238d318d57ea656ce8b3fbff595787dcd7ee2ff5b79c9fe10f",
    };
    let _again = CALLBACKS.set(found);
    Ok(version)
}

/// A pointer that must stay on its thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotSend(PhantomData<*mut ()>);

impl NotSend {
    pub(crate) const MARK: Self = Self(PhantomData);
}
