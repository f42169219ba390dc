//! The flags of `update`.

use std::path::PathBuf;

use clap::Args;

/// `update`. Numbers as runc takes them: bytes with or without a unit (512m), -1 for no limit, 0 for no change.
#[derive(Args, Clone, Debug)]
pub(crate) struct UpdateArgs {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    pub(crate) id: String,
    /// File with an OCI resources object, or - for standard input; all other flags are then ignored.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,
    /// Weight of block devices, 10 to 1000.
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) blkio_weight: Option<u16>,
    /// Length of a scheduling period in microseconds.
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<u64>,
    /// Processor time in a period, in microseconds.
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Processor time that may be saved up, in microseconds.
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_burst: Option<u64>,
    /// Share of the processors beside other containers, 2 to 262144.
    #[arg(long, visible_alias = "cpu-shares", value_name = "SHARES")]
    pub(crate) cpu_share: Option<u64>,
    /// Length of a realtime period in microseconds.
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Realtime processor time in a period, in microseconds.
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// 1: only when nobody else wants the processors; 0: not.
    #[arg(long, value_name = "0|1")]
    pub(crate) cpu_idle: Option<i64>,
    /// Processors, as 0-2,5.
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes, as 0-1.
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,
    /// Memory in bytes.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = crate::quantity::bytes)]
    pub(crate) memory: Option<i64>,
    /// Memory in bytes that is left when others want some.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = crate::quantity::bytes)]
    pub(crate) memory_reservation: Option<i64>,
    /// Memory and swap together, in bytes.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = crate::quantity::bytes)]
    pub(crate) memory_swap: Option<i64>,
    /// Number of processes.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Schema of Intel's cache allocation; not supported.
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) l3_cache_schema: Option<String>,
    /// Schema of Intel's memory bandwidth allocation; not supported.
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) mem_bw_schema: Option<String>,
}
