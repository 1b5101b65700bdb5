//! What the metrics about the machine mean, by the collectors that tell them.
//!
//! Source of names, types and help texts: `node_exporter`'s `collector/fixtures/e2e-output.txt`, and the
//! collectors themselves for what its tests leave out; `valmis_` ones are ours.

use crate::probe::MetricMetadata;

/// Whether a name that was made from what the kernel calls a field is one of the list. A field that is
/// not is left out, so that everything that is shown is described.
pub(super) fn is_in(list: &[MetricMetadata], name: &str) -> bool {
    list.iter().any(|(known, ..)| *known == name)
}

/// Metrics that are called after fields of the kernel's.
macro_rules! fields {
    ($prefix:literal, $kind:literal, $help:literal: $($field:literal)*) => {
        &[$((concat!($prefix, $field), $kind, concat!($help, $field, "."))),*]
    };
}

macro_rules! netstat {
    ($($protocol:literal $field:literal),* $(,)?) => {
        &[$((
            concat!("node_netstat_", $protocol, "_", $field),
            "untyped",
            concat!("Statistic ", $protocol, $field, "."),
        )),*]
    };
}

macro_rules! sockstat {
    ($($protocol:literal $state:literal),* $(,)?) => {
        &[
            ("node_sockstat_sockets_used", "gauge", "Number of IPv4 sockets in use."),
            $((
                concat!("node_sockstat_", $protocol, "_", $state),
                "gauge",
                concat!("Number of ", $protocol, " sockets in state ", $state, "."),
            )),*
        ]
    };
}

macro_rules! device_counters {
    ($($counter:literal)*) => {
        &[$((
            concat!("node_network_", $counter, "_total"),
            "counter",
            concat!("Network device statistic ", $counter, "."),
        )),*]
    };
}

macro_rules! device_properties {
    ($($property:literal $kind:literal),* $(,)?) => {
        &[
            (
                "node_network_info",
                "gauge",
                "Non-numeric data from /sys/class/net/<iface>, value is always 1.",
            ),
            ("node_network_up", "gauge", "Value is 1 if operstate is 'up', 0 otherwise."),
            $((
                concat!("node_network_", $property),
                $kind,
                concat!("Network device property: ", $property),
            )),*
        ]
    };
}

/// The fields of `/proc/meminfo` that kernels up to 6.18 have.
pub(super) const MEMINFO: &[MetricMetadata] = fields!("node_memory_", "gauge", "Memory information field ":
    "Active_anon_bytes" "Active_bytes" "Active_file_bytes" "AnonHugePages_bytes" "AnonPages_bytes"
    "Balloon_bytes" "Bounce_bytes" "Buffers_bytes" "Cached_bytes" "CmaFree_bytes" "CmaTotal_bytes"
    "CommitLimit_bytes" "Committed_AS_bytes" "DirectMap1G_bytes" "DirectMap2M_bytes"
    "DirectMap4M_bytes" "DirectMap4k_bytes" "Dirty_bytes" "FileHugePages_bytes" "FilePmdMapped_bytes"
    "HardwareCorrupted_bytes" "HighFree_bytes" "HighTotal_bytes" "HugePages_Free" "HugePages_Rsvd"
    "HugePages_Surp" "HugePages_Total" "Hugepagesize_bytes" "Hugetlb_bytes" "Inactive_anon_bytes"
    "Inactive_bytes" "Inactive_file_bytes" "KReclaimable_bytes" "KernelStack_bytes" "LowFree_bytes"
    "LowTotal_bytes" "Mapped_bytes" "MemAvailable_bytes" "MemFree_bytes" "MemTotal_bytes"
    "Mlocked_bytes" "NFS_Unstable_bytes" "PageTables_bytes" "Percpu_bytes" "Quicklists_bytes"
    "SReclaimable_bytes" "SUnreclaim_bytes" "SecPageTables_bytes" "ShmemHugePages_bytes"
    "ShmemPmdMapped_bytes" "Shmem_bytes" "Slab_bytes" "SwapCached_bytes" "SwapFree_bytes"
    "SwapTotal_bytes" "Unaccepted_bytes" "Unevictable_bytes" "VmallocChunk_bytes" "VmallocTotal_bytes"
    "VmallocUsed_bytes" "WritebackTmp_bytes" "Writeback_bytes" "Zswap_bytes" "Zswapped_bytes"
);

