//! From a guest's bytes and settings to what its instances are created from.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::blueprint::Blueprint;
use super::builder::GuestBuilder;
use super::inspect::shim::Shimmed;
use super::inspect::{self, Inspection};
use super::review::Review;
use super::snapshot::{self, Snapshot};
use super::startup::{StartFunctions, Startup};
use super::waits;
use crate::abi::{BodyKind, Phase};
use crate::bodies::{Bodies, Stream};
use crate::engine::{Precompiled, SharedCode, Source, is_precompiled};
use crate::error::LoadError;
use crate::exchange::DecodedBodies;
use crate::host::Host;
use crate::limits::PoolSettings;
use crate::log::Log;
use crate::run::compute::Compute;
use crate::run::link::Linked;
use crate::run::shared::{Calls, NeedsFibers, Shared};
use crate::run::suspend::StartFiberPolicy;
use crate::run::wasi;
use crate::warning::{Lint, Warning};

/// A guest that is ready for its first instance.
pub(crate) struct Prepared<H: Host> {
    pub(crate) blueprint: Blueprint<H>,
    pub(crate) inspection: Inspection,
    pub(crate) pool: PoolSettings,
    /// How long it took to compile the guest and create the snapshot.
    pub(crate) compile_time: Duration,
    /// How the guest is reviewed. `None` in a trial.
    pub(crate) review: Option<Review>,
    /// The guest's settings and module, if it should be tried with a request.
    pub(crate) prober: Option<(GuestBuilder, Vec<u8>)>,
}

impl GuestBuilder {
    /// Compiles and links the guest in `bytes`.
    ///
    /// # Errors
    /// As for [`load`](Self::load), except those of the first instance.
    pub(crate) fn prepare<H: Host>(mut self, bytes: &[u8]) -> Result<Prepared<H>, LoadError> {
        let name = self.guest_name();
        let (bytes, precompiled) = self.unpack(bytes)?;
        let (size, limit) = (self.config.len(), self.limits.config_bytes);
        if size > limit {
            return Err(LoadError::ConfigTooLarge { guest: name, size, limit });
        }
        let mut inspection =
            inspect::inspect(bytes).map_err(|faults| LoadError::Invalid { guest: name.clone(), faults })?;
        if self.stream != Stream::Off {
            self.check_stream::<H>(&name, &inspection)?;
        }
        // A guest that declares it is always compiled for it, so that its precompiled code fits either way.
        let pauses_writes = inspection.declares_stream() || self.stream != Stream::Off;
        let precompiled = precompiled.filter(|_| inspection.declares_stream() || !pauses_writes);
        let suspicious = !self.is_probe && !self.quiet && inspection.lint_facts().needs_probe();
        let prober = suspicious.then(|| (self.clone(), bytes.to_vec()));
        self.wasi.args.insert(0, name.to_string());
        self.wasi.check().map_err(|reason| LoadError::Grant { guest: name.clone(), reason })?;
        let refused = |reason: String| LoadError::Compile { guest: name.clone(), reason };

        let started = Instant::now();
        let module = inspection.take_wasm();
        let Shimmed { wasm, moved } =
            waits::with_suspension_points(&module, pauses_writes).map_err(refused)?;
        let symbols = self.engine.symbols(&module, moved, self.backtraces);
        drop(module);
        let needs_async = inspection.needs_wasi() && self.wasi.needs_async();
        let yields_always = self.engine.yields_always();
        let always_on_fiber = needs_async || yields_always;
        // A brief call need not yield, and is over before the deadline.
        let needs_fibers = |phase| match (needs_async, inspection.is_brief(phase), yields_always) {
            (true, ..) | (false, false, true) => NeedsFibers::Always,
            (false, true, _) => NeedsFibers::ToWait,
            (false, false, false) => NeedsFibers::UnlessQuick,
        };
        // Start-ups aren't analysed: if a guest can wait at all, its start-up may wait.
        let may_wait = wasi::SUSPENDING.iter().any(|(_, name)| inspection.imports_wasi(name));
        let calls = Calls {
            request_fibers: needs_fibers(Phase::Request),
            response_fibers: needs_fibers(Phase::Response),
            request: waits::of(&inspection, Phase::Request),
            response: waits::of(&inspection, Phase::Response),
            // A call that is skipped can't be traced.
            ignores_responses: inspection.ignores_responses() && self.hook.is_none(),
            fiber_policy: Arc::default(),
            compute: Arc::new(Compute::new()),
            deadline: self.engine.in_ticks(self.limits.deadline),
        };
        let functions = StartFunctions {
            has_start: inspection.has_start_function(),
            exports_initialize: inspection.exports_initialize(),
            exports_start: inspection.exports_start(),
            always_on_fiber,
            fiber_policy: StartFiberPolicy::new(always_on_fiber || may_wait),
            compute_long: AtomicBool::new(false),
            deadline: self.engine.in_ticks(self.limits.startup_deadline),
        };
        let shared = Arc::new(Shared {
            log: match self.is_probe {
                true => Log::silent(self.engine.background().clone(), name.clone(), &self.limits),
                false => Log::new(self.engine.background().clone(), name.clone(), &self.limits),
            },
            symbols,
            trap_hint: inspection.lint_facts().trap_hint(),
            engine: self.engine,
            name: name.clone(),
            config: self.config,
            limits: self.limits,
            calls,
            reads_request: waits::reads_request(&inspection),
            hook: self.hook,
            on_failure: self.on_failure,
            decoded_bodies: (self.bodies == Bodies::Decoded)
                .then(|| Arc::new(DecodedBodies::new(name.clone(), self.decoding))),
            stream: self.stream,
            pauses_writes,
            observer: self.observer,
            counters: Arc::default(),
            broken: self.broken,
            #[cfg(feature = "mutations")]
            intercept: self.intercept,
        });
        let file_threads = self.wasi.needs_async().then(|| shared.engine.file_threads(&name)).transpose();
        let file_threads = file_threads.map_err(|reason| LoadError::Grant { guest: name.clone(), reason })?;
        let mut startup = Startup { shared, wasi: self.wasi, file_threads, functions, image: None };
        if self.snapshot != Snapshot::Off && startup.functions.any() {
            let image = snapshot::image::<H>(&wasm, self.snapshot, &startup)?;
            startup.functions = startup.functions.started();
            startup.image = Some(image);
        }
        let code = match &startup.image {
            Some(image) => image.code.clone(),
            None => compiled(&startup, &wasm, precompiled).map_err(refused)?,
        };
        let linked = Linked::new(&code.module, &startup.wasi, &startup.shared)
            .map_err(|error| refused(format!("{error:#}")))?;
        let compile_time = started.elapsed();
        let blueprint = Blueprint::new(startup, code, linked);
        let review =
            (!self.is_probe && !self.quiet).then_some(Review { allowed: self.allowed, strict: self.strict });
        Ok(Prepared { blueprint, inspection, pool: self.pool, compile_time, review, prober })
    }

