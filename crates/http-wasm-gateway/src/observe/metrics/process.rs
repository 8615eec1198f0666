//! Metrics of the process, with the names that Prometheus's own clients use.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Queries the system at each scrape.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let wanted = ProcessRefreshKind::nothing().without_tasks().with_memory().with_cpu();
        let Some(now) = query(wanted, Numbers::of) else { return Ok(()) };
        let to = &mut encoder;
        let cpu = ConstCounter::new(now.cpu_millis as f64 / 1000.0);
        encode_metric(
            to,
            "process_cpu",
            "User and system CPU time of the process.",
            Some(&Unit::Seconds),
            &cpu,
        )?;
        let memory = ConstGauge::new(now.memory);
        encode_metric(
            to,
            "process_resident_memory",
            "Resident memory of the process.",
            Some(&Unit::Bytes),
            &memory,
        )?;
        let start = ConstGauge::new(now.start);
        encode_metric(
            to,
            "process_start_time",
            "When the process was started, since the Unix epoch.",
            Some(&Unit::Seconds),
            &start,
        )?;
        if let Some(open) = now.open_files {
            encode_metric(
                to,
                "process_open_fds",
                "Open file descriptors.",
                None,
                &ConstGauge::new(open as u64),
            )?;
        }
        if let Some(limit) = now.open_files_limit {
            encode_metric(
                to,
                "process_max_fds",
                "Maximum number of open file descriptors.",
                None,
                &ConstGauge::new(limit as u64),
            )?;
        }
        Ok(())
    }
}

/// The resident memory of this process in bytes, if the system reports it.
pub(crate) fn resident_memory() -> Option<u64> {
    query(ProcessRefreshKind::nothing().without_tasks().with_memory(), sysinfo::Process::memory)
}

struct Numbers {
    cpu_millis: u64,
    memory: u64,
    start: u64,
    open_files: Option<usize>,
    open_files_limit: Option<usize>,
}

impl Numbers {
    fn of(process: &sysinfo::Process) -> Self {
        Self {
            cpu_millis: process.accumulated_cpu_time(),
            memory: process.memory(),
            start: process.start_time(),
            open_files: process.open_files(),
            open_files_limit: process.open_files_limit(),
        }
    }
}

fn query<T>(wanted: ProcessRefreshKind, read: impl FnOnce(&sysinfo::Process) -> T) -> Option<T> {
    let pid = Pid::from_u32(std::process::id());
    let mut system = System::new();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, wanted);
    system.process(pid).map(read)
}

fn encode_metric(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}
