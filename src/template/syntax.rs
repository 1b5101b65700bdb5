//! The tree of a template. Every part prints as Go prints it, since its messages show parts so.

use std::fmt::{self, Display, Formatter};

use crate::model::quote;

/// What a template consists of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// Prints a value, or sets variables.
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    /// Runs another template; without a pipeline its dot is nil.
    Template(Invocation),
    Break,
    Continue,
}

/// `{{template "name" pipeline}}`
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Invocation {
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) argument: Option<Pipeline>,
}

/// A control action with its two bodies.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// `$x := a | b | c`
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    pub(super) at: usize,
    /// The variables that are set.
    pub(super) variables: Vec<String>,
    /// Whether these exist already (`=`).
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand, or a function or method with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) words: Vec<Operand>,
}

/// One word of a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) kind: OperandKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum OperandKind {
    /// The name of a function.
    Identifier(String),
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    String {
        value: String,
        /// As it was written.
        source: String,
    },
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`, the dollar in the name.
    Variable(String, Vec<String>),
    /// `(…).a.b`
    Chain(Box<Operand>, Vec<String>),
    Pipeline(Pipeline),
}

/// A number as it was written, with its value as integer and as float, where it has one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    pub(super) source: String,
    pub(super) integer: Option<i64>,
    pub(super) float: f64,
}

impl Number {
    /// Whether it is a float where nothing else decides: it has a fraction or an exponent.
    pub(super) fn is_float(&self) -> bool {
        let hexadecimal = self.source.to_ascii_lowercase().contains("0x");
        let marks: &[char] = if hexadecimal { &['.', 'p', 'P'] } else { &['.', 'e', 'E'] };
        !self.source.starts_with('\'') && self.source.contains(marks)
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            let separator = if index == 0 { "" } else { " | " };
            write!(f, "{separator}{command}")?;
        }
        Ok(())
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{word}")?;
        }
        Ok(())
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut Formatter<'_>, names: &[String]| -> fmt::Result {
            names.iter().try_for_each(|name| write!(f, ".{name}"))
        };
        match &self.kind {
            OperandKind::Identifier(name) => f.write_str(name),
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Bool(value) => write!(f, "{value}"),
            OperandKind::Number(number) => f.write_str(&number.source),
            OperandKind::String { source, .. } => f.write_str(source),
            OperandKind::Field(names) => fields(f, names),
            OperandKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            OperandKind::Chain(operand, names) => {
                write!(f, "{operand}")?;
                fields(f, names)
            }
            OperandKind::Pipeline(pipeline) => write!(f, "({pipeline})"),
        }
    }
}

impl Display for Invocation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", quote(&self.name))?;
        if let Some(argument) = &self.argument {
            write!(f, " {argument}")?;
        }
        f.write_str("}}")
    }
}
