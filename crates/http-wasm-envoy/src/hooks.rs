//! The functions that Envoy calls.
//!
//! Only Envoy calls them, with pointers that it got from this module or keeps valid for the call. A panic never unwinds
//! into Envoy: the request fails instead.
#![expect(unsafe_code, reason = "this is the interface to Envoy")]
#![expect(unreachable_pub, reason = "Envoy finds the functions by their names")]

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null;
use std::rc::Rc;
use std::sync::Arc;

use http_wasm_host::BodyKind;

use crate::config::{Config, RouteConfig};
use crate::ffi::{self, BodyStatus, Buf, ConfigPtr, FilterPtr, HeadersStatus, TrailersStatus};
use crate::filter::Filter;
use crate::inventory;
use crate::process;
use crate::stream::Stream;

/// Runs a hook of a stream. Returns `passes` if an earlier hook of the stream has panicked, and `stops` if this one
/// does.
///
/// # Safety
/// `stream` must come from `http_filter_new` and must not have been destroyed, or be null.
unsafe fn on_stream<T>(stream: *const c_void, passes: T, hook: impl FnOnce(&Rc<Stream>) -> T, stops: T) -> T {
    let stream = stream.cast::<Stream>();
    // Envoy adds the filter's watermark callbacks around the filter's life.
    if stream.is_null() {
        return passes;
    }
    // The hook may destroy the stream, so keep it alive until the end.
    // SAFETY: `http_filter_new` made this `Rc`, and it hasn't been dropped.
    let stream = unsafe {
        Rc::increment_strong_count(stream);
        Rc::from_raw(stream)
    };
    if stream.has_failed() {
        return passes;
    }
    stream.begin_hook();
    match catch_unwind(AssertUnwindSafe(|| hook(&stream))) {
        Ok(status) => status,
        Err(_) => {
            let _again = catch_unwind(AssertUnwindSafe(|| stream.fail()));
            stops
        }
    }
}

/// Called once, when the module is loaded. Returns the version of the interface that the module implements.
#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    catch_unwind(|| match ffi::initialise() {
        Ok(version) => {
            process::start();
            version.as_ptr()
        }
        // Envoy's log, which could name the missing function, isn't available yet.
        Err(_) => null(),
    })
    .unwrap_or(null())
}

/// Loads a filter configuration.
///
/// # Safety
/// The buffers must be valid for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    envoy: ConfigPtr,
    name: Buf,
    config: Buf,
) -> *const c_void {
    // SAFETY: Envoy lends both for the call.
    let (name, text) = unsafe { (name.bytes(), config.bytes()) };
    let loaded = catch_unwind(AssertUnwindSafe(|| Config::load(&String::from_utf8_lossy(name), text, envoy)));
    match loaded {
        Ok(Ok(config)) => {
            let config = Arc::new(config);
            inventory::add(&config);
            let _logged =
                catch_unwind(AssertUnwindSafe(|| inventory::log(config.name(), "configuration loaded")));
            Arc::into_raw(config).cast()
        }
        Ok(Err(fault)) => {
            tracing::error!("filter {}: {fault}", String::from_utf8_lossy(name));
            null()
        }
        Err(_) => null(),
    }
}

/// # Safety
/// `config` must come from `http_filter_config_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(config: *const c_void) {
    // SAFETY: Envoy destroys each configuration once.
    let config = unsafe { Arc::from_raw(config.cast::<Config>()) };
    let _dropped = catch_unwind(AssertUnwindSafe(|| {
        let name = config.name().to_owned();
        config.dropped();
        drop(config);
        inventory::log(&name, "configuration dropped");
    }));
}

/// Loads a route configuration.
///
/// # Safety
/// The buffers must be valid for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
    name: Buf,
    config: Buf,
) -> *const c_void {
    // SAFETY: Envoy lends both for the call.
    let (name, text) = unsafe { (name.bytes(), config.bytes()) };
    match catch_unwind(|| RouteConfig::load(text)) {
        Ok(Ok(config)) => Box::into_raw(Box::new(config)).cast_const().cast(),
        Ok(Err(fault)) => {
            match String::from_utf8_lossy(name).as_ref() {
                "" => tracing::error!("route configuration: {fault}"),
                name => tracing::error!("route configuration of filter {name}: {fault}"),
            }
            null()
        }
        Err(_) => null(),
    }
}

/// # Safety
/// `config` must come from `http_filter_per_route_config_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(config: *const c_void) {
    // SAFETY: Envoy destroys each configuration once.
    let config = unsafe { Box::from_raw(config.cast::<RouteConfig>().cast_mut()) };
    let _dropped = catch_unwind(AssertUnwindSafe(|| drop(config)));
}

