//! Holding a dialog.

use super::{Expect, QueryResponse, TlsStart};
use crate::clock::SharedClock;
use crate::probe::conversation::{Conversation, shown};
use crate::probe::outcome::{Course, Findings};
use crate::probe::samples::SampleSet;
use crate::probe::starttls::before_tls;
use crate::probe::tls::{Handshake, TlsConfig};
use crate::probe::wire::{BoxStream, Stream};
use crate::probe::{Pattern, ProbeFailure};

/// The longest value of a label that a server may fill, in bytes.
const MAX_LABEL_BYTES: usize = 1 << 10;

/// How to talk TLS, and with whom.
pub(in crate::probe) struct TlsTerms<'a> {
    pub(in crate::probe) config: &'a TlsConfig,
    /// The server's name if the configuration does not give another.
    pub(in crate::probe) host: &'a str,
    pub(in crate::probe) clock: &'a SharedClock,
}

/// What came of a dialog so far.
#[derive(Debug, Default)]
pub(in crate::probe) struct Talk {
    pub(in crate::probe) course: Course,
    /// What is known of the server's certificates, once TLS began.
    handshake: Option<Handshake>,
    failed_due_to_regex: bool,
    failed_due_to_bytes: bool,
    /// The labels of each line that was to be told of.
    infos: Vec<Vec<(String, String)>>,
}

impl Talk {
    /// Holds the dialog over a new connection.
    pub(in crate::probe) async fn hold(
        &mut self,
        stream: impl Stream + 'static,
        steps: &[QueryResponse],
        start: TlsStart,
        terms: &TlsTerms<'_>,
    ) -> Result<(), ProbeFailure> {
        let mut peer = match start {
            TlsStart::Dialog => Conversation::new(stream),
            TlsStart::Immediately => self.secure(Box::new(stream), terms).await?,
            TlsStart::Protocol(protocol) => {
                self.course.begin(format!("asking for TLS by {}", protocol.as_str()));
                let stream = protocol.negotiate(Conversation::new(stream), terms.host).await?;
                self.course.note(format!("the server agreed to TLS by {}", protocol.as_str()));
                self.secure(stream, terms).await?
            }
        };
        for step in steps {
            peer = self.step(peer, step, terms).await?;
        }
        Ok(())
    }

    async fn step(
        &mut self,
        mut peer: Conversation,
        step: &QueryResponse,
        terms: &TlsTerms<'_>,
    ) -> Result<Conversation, ProbeFailure> {
        let mut send = step.send.clone();
        match &step.expect {
            None => {}
            Some(Expect::Line { pattern, labels }) => {
                let line = self.expect_line(&mut peer, pattern).await?;
                let expand = |template: &[u8]| pattern.expand(&line, template).unwrap_or_default();
                send = expand(&send);
                if !labels.is_empty() {
                    let value =
                        |template: &String| cut(String::from_utf8_lossy(&expand(template.as_bytes())).into());
                    self.infos.push(
                        labels.iter().map(|(name, template)| (name.clone(), value(template))).collect(),
                    );
                }
            }
            Some(Expect::Bytes(expected)) => self.expect_bytes(&mut peer, expected).await?,
        }
        if !send.is_empty() {
            self.course.begin("sending");
            // A message with a zero in it is no line. PostgreSQL, for one, would take the newline for the
            // beginning of TLS.
            if !send.contains(&0) {
                send.push(b'\n');
            }
            // It may be a password, and is not shown.
            self.course.note(format!("sending {} bytes", send.len()));
            peer.send(&send).await?;
        }
        if step.starttls { self.secure(before_tls(peer)?, terms).await } else { Ok(peer) }
    }

    /// The first line that matches.
    async fn expect_line(
        &mut self,
        peer: &mut Conversation,
        pattern: &Pattern,
    ) -> Result<Vec<u8>, ProbeFailure> {
        self.course.begin(format!("waiting for a line that matches `{pattern}`"));
        while let Some(line) = peer.line().await? {
            let (line, found) = pattern.expand_aside(line, b"").await?;
            if found.is_some() {
                self.course.note(format!("line {} matches `{pattern}`", shown(&line)));
                return Ok(line);
            }
            self.course.note(format!("line {}", shown(&line)));
        }
        self.failed_due_to_regex = true;
        let reason = format!("the server closed the connection, and no line matched `{pattern}`");
        Err(ProbeFailure::new("expect", reason))
    }

    async fn expect_bytes(&mut self, peer: &mut Conversation, expected: &[u8]) -> Result<(), ProbeFailure> {
        self.course.begin(format!("waiting for {} bytes", expected.len()));
        let said = peer.exact(expected.len()).await?;
        if said != expected {
            self.failed_due_to_bytes = true;
            let reason = format!("the server sent {}, {} was expected", shown(&said), shown(expected));
            return Err(ProbeFailure::new("expect", reason));
        }
        self.course.note(format!("got {} bytes as expected", expected.len()));
        Ok(())
    }

    /// Goes on in TLS.
    async fn secure(
        &mut self,
        stream: BoxStream,
        terms: &TlsTerms<'_>,
    ) -> Result<Conversation, ProbeFailure> {
        self.course.begin("preparing TLS");
        let tls = terms.config.prepare(terms.host, &[], terms.clock).await?;
        let handshake = self.handshake.insert(tls.handshake()).clone();
        self.course.begin("shaking hands in TLS");
        let stream = tls.connect(stream).await?;
        self.course.note("TLS began");
        handshake.note_doubts(&mut self.course);
        Ok(Conversation::new(stream))
    }
}

impl Findings for Talk {
    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn emit(&self, samples: &mut SampleSet) {
        samples.flag("probe_failed_due_to_regex", self.failed_due_to_regex);
        samples.flag("probe_failed_due_to_bytes", self.failed_due_to_bytes);
        for (at, info) in self.infos.iter().enumerate() {
            if !self.infos[..at].contains(info) {
                let labels: Vec<_> =
                    info.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                samples.labelled("probe_expect_info", &labels, 1.0);
            }
        }
        if let Some(handshake) = &self.handshake {
            handshake.facts().emit(samples);
        }
    }
}

fn cut(mut value: String) -> String {
    value.truncate(value.floor_char_boundary(MAX_LABEL_BYTES));
    value
}