    /// Whether the guest and the server can stream.
    fn check_stream<H: Host>(&self, guest: &Arc<str>, inspection: &Inspection) -> Result<(), LoadError> {
        let missing = match self.stream {
            stream if stream.responses() && !H::STREAMS => Some(BodyKind::Response),
            stream if stream.requests() && !H::STREAMS_REQUESTS => Some(BodyKind::Request),
            _ => None,
        };
        if let Some(message) = missing {
            return Err(LoadError::Stream { guest: guest.clone(), message });
        }
        if inspection.declares_stream() || self.allowed.contains(&Lint::UndeclaredStream) {
            return Ok(());
        }
        let warning = Warning::new(
            Lint::UndeclaredStream,
            "`stream` is set, but the guest doesn't declare that it can rewrite a body while it is being sent",
            "add a custom section `http-wasm-stream` if it sets status and headers before its first write_body, and \
             handles read_body returning less than it asked for",
        );
        Err(LoadError::Refused { guest: guest.clone(), warnings: vec![warning] })
    }

    /// The module in `bytes`, and its compiled code if they contain that too.
    fn unpack<'a>(&self, bytes: &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), LoadError> {
        if !is_precompiled(bytes) {
            return Ok((bytes, None));
        }
        let refused = |reason| LoadError::Precompiled { guest: self.guest_name(), reason };
        if !self.trust_precompiled {
            return Err(refused(
                "it contains machine code, which runs unverified; load the .wasm file that it was compiled \
                 from, or trust the file (`trust_precompiled`)",
            ));
        }
        let file =
            Precompiled::parse(bytes).ok_or_else(|| refused("the file is truncated; compile it again"))?;
        if file.code.is_none() {
            let guest = &*self.guest_name();
            tracing::warn!(guest, "the guest was precompiled by another version; compiling it again");
        }
        Ok((file.wasm, file.code))
    }
}

/// The compiled code of a guest: the precompiled code if there is any and it suits this engine.
fn compiled(startup: &Startup, wasm: &[u8], precompiled: Option<&[u8]>) -> Result<SharedCode, String> {
    let shared = &startup.shared;
    let engine = &shared.engine;
    if let Some(code) = precompiled {
        match engine.code(wasm, Source::Trusted(code), &shared.limits) {
            Ok(code) => return Ok(code),
            Err(reason) => tracing::warn!(
                guest = &*shared.name,
                reason,
                "the precompiled code doesn't fit this engine; compiling the guest again"
            ),
        }
    }
    engine.code(wasm, Source::Compiler, &shared.limits)
}
