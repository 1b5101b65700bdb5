//! Running a template: Go's `text/template/exec.go` for the values that templates have here.

use std::sync::Arc;

use crate::model::quote;

use super::facts;
use super::functions::{self, Param, Signature};
use super::parser::{Fault, Trees};
use super::syntax::{Branch, Command, Invocation, Node, Operand, OperandKind, Pipeline};
use super::value::{Alert, Value};
use super::{Context, PREDEFINED, methods, printf};

/// How many steps a template may take: a step is a node, a command or a round of a loop.
const MAX_STEPS: usize = 1_000_000;

/// How long a text may become, in bytes: the output and every value.
const MAX_TEXT: usize = 1 << 20;

/// How deeply templates may call one another.
const MAX_DEPTH: usize = 50;

/// Runs the main template. The fault's message names the part at fault as Go does.
pub(super) fn run(trees: &Trees, name: &str, context: &Context<'_>) -> Result<String, Fault> {
    let alert = Arc::new(Alert {
        labels: context.labels.clone(),
        external_labels: context.external_labels.clone(),
        external_url: context.external_url.to_owned(),
        value: context.value,
        facts: facts::values(&context.facts),
    });
    let values = [
        Value::Labels(alert.labels.clone()),
        Value::Labels(alert.external_labels.clone()),
        alert.external_url.as_str().into(),
        Value::Float(alert.value),
    ];
    let facts = facts::NAMES.iter().map(|(variable, _)| *variable).zip(alert.facts.iter().cloned());
    let mut variables: Vec<_> = PREDEFINED.into_iter().zip(values).chain(facts).collect();
    let dot = Value::Alert(alert);
    variables.insert(0, ("$", dot.clone()));
    let mut run = Run { trees, context, variables, out: String::new(), steps: 0, depth: 0, place: None };
    match run.nodes(&dot, &trees.main) {
        Ok(_) => Ok(run.out),
        Err(message) => Err(run.located(name, &message)),
    }
}

/// Why a run ends early; the place is known to the run.
type Outcome<T> = Result<T, String>;

