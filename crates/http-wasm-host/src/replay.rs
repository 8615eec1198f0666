//! Replaying a guest with recorded results of its imports, without a host.
//!
//! A guest's behaviour depends only on its module and on the results of its imports. An instance that gets the results
//! of a recorded instance, from its creation on, therefore behaves in the same way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{
    Caller, ExternType, FuncType, Instance, InstancePre, Linker, Memory, ResourceLimiter, Store, Val, ValType,
};

use crate::abi::{CtxNext, FUNCTIONS, Phase};
use crate::engine::{Engine, Precompiled, SharedCode, TickLimit, is_precompiled};
use crate::error::{CallError, Error, LoadError, Reason, Stop};
use crate::load::inspect;
use crate::load::waits::with_suspension_points;
use crate::run::memory::{self, HasMemory};
use crate::symbols::{Backtraces, Symbols};
use crate::trace::TracedGrowth;

/// The results that a replayed instance gets instead of those of a host. See [`ReplayedModule`] for an example.
pub trait Answers: Send + 'static {
    /// Answers a call of an imported function. Results that the function returns in the guest's memory must be written
    /// there.
    fn call(&mut self, call: ReplayedCall<'_>) -> Returned;

    /// Decides whether a memory or table may grow to this size, or be created with it.
    ///
    /// [`growth.granted`](TracedGrowth::granted) is always `false`: this method's result takes its place.
    fn growth(&mut self, growth: TracedGrowth) -> bool;
}

/// A call of an imported function.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReplayedCall<'a> {
    /// The module that it is imported from: `http_handler` or `wasi_snapshot_preview1`.
    pub module: &'a str,
    /// The name of the imported function.
    pub function: &'a str,
    /// The arguments, each extended to 64 bits.
    pub args: &'a [u64],
    /// The guest's memory.
    pub memory: &'a mut [u8],
}

/// The outcome of a call of an imported function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// It returns this value, if it returns any.
    Value(u64),
    /// It traps for this reason. `proc_exit` always traps.
    Trap(String),
}

/// A module whose recorded instances can be replayed without a host, with the recorded results of their calls.
///
/// A [`Tracer`](crate::Tracer) can record these results.
///
/// ```
/// use std::time::Duration;
///
/// use http_wasm_host::{Answers, Engine, ReplayedCall, ReplayedModule, Returned, TracedGrowth};
///
/// /// Every call returns 204, and memory may grow as the guest likes.
/// struct NoContent;
///
/// impl Answers for NoContent {
///     fn call(&mut self, call: ReplayedCall<'_>) -> Returned {
///         assert_eq!(call.function, "get_status_code");
///         Returned::Value(204)
///     }
///
///     fn growth(&mut self, _: TracedGrowth) -> bool {
///         true
///     }
/// }
///
/// let guest = br#"(module
///     (import "http_handler" "get_status_code" (func $status (result i32)))
///     (memory (export "memory") 1)
///     (func (export "handle_request") (result i64) i64.const 1)
///     (func (export "handle_response") (param i32 i32)
///         (if (i32.eq (call $status) (i32.const 204)) (then unreachable))))"#;
/// let module = ReplayedModule::load(&Engine::new()?, "guest", guest, Duration::from_secs(1))?;
///
/// let mut instance = module.instance(NoContent)?;
/// instance.start()?;
/// let (proceeds, req_ctx) = instance.handle_request()?;
/// assert!(proceeds);
/// assert!(instance.handle_response(req_ctx, false).is_err());
/// # Ok::<(), http_wasm_host::BoxError>(())
/// ```
pub struct ReplayedModule {
    name: Arc<str>,
    engine: Engine,
    code: SharedCode,
    symbols: Arc<Symbols>,
    deadline: TickLimit,
    exports_initialize: bool,
    exports_start: bool,
}

impl ReplayedModule {
    /// Compiles the guest in `bytes`, which are a module, WebAssembly text, or the output of
    /// [`precompile`](crate::GuestBuilder::precompile), whose compiled code isn't used. A call that takes several times
    /// as long as `deadline` fails as if it had exceeded its deadline.
    ///
    /// # Errors
    /// If the bytes aren't a guest for this ABI.
    pub fn load(engine: &Engine, name: &str, bytes: &[u8], deadline: Duration) -> Result<Self, LoadError> {
        let name: Arc<str> = name.into();
        let refused = |reason| LoadError::Compile { guest: name.clone(), reason };
        let bytes = match is_precompiled(bytes) {
            true => {
                let reason = "the file is truncated; compile it again";
                let truncated = LoadError::Precompiled { guest: name.clone(), reason };
                Precompiled::parse(bytes).ok_or(truncated)?.wasm
            }
            false => bytes,
        };
        let mut inspection =
            inspect::inspect(bytes).map_err(|faults| LoadError::Invalid { guest: name.clone(), faults })?;
        let module = inspection.take_wasm();
        let shimmed = with_suspension_points(&module, false).map_err(refused)?;
        let symbols = engine.symbols(&module, shimmed.moved, Backtraces::Lines);
        let code = engine.code_without_slots(&shimmed.wasm).map_err(refused)?;
        Ok(Self {
            engine: engine.clone(),
            code,
            symbols,
            deadline: engine.in_ticks(deadline),
            exports_initialize: inspection.exports_initialize(),
            exports_start: inspection.exports_start(),
            name,
        })
    }

