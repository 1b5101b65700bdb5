//! Rule files and PrometheusRule manifests as typed groups.

mod yaml;
