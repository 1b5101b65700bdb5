//! Archiving of the write-ahead log.

use super::{ALWAYS, Collector, Series, Yields, counter, gauge};

/// What has been archived and what not.
pub(super) static STAT_ARCHIVER: Collector = Collector {
    name: "stat_archiver",
    sql: "\
SELECT archived_count, failed_count,
       extract(epoch FROM clock_timestamp() - last_archived_time) AS last_archive_age,
       CASE WHEN current_setting('archive_mode') <> 'off'
            THEN coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)
       END AS failing
FROM pg_stat_archiver",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[
            counter(
                "archived_count",
                "pg_stat_archiver_archived_count",
                "Number of WAL files that have been successfully archived.",
            ),
            counter(
                "failed_count",
                "pg_stat_archiver_failed_count",
                "Number of failed attempts for archiving WAL files.",
            ),
            gauge(
                "last_archive_age",
                "pg_stat_archiver_last_archive_age",
                "Time in seconds since the last WAL file was successfully archived.",
            ),
            gauge(
                "failing",
                "valmis_postgres_archiver_failing",
                "Whether the last attempt to archive a WAL file failed; absent where nothing is archived.",
            ),
        ],
    }]),
    ..ALWAYS
};