    /// Returns an instance that hasn't been created yet; [`start`](ReplayedInstance::start) does that. It runs on the
    /// caller's stack, of which it may use [`guest_stack_bytes`](crate::EngineBuilder::guest_stack_bytes).
    ///
    /// # Errors
    /// If the module imports anything other than functions.
    pub fn instance<A: Answers>(&self, answers: A) -> Result<ReplayedInstance<'_, A>, LoadError> {
        let module = &self.code.module;
        let refused = |error: wasmtime::Error| LoadError::Compile {
            guest: self.name.clone(),
            reason: format!("{error:#}"),
        };
        let mut linker = Linker::new(module.engine());
        // Go lists some of its imports twice.
        linker.allow_shadowing(true);
        for import in module.imports() {
            if let ExternType::Func(ty) = import.ty() {
                define(&mut linker, import.module(), import.name(), ty).map_err(refused)?;
            }
        }
        let pre = linker.instantiate_pre(module).map_err(refused)?;
        let mut store = Store::new(module.engine(), Data { answers, memory: None });
        store.limiter(|data| data);
        let limit = self.deadline.duration;
        store.epoch_deadline_callback(move |_| Err(Stop::Computed(limit).into()));
        Ok(ReplayedInstance { module: self, pre, store, instance: None })
    }
}

/// How many times as long as the deadline a replayed call may take, since waiting may have extended the time of the
/// recorded call.
const DEADLINE_FACTOR: u64 = 5;

fn define<A: Answers>(
    linker: &mut Linker<Data<A>>,
    module: &str,
    function: &str,
    ty: FuncType,
) -> wasmtime::Result<()> {
    let (from, name) = (module.to_owned(), function.to_owned());
    let result = ty.results().next();
    linker.func_new(module, function, ty, move |mut caller: Caller<'_, Data<A>>, params, results| {
        let args: Vec<_> = params.iter().map(bits).collect();
        let (module, function) = (&*from, &*name);
        let returned = match memory::split(&mut caller) {
            Ok((memory, data)) => data.answers.call(ReplayedCall { module, function, args: &args, memory }),
            Err(_) => {
                let memory = &mut [];
                caller.data_mut().answers.call(ReplayedCall { module, function, args: &args, memory })
            }
        };
        match returned {
            _ if name == "proc_exit" => Err(exit(&args)),
            Returned::Trap(reason) => {
                let known = FUNCTIONS.iter().find(|function| function.name == name);
                let function = known.map_or("a function of WASI", |function| function.name);
                Err(CallError { function, reason: Reason::Replayed(reason) }.into())
            }
            Returned::Value(value) => {
                if let (Some(slot), Some(ty)) = (results.first_mut(), &result) {
                    *slot = match ty {
                        ValType::I64 => Val::I64(value.cast_signed()),
                        _ => Val::I32((value as u32).cast_signed()),
                    };
                }
                Ok(())
            }
        }
    })?;
    Ok(())
}

fn exit(args: &[u64]) -> wasmtime::Error {
    let code = args.first().copied().unwrap_or_default() as u32;
    CallError { function: "proc_exit", reason: Reason::Exit(code) }.into()
}

fn bits(value: &Val) -> u64 {
    match *value {
        Val::I32(value) => value.cast_unsigned().into(),
        Val::I64(value) => value.cast_unsigned(),
        Val::F32(bits) => bits.into(),
        Val::F64(bits) => bits,
        _ => 0,
    }
}

struct Data<A> {
    answers: A,
    memory: Option<Memory>,
}

impl<A: Answers> HasMemory for Data<A> {
    fn memory(&self) -> Option<Memory> {
        self.memory
    }
}

impl<A: Answers> Data<A> {
    fn growth(&mut self, is_table: bool, from: usize, to: usize) -> bool {
        self.answers.growth(TracedGrowth { is_table, from: from as u64, to: to as u64, granted: false })
    }
}