/// Called when a stream begins.
///
/// # Safety
/// `config` must come from `http_filter_config_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
    config: *const c_void,
    envoy: FilterPtr,
) -> *const c_void {
    let config = config.cast::<Config>();
    // SAFETY: the configuration outlives the call, and the stream gets its own reference.
    let config = unsafe {
        Arc::increment_strong_count(config);
        Arc::from_raw(config)
    };
    // SAFETY: Envoy keeps its filter until it destroys ours, which ends the stream.
    let filter = unsafe { Filter::new(envoy) };
    Rc::into_raw(Stream::new(filter, config)).cast()
}

/// Called when a stream ends.
///
/// # Safety
/// `stream` must come from `http_filter_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(stream: *const c_void) {
    // SAFETY: Envoy destroys each stream once.
    let stream = unsafe { Rc::from_raw(stream.cast::<Stream>()) };
    let _ended = catch_unwind(AssertUnwindSafe(|| stream.end()));
}

/// Declares the hooks of a stream.
macro_rules! hooks {
    ($(
        $(#[$doc:meta])*
        $name:ident($stream:ident $(, $arg:ident: $ty:ty)*) $(-> $status:ident)? { $hook:expr }
    )*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// `stream` must come from `http_filter_new` and must not have been destroyed.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name(
                _: FilterPtr,
                stream: *const c_void
                $(, $arg: $ty)*
            ) $(-> $status)? {
                // SAFETY: Envoy calls hooks only for streams that exist.
                unsafe {
                    on_stream(
                        stream,
                        hooks!(@passes $($status)?),
                        |$stream: &Rc<Stream>| $hook,
                        hooks!(@stops $($status)?),
                    )
                }
            }
        )*
    };
    (@passes) => { () };
    (@passes $status:ident) => { $status::Continue };
    (@stops) => { () };
    (@stops BodyStatus) => { BodyStatus::StopNoBuffer };
    (@stops $status:ident) => { $status::StopIteration };
}

hooks! {
    /// Called with the request's headers.
    envoy_dynamic_module_on_http_filter_request_headers(stream, end: bool) -> HeadersStatus {
        stream.request_headers(end)
    }
    /// Called with a piece of the request's body.
    envoy_dynamic_module_on_http_filter_request_body(stream, end: bool) -> BodyStatus {
        stream.body(BodyKind::Request, end)
    }
    /// Called with the request's trailers.
    envoy_dynamic_module_on_http_filter_request_trailers(stream) -> TrailersStatus {
        stream.trailers(BodyKind::Request)
    }
    /// Called with the response's headers.
    envoy_dynamic_module_on_http_filter_response_headers(stream, end: bool) -> HeadersStatus {
        stream.response_headers(end)
    }
    /// Called with a piece of the response's body.
    envoy_dynamic_module_on_http_filter_response_body(stream, end: bool) -> BodyStatus {
        stream.body(BodyKind::Response, end)
    }
    /// Called with the response's trailers.
    envoy_dynamic_module_on_http_filter_response_trailers(stream) -> TrailersStatus {
        stream.trailers(BodyKind::Response)
    }
    /// Called when a waker has scheduled an event.
    envoy_dynamic_module_on_http_filter_scheduled(stream, _id: u64) {
        stream.scheduled()
    }
    /// Called when the client is slower than what is sent to it.
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(stream) {
        stream.receiver_is_slow()
    }
    /// Called when the client has caught up.
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(stream) {
        stream.receiver_goes_on()
    }
}

/// Declares hooks that must exist but do nothing.
macro_rules! unused {
    ($($name:ident($($ty:ty),*);)*) => {
        $(
            /// Does nothing.
            #[unsafe(no_mangle)]
            pub extern "C" fn $name(_: FilterPtr, _: *const c_void $(, _: $ty)*) {}
        )*
    };
}

unused! {
    envoy_dynamic_module_on_http_filter_stream_complete();
    envoy_dynamic_module_on_http_filter_http_callout_done(u64, u32, *const c_void, usize, *const c_void, usize);
    envoy_dynamic_module_on_http_filter_http_stream_headers(u64, *const c_void, usize, bool);
    envoy_dynamic_module_on_http_filter_http_stream_data(u64, *const c_void, usize, bool);
    envoy_dynamic_module_on_http_filter_http_stream_trailers(u64, *const c_void, usize);
    envoy_dynamic_module_on_http_filter_http_stream_complete(u64);
    envoy_dynamic_module_on_http_filter_http_stream_reset(u64, u32);
}