/// The fields of `/proc/vmstat` that `node_exporter` shows unless told otherwise.
pub(super) const VMSTAT: &[MetricMetadata] = fields!("node_vmstat_", "untyped", "/proc/vmstat information field ":
    "oom_kill" "pgfault" "pgmajfault" "pgpgin" "pgpgout" "pswpin" "pswpout"
);

/// The statistics of protocols that `node_exporter` shows unless told otherwise.
pub(super) const NETSTAT: &[MetricMetadata] = netstat!(
    "Icmp6" "InErrors", "Icmp6" "InMsgs", "Icmp6" "OutMsgs", "Icmp" "InErrors", "Icmp" "InMsgs",
    "Icmp" "OutMsgs", "Ip6" "InOctets", "Ip6" "OutOctets", "IpExt" "InOctets", "IpExt" "OutOctets",
    "Ip" "Forwarding", "TcpExt" "ListenDrops", "TcpExt" "ListenOverflows", "TcpExt" "SyncookiesFailed",
    "TcpExt" "SyncookiesRecv", "TcpExt" "SyncookiesSent", "TcpExt" "TCPOFOQueue",
    "TcpExt" "TCPRcvQDrop", "TcpExt" "TCPSynRetrans", "TcpExt" "TCPTimeouts", "Tcp" "ActiveOpens",
    "Tcp" "CurrEstab", "Tcp" "InErrs", "Tcp" "InSegs", "Tcp" "OutRsts", "Tcp" "OutSegs",
    "Tcp" "PassiveOpens", "Tcp" "RetransSegs", "Udp6" "InDatagrams", "Udp6" "InErrors",
    "Udp6" "NoPorts", "Udp6" "OutDatagrams", "Udp6" "RcvbufErrors", "Udp6" "SndbufErrors",
    "UdpLite6" "InErrors", "UdpLite" "InErrors", "Udp" "InDatagrams", "Udp" "InErrors",
    "Udp" "NoPorts", "Udp" "OutDatagrams", "Udp" "RcvbufErrors", "Udp" "SndbufErrors",
);

/// Sockets by protocol and state.
pub(super) const SOCKSTAT: &[MetricMetadata] = sockstat!(
    "FRAG6" "inuse", "FRAG6" "memory", "FRAG" "inuse", "FRAG" "memory", "RAW6" "inuse", "RAW" "inuse",
    "TCP6" "inuse", "TCP" "alloc", "TCP" "inuse", "TCP" "mem", "TCP" "mem_bytes", "TCP" "orphan",
    "TCP" "tw", "UDP6" "inuse", "UDPLITE6" "inuse", "UDPLITE" "inuse", "UDP" "inuse", "UDP" "mem",
    "UDP" "mem_bytes",
);

/// What is counted of network devices.
pub(super) const NETDEV: &[MetricMetadata] = device_counters!(
    "receive_bytes" "receive_compressed" "receive_drop" "receive_errs" "receive_fifo" "receive_frame"
    "receive_multicast" "receive_nohandler" "receive_packets" "transmit_bytes" "transmit_carrier"
    "transmit_colls" "transmit_compressed" "transmit_drop" "transmit_errs" "transmit_fifo"
    "transmit_packets"
);

/// What network devices are.
pub(super) const NETCLASS: &[MetricMetadata] = device_properties!(
    "address_assign_type" "gauge", "carrier" "gauge", "carrier_changes_total" "counter",
    "carrier_down_changes_total" "counter", "carrier_up_changes_total" "counter", "device_id" "gauge",
    "dormant" "gauge", "flags" "gauge", "iface_id" "gauge", "iface_link" "gauge",
    "iface_link_mode" "gauge", "mtu_bytes" "gauge", "name_assign_type" "gauge",
    "net_dev_group" "gauge", "protocol_type" "gauge", "speed_bytes" "gauge",
    "transmit_queue_length" "gauge",
);