impl<A: Answers> ResourceLimiter for Data<A> {
    fn memory_growing(&mut self, from: usize, to: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.growth(false, from, to))
    }

    fn table_growing(&mut self, from: usize, to: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.growth(true, from, to))
    }
}

/// An instance that is being replayed. See [`ReplayedModule`] for an example.
pub struct ReplayedInstance<'m, A: Answers> {
    module: &'m ReplayedModule,
    pre: InstancePre<Data<A>>,
    store: Store<Data<A>>,
    instance: Option<Instance>,
}

impl<A: Answers> ReplayedInstance<'_, A> {
    /// Returns the source of its results, which was passed to [`ReplayedModule::instance`].
    pub fn answers(&mut self) -> &mut A {
        &mut self.store.data_mut().answers
    }

    /// Creates the instance, and runs its start-up. This must be called once, before the other functions.
    ///
    /// # Errors
    /// If the module can't be instantiated, or its start-up traps, exits with an error, or takes too long.
    pub fn start(&mut self) -> Result<(), Error> {
        let started = self.try_start();
        started.map_err(|error| self.failed(None, &error))
    }

    fn try_start(&mut self) -> wasmtime::Result<()> {
        self.begin();
        let instance = self.pre.instantiate(&mut self.store)?;
        let functions =
            [(self.module.exports_initialize, "_initialize"), (self.module.exports_start, "_start")];
        for (_, name) in functions.into_iter().filter(|(exported, _)| *exported) {
            self.begin();
            let function = instance.get_typed_func::<(), ()>(&mut self.store, name)?;
            match function.call(&mut self.store, ()) {
                // A command that reports success.
                Err(error) if exit_code(&error) == Some(0) => {}
                result => result?,
            }
        }
        self.store.data_mut().memory = instance.get_memory(&mut self.store, "memory");
        self.instance = Some(instance);
        Ok(())
    }

    /// Calls `handle_request`. Returns whether the request proceeds, and the guest's value for
    /// [`handle_response`](Self::handle_response).
    ///
    /// # Errors
    /// If the guest fails, or the instance hasn't been [started](Self::start).
    pub fn handle_request(&mut self) -> Result<(bool, u32), Error> {
        self.begin();
        let packed = self.function("handle_request").and_then(|function| {
            let function = function.typed::<(), u64>(&self.store)?;
            function.call(&mut self.store, ())
        });
        let CtxNext { proceed, req_ctx } =
            CtxNext::unpack(packed.map_err(|error| self.failed(Some(Phase::Request), &error))?);
        Ok((proceed, req_ctx))
    }

    /// Calls `handle_response`, with the value that [`handle_request`](Self::handle_request) returned, and with whether
    /// the next handler failed without a response.
    ///
    /// # Errors
    /// If the guest fails, or the instance hasn't been [started](Self::start).
    pub fn handle_response(&mut self, req_ctx: u32, is_error: bool) -> Result<(), Error> {
        self.begin();
        let called = self.function("handle_response").and_then(|function| {
            let function = function.typed::<(u32, u32), ()>(&self.store)?;
            function.call(&mut self.store, (req_ctx, is_error.into()))
        });
        called.map_err(|error| self.failed(Some(Phase::Response), &error))
    }

    fn function(&mut self, name: &str) -> wasmtime::Result<wasmtime::Func> {
        let instance =
            self.instance.ok_or_else(|| wasmtime::format_err!("the instance hasn't been started"))?;
        let function = instance.get_func(&mut self.store, name);
        function.ok_or_else(|| wasmtime::format_err!("the export `{name}` is missing"))
    }

    /// Begins a call, whose time counts from here.
    fn begin(&mut self) {
        let ticks = self.module.deadline.ticks.saturating_mul(DEADLINE_FACTOR).min(u64::MAX / 4);
        self.store.set_epoch_deadline(ticks);
        self.module.engine.ticks().keep(ticks);
    }

    fn failed(&self, phase: Option<Phase>, error: &wasmtime::Error) -> Error {
        Error::from_wasmtime(self.module.name.clone(), &self.module.symbols, phase, error)
    }
}

fn exit_code(error: &wasmtime::Error) -> Option<u32> {
    match error.downcast_ref::<CallError>()?.reason {
        Reason::Exit(code) => Some(code),
        _ => None,
    }
}

impl fmt::Debug for ReplayedModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayedModule").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<A: Answers> fmt::Debug for ReplayedInstance<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayedInstance").field("module", self.module).finish_non_exhaustive()
    }
}
