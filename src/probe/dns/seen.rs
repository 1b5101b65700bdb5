//! What a DNS probe has seen so far, and the samples it makes of it.

use std::time::Duration;

use super::super::MetricMetadata;
use super::super::connect::{self, Route};
use super::super::conversation::shown;
use super::super::outcome::{self, Course, Findings};
use super::super::samples::SampleSet;
use super::super::tls::{self, Handshake};
use crate::dns::{Message, Record, RecordType};

/// The metrics of the DNS prober alone. Source of names, meanings and help texts: blackbox exporter
/// `prober/dns.go`.
const OWN_METADATA: &[MetricMetadata] = &[
    ("probe_dns_duration_seconds", "gauge", "Duration of DNS request by phase"),
    ("probe_dns_answer_rrs", "gauge", "Returns number of entries in the answer resource record list"),
    ("probe_dns_authority_rrs", "gauge", "Returns number of entries in the authority resource record list"),
    ("probe_dns_additional_rrs", "gauge", "Returns number of entries in the additional resource record list"),
    ("probe_dns_query_succeeded", "gauge", "Displays whether or not the query was executed successfully"),
    ("probe_dns_serial", "gauge", "Returns the serial number of the zone"),
];

/// The metrics of the DNS prober.
pub const METADATA: &[&[MetricMetadata]] =
    &[outcome::METADATA, connect::METADATA, OWN_METADATA, tls::METADATA];

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) course: Course,
    pub(super) route: Route,
    /// How long it took to be able to ask.
    pub(super) connect: Duration,
    /// How long it took to ask and to get an answer.
    pub(super) request: Duration,
    /// What is known of the server's certificates, once TLS began.
    pub(super) handshake: Option<Handshake>,
    /// Whether there was an answer.
    succeeded: bool,
    /// How many records came in the sections answer, authority and additional.
    counts: [usize; 3],
    /// The serial number of the zone, if it was asked for and told.
    serial: Option<u32>,
}

impl Seen {
    /// Notes the answer.
    pub(super) fn answered(&mut self, message: &Message, asked: RecordType) {
        let sections = [&message.answer, &message.authority, &message.additional];
        self.succeeded = true;
        self.counts = sections.map(Vec::len);
        if asked == RecordType::SOA {
            self.serial = message.answer.iter().filter_map(Record::soa_serial).next_back();
        }
        let cut = if message.truncated { ", cut to fit into a datagram" } else { "" };
        self.course.note(format!("the server answered {}{cut}", message.code));
        for (name, records) in ["answer", "authority", "additional"].into_iter().zip(sections) {
            for record in records {
                self.course.note(format!("{name}: {}", shown(record.to_string().as_bytes())));
            }
        }
    }
}

impl Findings for Seen {
    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn emit(&self, samples: &mut SampleSet) {
        self.route.emit(samples);
        let phases = [
            ("resolve", self.route.lookup_seconds),
            ("connect", self.connect.as_secs_f64()),
            ("request", self.request.as_secs_f64()),
        ];
        for (phase, seconds) in phases {
            samples.labelled("probe_dns_duration_seconds", &[("phase", phase)], seconds);
        }
        samples.flag("probe_dns_query_succeeded", self.succeeded);
        // Without an answer they are 0, as in blackbox exporter; the sample before says which it is.
        let names = ["probe_dns_answer_rrs", "probe_dns_authority_rrs", "probe_dns_additional_rrs"];
        for (name, count) in names.into_iter().zip(self.counts) {
            samples.gauge(name, count as f64);
        }
        if let Some(serial) = self.serial {
            samples.gauge("probe_dns_serial", f64::from(serial));
        }
        if let Some(handshake) = &self.handshake {
            handshake.facts().emit(samples);
        }
    }
}