#[rustfmt::skip]
pub(super) const ARP: &[MetricMetadata] = &[
    ("node_arp_entries", "gauge", "ARP entries by device"),
];

#[rustfmt::skip]
pub(super) const BONDING: &[MetricMetadata] = &[
    ("node_bonding_active", "gauge", "Number of active slaves per bonding interface."),
    ("node_bonding_slaves", "gauge", "Number of configured slaves per bonding interface."),
];

#[rustfmt::skip]
pub(super) const CONNTRACK: &[MetricMetadata] = &[
    ("node_nf_conntrack_entries", "gauge", "Number of currently allocated flow entries for connection tracking."),
    ("node_nf_conntrack_entries_limit", "gauge", "Maximum size of connection tracking table."),
    ("node_nf_conntrack_stat_drop", "gauge", "Number of packets dropped due to conntrack failure."),
    ("node_nf_conntrack_stat_early_drop", "gauge", "Number of dropped conntrack entries to make room for new ones, if maximum table size was reached."),
    ("node_nf_conntrack_stat_found", "gauge", "Number of searched entries which were successful."),
    ("node_nf_conntrack_stat_ignore", "gauge", "Number of packets seen which are already connected to a conntrack entry."),
    ("node_nf_conntrack_stat_insert", "gauge", "Number of entries inserted into the list."),
    ("node_nf_conntrack_stat_insert_failed", "gauge", "Number of entries for which list insertion was attempted but failed."),
    ("node_nf_conntrack_stat_invalid", "gauge", "Number of packets seen which can not be tracked."),
    ("node_nf_conntrack_stat_search_restart", "gauge", "Number of conntrack table lookups which had to be restarted due to hashtable resizes."),
];

#[rustfmt::skip]
pub(super) const CPU: &[MetricMetadata] = &[
    ("node_cpu_core_throttles_total", "counter", "Number of times this CPU core has been throttled."),
    ("node_cpu_guest_seconds_total", "counter", "Seconds the CPUs spent in guests (VMs) for each mode."),
    ("node_cpu_isolated", "gauge", "Whether each core is isolated, information from /sys/devices/system/cpu/isolated."),
    ("node_cpu_online", "gauge", "CPUs that are online and being scheduled."),
    ("node_cpu_package_throttles_total", "counter", "Number of times this CPU package has been throttled."),
    ("node_cpu_seconds_total", "counter", "Seconds the CPUs spent in each mode."),
];

#[rustfmt::skip]
pub(super) const CPUFREQ: &[MetricMetadata] = &[
    ("node_cpu_frequency_max_hertz", "gauge", "Maximum CPU thread frequency in hertz."),
    ("node_cpu_frequency_min_hertz", "gauge", "Minimum CPU thread frequency in hertz."),
    ("node_cpu_scaling_frequency_hertz", "gauge", "Current scaled CPU thread frequency in hertz."),
    ("node_cpu_scaling_frequency_max_hertz", "gauge", "Maximum scaled CPU thread frequency in hertz."),
    ("node_cpu_scaling_frequency_min_hertz", "gauge", "Minimum scaled CPU thread frequency in hertz."),
    ("node_cpu_scaling_governor", "gauge", "Current enabled CPU frequency governor."),
];

