//! A finding before it has its place in a file.

use super::Lint;
use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::model::{LineColumn, Span};
use crate::yaml::compose::Placement;

/// What of a rule a finding is about.
#[derive(Debug, Clone)]
pub(super) enum About {
    /// A part of the expression.
    Expr(Span),
    /// The name.
    Name,
    /// A part of the value of one of its labels.
    Label(String, Span),
    /// A part of one of its annotations.
    Annotation(String, Span),
}

/// Something about a rule.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    about: About,
    message: String,
    hint: Option<String>,
    fix: Option<String>,
}

impl Finding {
    pub(super) fn new(about: About, message: impl Into<String>) -> Self {
        Self { about, message: message.into(), hint: None, fix: None }
    }

    pub(super) fn expr(span: Span, message: impl Into<String>) -> Self {
        Self::new(About::Expr(span), message)
    }

    /// Adds what to do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what may stand in its place.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// The finding as people see it.
    pub(super) fn placed(self, lint: &'static Lint, subject: &Subject<'_>) -> Diagnostic {
        let places = &subject.rule.places;
        let LineColumn { line, column } = places.name;
        let name = (places.name, Some(LineColumn { line, column: column + subject.rule.name().len() }));
        let within = |placement: Option<&Placement>, span: Span| match placement {
            Some(placement) => (placement.place(span.start), Some(placement.end(span.end))),
            // The label is that of the group.
            None => name,
        };
        let (place, end): (LineColumn, Option<LineColumn>) = match &self.about {
            About::Expr(span) => within(Some(&places.expr), *span),
            About::Name => name,
            About::Label(label, span) => within(places.labels.get(label), *span),
            About::Annotation(annotation, span) => within(places.annotations.get(annotation), *span),
        };
        let mut finding = Diagnostic::warning(lint.name, self.message).at(&subject.file.path, Some(place));
        finding.severity = lint.severity;
        finding.end = end.filter(|end| *end > place);
        finding.hint = self.hint;
        finding.fix = self.fix;
        finding
    }
}