/// What a list of nodes asks the loop around it to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// The part of the template that is at work.
#[derive(Debug, Clone, Copy)]
enum Place<'t> {
    Pipeline(&'t Pipeline),
    Command(&'t Command),
    Operand(&'t Operand),
    Invocation(&'t Invocation),
}

struct Run<'t> {
    trees: &'t Trees,
    context: &'t Context<'t>,
    /// Those in force, the innermost last.
    variables: Vec<(&'t str, Value)>,
    out: String,
    steps: usize,
    depth: usize,
    place: Option<Place<'t>>,
}

impl<'t> Run<'t> {
    fn located(&self, name: &str, message: &str) -> Fault {
        let (at, part) = match self.place {
            None => (0, String::new()),
            Some(Place::Pipeline(pipeline)) => (pipeline.at, pipeline.to_string()),
            Some(Place::Command(command)) => (command.at, command.to_string()),
            Some(Place::Operand(operand)) => (operand.at, operand.to_string()),
            Some(Place::Invocation(invocation)) => (invocation.at, invocation.to_string()),
        };
        Fault { at, message: format!("executing {} at <{part}>: {message}", quote(name)) }
    }

    fn step(&mut self) -> Outcome<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(format!("template takes more than {MAX_STEPS} steps"));
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Outcome<()> {
        self.out.push_str(text);
        check_length(self.out.len())
    }

    fn nodes(&mut self, dot: &Value, nodes: &'t [Node]) -> Outcome<Flow> {
        for node in nodes {
            self.step()?;
            let flow = match node {
                Node::Text(text) => {
                    self.write(text)?;
                    Flow::On
                }
                Node::Action(pipeline) => {
                    let value = self.pipeline(dot, pipeline)?;
                    if pipeline.variables.is_empty() {
                        let text = match value {
                            Value::Nil => "<no value>".to_owned(),
                            value => printf::default_form(&value),
                        };
                        self.write(&text)?;
                    }
                    Flow::On
                }
                Node::If(branch) => self.condition(dot, branch, false)?,
                Node::With(branch) => self.condition(dot, branch, true)?,
                Node::Range(branch) => self.range(dot, branch)?,
                Node::Template(invocation) => {
                    self.invocation(dot, invocation)?;
                    Flow::On
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn condition(&mut self, dot: &Value, branch: &'t Branch, sets_dot: bool) -> Outcome<Flow> {
        let known = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let flow = if !value.is_true() {
            self.nodes(dot, &branch.otherwise)
        } else if sets_dot {
            self.nodes(&value, &branch.body)
        } else {
            self.nodes(dot, &branch.body)
        };
        self.variables.truncate(known);
        flow
    }

    fn range(&mut self, dot: &Value, branch: &'t Branch) -> Outcome<Flow> {
        let known = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let declared = self.variables.len();
        let entry = |index: usize| Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
        let mut rounds = 0;
        let mut round = |run: &mut Self, key: Value, element: Value| {
            rounds += 1;
            run.round(branch, key, &element, declared)
        };
        match &value {
            Value::Samples(samples) => {
                for (index, sample) in samples.iter().enumerate() {
                    if round(self, entry(index), Value::Sample(Arc::clone(sample)))? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Labels(labels) => {
                for (name, value) in labels.iter() {
                    if round(self, name.into(), value.into())? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Args(args) => {
                for (name, value) in args.iter() {
                    if round(self, name.as_str().into(), value.clone())? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Int(count) => {
                if branch.pipeline.variables.len() > 1 {
                    return Err(format!("can't use {count} to iterate over more than one variable"));
                }
                for index in 0..*count {
                    if round(self, Value::Int(index), Value::Int(index))? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Nil => {}
            other => {
                return Err(format!("range can't iterate over {}", printf::default_form(other)));
            }
        }
        let flow = if rounds == 0 { self.nodes(dot, &branch.otherwise)? } else { Flow::On };
        self.variables.truncate(known);
        Ok(flow)
    }

    /// One round of a loop: its variables are set, and those that it declares are forgotten.
    fn round(&mut self, branch: &'t Branch, key: Value, element: &Value, declared: usize) -> Outcome<Flow> {
        self.step()?;
        let pipeline = &branch.pipeline;
        let values = match &pipeline.variables[..] {
            [_] => vec![element.clone()],
            [_, _] => vec![key, element.clone()],
            _ => Vec::new(),
        };
        for (offset, (name, value)) in pipeline.variables.iter().zip(values).enumerate() {
            if pipeline.assigns {
                self.assign(name, value)?;
            } else {
                let first = declared - pipeline.variables.len();
                self.variables[first + offset].1 = value;
            }
        }
        let flow = self.nodes(element, &branch.body)?;
        self.variables.truncate(declared);
        Ok(flow)
    }

    fn invocation(&mut self, dot: &Value, invocation: &'t Invocation) -> Outcome<()> {
        self.place = Some(Place::Invocation(invocation));
        let Some(body) = self.trees.defined.get(&invocation.name) else {
            return Err(format!("template {} not defined", quote(&invocation.name)));
        };
        if self.depth == MAX_DEPTH {
            return Err(format!("exceeded maximum template depth ({MAX_DEPTH})"));
        }
        let argument = match &invocation.argument {
            Some(pipeline) => self.pipeline(dot, pipeline)?,
            None => Value::Nil,
        };
        self.depth += 1;
        let outer = std::mem::replace(&mut self.variables, vec![("$", argument.clone())]);
        self.nodes(&argument, body)?;
        self.variables = outer;
        self.depth -= 1;
        Ok(())
    }

    fn pipeline(&mut self, dot: &Value, pipeline: &'t Pipeline) -> Outcome<Value> {
        self.place = Some(Place::Pipeline(pipeline));
        let mut value = None;
        for command in &pipeline.commands {
            self.step()?;
            let result = self.command(dot, command, value.take())?;
            check_length(result.size())?;
            value = Some(result);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipeline.variables {
            if pipeline.assigns {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    fn assign(&mut self, name: &str, value: Value) -> Outcome<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, place)) => {
                *place = value;
                Ok(())
            }
            None => Err(format!("undefined variable: {name}")),
        }
    }

    /// A command with the value of the command before it, which is its last argument.
    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<Value>) -> Outcome<Value> {
        let (first, args) = command.words.split_first().ok_or("empty command")?;
        match &first.kind {
            OperandKind::Identifier(name) => {
                self.place = Some(Place::Operand(first));
                return self.function(dot, name, Place::Command(command), args, last);
            }
            OperandKind::Field(names) => {
                self.place = Some(Place::Operand(first));
                return self.fields(dot, dot.clone(), names, args, last);
            }
            OperandKind::Variable(name, names) if !names.is_empty() => {
                self.place = Some(Place::Operand(first));
                let value = self.variable(name)?;
                return self.fields(dot, value, names, args, last);
            }
            OperandKind::Chain(inner, names) => {
                self.place = Some(Place::Operand(first));
                let value = self.operand(dot, inner)?;
                return self.fields(dot, value, names, args, last);
            }
            OperandKind::Nil => {
                self.place = Some(Place::Operand(first));
                return Err("nil is not a command".to_owned());
            }
            _ => {}
        }
        if !args.is_empty() || last.is_some() {
            self.place = Some(Place::Operand(first));
            return Err(format!("can't give argument to non-function {first}"));
        }
        self.operand(dot, first)
    }

    /// The value of a word by itself.
    fn operand(&mut self, dot: &Value, operand: &'t Operand) -> Outcome<Value> {
        self.place = Some(Place::Operand(operand));
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Value::Nil),
            OperandKind::Bool(value) => Ok(Value::Bool(*value)),
            OperandKind::Number(number) if number.is_float() => Ok(Value::Float(number.float)),
            OperandKind::Number(number) => {
                number.integer.map(Value::Int).ok_or_else(|| format!("{} overflows int", number.source))
            }
            OperandKind::String { value, .. } => Ok(value.as_str().into()),
            OperandKind::Identifier(name) => self.function(dot, name, Place::Operand(operand), &[], None),
            OperandKind::Field(names) => self.fields(dot, dot.clone(), names, &[], None),
            OperandKind::Variable(name, names) => {
                let value = self.variable(name)?;
                self.fields(dot, value, names, &[], None)
            }
            OperandKind::Chain(inner, names) => {
                let value = self.operand(dot, inner)?;
                self.fields(dot, value, names, &[], None)
            }
            OperandKind::Pipeline(pipeline) => self.pipeline(dot, pipeline),
        }
    }

    fn variable(&self, name: &str) -> Outcome<Value> {
        let found = self.variables.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| format!("undefined variable: {name}"))
    }

    /// The field of a field of a value; the last one may be a method with arguments.
    fn fields(
        &mut self,
        dot: &Value,
        mut value: Value,
        names: &'t [String],
        args: &'t [Operand],
        last: Option<Value>,
    ) -> Outcome<Value> {
        let Some((final_name, names)) = names.split_last() else {
            return Ok(value);
        };
        for name in names {
            value = self.field(dot, &value, name, &[], None)?;
        }
        self.field(dot, &value, final_name, args, last)
    }

    fn field(
        &mut self,
        dot: &Value,
        value: &Value,
        name: &str,
        args: &'t [Operand],
        last: Option<Value>,
    ) -> Outcome<Value> {
        if let Some(params) = methods::params(value, name) {
            let signature = Signature { params, variadic: false };
            let args = self.arguments(dot, name, signature, args, last)?;
            return Ok(methods::call(value, name, &args));
        }
        let has_arguments = !args.is_empty() || last.is_some();
        let no_call = |kind: &str| Err(format!("{name} {kind}"));
        let found = match (value, name) {
            (Value::Nil, _) => return Ok(Value::Nil),
            (Value::Labels(_) | Value::Args(_), _) if has_arguments => {
                return no_call("is not a method but has arguments");
            }
            // What is missing in a map is the zero value of its entries.
            (Value::Labels(labels), name) => return Ok(labels.get(name).into()),
            (Value::Args(args), name) => return Ok(args.get(name).cloned().unwrap_or(Value::Nil)),
            (Value::Alert(alert), "Labels") => Some(Value::Labels(alert.labels.clone())),
            (Value::Alert(alert), "ExternalLabels") => Some(Value::Labels(alert.external_labels.clone())),
            (Value::Alert(alert), "ExternalURL") => Some(alert.external_url.as_str().into()),
            (Value::Alert(alert), "Value") => Some(Value::Float(alert.value)),
            (Value::Alert(alert), name) => {
                let mut facts = facts::NAMES.iter().zip(&alert.facts);
                facts.find(|((_, field), _)| *field == name).map(|(_, value)| value.clone())
            }
            (Value::Sample(sample), "Labels") => Some(Value::Labels(sample.labels.clone())),
            (Value::Sample(sample), "Value") => Some(Value::Float(sample.value)),
            _ => None,
        };
        match found {
            Some(_) if has_arguments => no_call("has arguments but cannot be invoked as function"),
            Some(value) => Ok(value),
            None => Err(format!("can't evaluate field {name} in type {}", value.type_name())),
        }
    }

    /// Calls a function; an error of its own is one of the place `call`.
    fn function(
        &mut self,
        dot: &Value,
        name: &str,
        call: Place<'t>,
        args: &'t [Operand],
        last: Option<Value>,
    ) -> Outcome<Value> {
        let signature =
            functions::signature(name).ok_or_else(|| format!("{} is not a defined function", quote(name)))?;
        if matches!(name, "and" | "or") {
            return self.short_circuit(dot, name, signature, args, last);
        }
        let args = self.arguments(dot, name, signature, args, last)?;
        functions::call(name, args, self.context).map_err(|message| {
            self.place = Some(call);
            format!("error calling {name}: {message}")
        })
    }

    /// `and` and `or` stop at the first argument that decides.
    fn short_circuit(
        &mut self,
        dot: &Value,
        name: &str,
        signature: Signature,
        args: &'t [Operand],
        last: Option<Value>,
    ) -> Outcome<Value> {
        check_count(name, signature, args.len() + usize::from(last.is_some()))?;
        let mut value = Value::Nil;
        for arg in args {
            value = self.operand(dot, arg)?;
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// The values of arguments, checked against what is wanted.
    fn arguments(
        &mut self,
        dot: &Value,
        name: &str,
        signature: Signature,
        args: &'t [Operand],
        last: Option<Value>,
    ) -> Outcome<Vec<Value>> {
        check_count(name, signature, args.len() + usize::from(last.is_some()))?;
        let mut values = Vec::with_capacity(args.len() + 1);
        for arg in args {
            let param = signature.params.get(values.len()).copied().unwrap_or(Param::Any);
            self.place = Some(Place::Operand(arg));
            check_constant(param, arg)?;
            let value = self.operand(dot, arg)?;
            check_type(param, &value)?;
            values.push(value);
        }
        if let Some(value) = last {
            let param = signature.params.get(values.len()).copied().unwrap_or(Param::Any);
            check_type(param, &value)?;
            values.push(value);
        }
        Ok(values)
    }
}

fn check_length(bytes: usize) -> Outcome<()> {
    if bytes > MAX_TEXT { Err(format!("text is longer than {MAX_TEXT} bytes")) } else { Ok(()) }
}

fn check_count(name: &str, signature: Signature, found: usize) -> Outcome<()> {
    let wanted = signature.params.len();
    match signature.variadic {
        true if found < wanted => {
            Err(format!("wrong number of args for {name}: want at least {wanted} got {found}"))
        }
        false if found != wanted => {
            Err(format!("wrong number of args for {name}: want {wanted} got {found}"))
        }
        _ => Ok(()),
    }
}

/// Constants are refused for what they are, before they have a type.
fn check_constant(param: Param, arg: &Operand) -> Outcome<()> {
    let constant =
        matches!(arg.kind, OperandKind::Bool(_) | OperandKind::Number(_) | OperandKind::String { .. });
    let fits = match (param, &arg.kind) {
        (Param::Any, _) | (Param::String, OperandKind::String { .. }) => true,
        (_, OperandKind::Nil) if param == Param::String || param == Param::Int => {
            return Err(format!("cannot assign nil to {}", param.type_name()));
        }
        (Param::Int, OperandKind::Number(number)) => number.integer.is_some(),
        _ => !constant,
    };
    match param {
        _ if fits => Ok(()),
        Param::String => Err(format!("expected string; found {arg}")),
        Param::Int => Err(format!("expected integer; found {arg}")),
        _ => Err(format!("can't handle {arg} for arg of type {}", param.type_name())),
    }
}

fn check_type(param: Param, value: &Value) -> Outcome<()> {
    if param.accepts(value) {
        return Ok(());
    }
    let wanted = param.type_name();
    Err(match value {
        Value::Nil => format!("invalid value; expected {wanted}"),
        value => format!("wrong type for value; expected {wanted}; got {}", value.type_name()),
    })
}