#[rustfmt::skip]
pub(super) const DISKSTATS: &[MetricMetadata] = &[
    ("node_disk_ata_rotation_rate_rpm", "gauge", "ATA disk rotation rate in RPMs (0 for SSDs)."),
    ("node_disk_ata_write_cache", "gauge", "ATA disk has a write cache."),
    ("node_disk_ata_write_cache_enabled", "gauge", "ATA disk has its write cache enabled."),
    ("node_disk_device_mapper_info", "gauge", "Info about disk device mapper."),
    ("node_disk_filesystem_info", "gauge", "Info about disk filesystem."),
    ("node_disk_info", "gauge", "Info of /sys/block/<block_device>."),
    ("node_disk_discard_time_seconds_total", "counter", "This is the total number of seconds spent by all discards."),
    ("node_disk_discarded_sectors_total", "counter", "The total number of sectors discarded successfully."),
    ("node_disk_discards_completed_total", "counter", "The total number of discards completed successfully."),
    ("node_disk_discards_merged_total", "counter", "The total number of discards merged."),
    ("node_disk_flush_requests_time_seconds_total", "counter", "This is the total number of seconds spent by all flush requests."),
    ("node_disk_flush_requests_total", "counter", "The total number of flush requests completed successfully"),
    ("node_disk_io_now", "gauge", "The number of I/Os currently in progress."),
    ("node_disk_io_time_seconds_total", "counter", "Total seconds spent doing I/Os."),
    ("node_disk_io_time_weighted_seconds_total", "counter", "The weighted # of seconds spent doing I/Os."),
    ("node_disk_read_bytes_total", "counter", "The total number of bytes read successfully."),
    ("node_disk_read_time_seconds_total", "counter", "The total number of seconds spent by all reads."),
    ("node_disk_reads_completed_total", "counter", "The total number of reads completed successfully."),
    ("node_disk_reads_merged_total", "counter", "The total number of reads merged."),
    ("node_disk_write_time_seconds_total", "counter", "This is the total number of seconds spent by all writes."),
    ("node_disk_writes_completed_total", "counter", "The total number of writes completed successfully."),
    ("node_disk_writes_merged_total", "counter", "The number of writes merged."),
    ("node_disk_written_bytes_total", "counter", "The total number of bytes written successfully."),
];

#[rustfmt::skip]
pub(super) const EDAC: &[MetricMetadata] = &[
    ("node_edac_correctable_errors_total", "counter", "Total correctable memory errors."),
    ("node_edac_csrow_correctable_errors_total", "counter", "Total correctable memory errors for this csrow."),
    ("node_edac_csrow_uncorrectable_errors_total", "counter", "Total uncorrectable memory errors for this csrow."),
    ("node_edac_uncorrectable_errors_total", "counter", "Total uncorrectable memory errors."),
];

#[rustfmt::skip]
pub(super) const ENTROPY: &[MetricMetadata] = &[
    ("node_entropy_available_bits", "gauge", "Bits of available entropy."),
    ("node_entropy_pool_size_bits", "gauge", "Bits of entropy pool."),
];

#[rustfmt::skip]
pub(super) const FILEFD: &[MetricMetadata] = &[
    ("node_filefd_allocated", "gauge", "File descriptor statistics: allocated."),
    ("node_filefd_maximum", "gauge", "File descriptor statistics: maximum."),
];

#[rustfmt::skip]
pub(super) const HWMON: &[MetricMetadata] = &[
    ("node_hwmon_chip_names", "gauge", "Annotation metric for human-readable chip names"),
    ("node_hwmon_sensor_label", "gauge", "Label for given chip and sensor"),
    ("node_hwmon_temp_alarm", "gauge", "Hardware sensor alarm status (temp)"),
    ("node_hwmon_temp_celsius", "gauge", "Hardware monitor for temperature (input)"),
    ("node_hwmon_temp_crit_alarm_celsius", "gauge", "Hardware monitor for temperature (crit_alarm)"),
    ("node_hwmon_temp_crit_celsius", "gauge", "Hardware monitor for temperature (crit)"),
    ("node_hwmon_temp_max_celsius", "gauge", "Hardware monitor for temperature (max)"),
];

#[rustfmt::skip]
pub(super) const KERNEL_HUNG: &[MetricMetadata] = &[
    ("node_kernel_hung_tasks_total", "counter", "Total number of tasks that have been detected as hung since the system booted."),
];

#[rustfmt::skip]
pub(super) const LOADAVG: &[MetricMetadata] = &[
    ("node_load1", "gauge", "1m load average."),
    ("node_load15", "gauge", "15m load average."),
    ("node_load5", "gauge", "5m load average."),
];

#[rustfmt::skip]
pub(super) const MDADM: &[MetricMetadata] = &[
    ("node_md_blocks", "gauge", "Total number of blocks on device."),
    ("node_md_blocks_synced", "gauge", "Number of blocks synced on device."),
    ("node_md_degraded", "gauge", "Number of degraded disks on device."),
    ("node_md_disks", "gauge", "Number of active/failed/spare disks of device."),
    ("node_md_disks_required", "gauge", "Total number of disks of device."),
    ("node_md_raid_disks", "gauge", "Number of raid disks on device."),
    ("node_md_state", "gauge", "Indicates the state of md-device."),
];

#[rustfmt::skip]
pub(super) const PRESSURE: &[MetricMetadata] = &[
    ("node_pressure_cpu_waiting_seconds_total", "counter", "Total time in seconds that processes have waited for CPU time"),
    ("node_pressure_io_stalled_seconds_total", "counter", "Total time in seconds no process could make progress due to IO congestion"),
    ("node_pressure_io_waiting_seconds_total", "counter", "Total time in seconds that processes have waited due to IO congestion"),
    ("node_pressure_irq_stalled_seconds_total", "counter", "Total time in seconds no process could make progress due to IRQ congestion"),
    ("node_pressure_memory_stalled_seconds_total", "counter", "Total time in seconds no process could make progress due to memory congestion"),
    ("node_pressure_memory_waiting_seconds_total", "counter", "Total time in seconds that processes have waited for memory"),
];

#[rustfmt::skip]
pub(super) const SCHEDSTAT: &[MetricMetadata] = &[
    ("node_schedstat_running_seconds_total", "counter", "Number of seconds CPU spent running a process."),
    ("node_schedstat_timeslices_total", "counter", "Number of timeslices executed by CPU."),
    ("node_schedstat_waiting_seconds_total", "counter", "Number of seconds spent by processing waiting for this CPU."),
];

#[rustfmt::skip]
pub(super) const SOFTNET: &[MetricMetadata] = &[
    ("node_softnet_backlog_len", "gauge", "Softnet backlog status"),
    ("node_softnet_cpu_collision_total", "counter", "Number of collision occur while obtaining device lock while transmitting"),
    ("node_softnet_dropped_total", "counter", "Number of dropped packets"),
    ("node_softnet_flow_limit_count_total", "counter", "Number of times flow limit has been reached"),
    ("node_softnet_processed_total", "counter", "Number of processed packets"),
    ("node_softnet_received_rps_total", "counter", "Number of times cpu woken up received_rps"),
    ("node_softnet_times_squeezed_total", "counter", "Number of times processing packets ran out of quota"),
];

#[rustfmt::skip]
pub(super) const STAT: &[MetricMetadata] = &[
    ("node_boot_time_seconds", "gauge", "Node boot time, in unixtime."),
    ("node_context_switches_total", "counter", "Total number of context switches."),
    ("node_forks_total", "counter", "Total number of forks."),
    ("node_intr_total", "counter", "Total number of interrupts serviced."),
    ("node_procs_blocked", "gauge", "Number of processes blocked waiting for I/O to complete."),
    ("node_procs_running", "gauge", "Number of processes in runnable state."),
];

#[rustfmt::skip]
pub(super) const SYSTEMD: &[MetricMetadata] = &[
    ("node_systemd_service_restart_total", "counter", "Service unit count of Restart triggers"),
    ("node_systemd_socket_accepted_connections_total", "counter", "Total number of accepted socket connections"),
    ("node_systemd_socket_current_connections", "gauge", "Current number of socket connections"),
    ("node_systemd_socket_refused_connections_total", "gauge", "Total number of refused socket connections"),
    ("node_systemd_system_running", "gauge", "Whether the system is operational (see 'systemctl is-system-running')"),
    ("node_systemd_timer_last_trigger_seconds", "gauge", "Seconds since epoch of last trigger."),
    ("node_systemd_unit_state", "gauge", "Systemd unit"),
    ("node_systemd_units", "gauge", "Summary of systemd unit states"),
    ("node_systemd_version", "gauge", "Detected systemd version"),
    ("node_systemd_virtualization_info", "gauge", "Detected virtualization technology"),
];

#[rustfmt::skip]
pub(super) const THERMAL_ZONE: &[MetricMetadata] = &[
    ("node_cooling_device_cur_state", "gauge", "Current throttle state of the cooling device"),
    ("node_cooling_device_max_state", "gauge", "Maximum throttle state of the cooling device"),
    ("node_thermal_zone_temp", "gauge", "Zone temperature in Celsius"),
];

#[rustfmt::skip]
pub(super) const TIME: &[MetricMetadata] = &[
    ("node_time_clocksource_available_info", "gauge", "Available clocksources read from '/sys/devices/system/clocksource'."),
    ("node_time_clocksource_current_info", "gauge", "Current clocksource read from '/sys/devices/system/clocksource'."),
    ("node_time_seconds", "gauge", "System time in seconds since epoch (1970)."),
];

#[rustfmt::skip]
pub(super) const TIMEX: &[MetricMetadata] = &[
    ("node_timex_estimated_error_seconds", "gauge", "Estimated error in seconds."),
    ("node_timex_frequency_adjustment_ratio", "gauge", "Local clock frequency adjustment."),
    ("node_timex_loop_time_constant", "gauge", "Phase-locked loop time constant."),
    ("node_timex_maxerror_seconds", "gauge", "Maximum error in seconds."),
    ("node_timex_offset_seconds", "gauge", "Time offset in between local system and reference clock."),
    ("node_timex_pps_calibration_total", "counter", "Pulse per second count of calibration intervals."),
    ("node_timex_pps_error_total", "counter", "Pulse per second count of calibration errors."),
    ("node_timex_pps_frequency_hertz", "gauge", "Pulse per second frequency."),
    ("node_timex_pps_jitter_seconds", "gauge", "Pulse per second jitter."),
    ("node_timex_pps_jitter_total", "counter", "Pulse per second count of jitter limit exceeded events."),
    ("node_timex_pps_shift_seconds", "gauge", "Pulse per second interval duration."),
    ("node_timex_pps_stability_exceeded_total", "counter", "Pulse per second count of stability limit exceeded events."),
    ("node_timex_pps_stability_hertz", "gauge", "Pulse per second stability, average of recent frequency changes."),
    ("node_timex_status", "gauge", "Value of the status array bits."),
    ("node_timex_sync_status", "gauge", "Is clock synchronized to a reliable server (1 = yes, 0 = no)."),
    ("node_timex_tai_offset_seconds", "gauge", "International Atomic Time (TAI) offset."),
    ("node_timex_tick_seconds", "gauge", "Seconds between clock ticks."),
];

#[rustfmt::skip]
pub(super) const UDP_QUEUES: &[MetricMetadata] = &[
    ("node_udp_queues", "gauge", "Number of allocated memory in the kernel for UDP datagrams in bytes."),
];

#[rustfmt::skip]
pub(super) const UNAME: &[MetricMetadata] = &[
    ("node_uname_info", "gauge", "Labeled system information as provided by the uname system call."),
];

#[rustfmt::skip]
pub(super) const ZFS: &[MetricMetadata] = &[
    ("node_zfs_zpool_state", "gauge", "kstat.zfs.misc.state"),
];

/// What the prober tells of itself.
#[rustfmt::skip]
pub(super) const OWN: &[MetricMetadata] = &[
    ("node_exporter_build_info", "gauge", "A metric with a constant '1' value labeled by version, revision, branch, goversion from which node_exporter was built, and the goos and goarch for the build."),
    ("node_scrape_collector_duration_seconds", "gauge", "node_exporter: Duration of a collector scrape."),
    ("node_scrape_collector_success", "gauge", "node_exporter: Whether a collector succeeded."),
    ("valmis_node_devices_dropped", "gauge", "Devices of which nothing is told because there are more than are looked at."),
];

/// What is told of the files that jobs leave. Their reader is no part of this prober, since it has to know
/// the exposition format, which engines may not.
#[rustfmt::skip]
pub const TEXTFILE: &[MetricMetadata] = &[
    ("node_textfile_mtime_seconds", "gauge", "Unixtime mtime of textfiles successfully read."),
    ("node_textfile_scrape_error", "gauge", "1 if there was an error opening or reading a file, 0 otherwise"),
];
