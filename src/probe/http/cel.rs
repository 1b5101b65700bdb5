//! Conditions on a JSON body in the Common Expression Language.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr};
use cel::{Context, Env, IdedExpr, Program, Value};

use super::json::JsonBody;

/// The variable that stands for the body.
const BODY: &str = "body";

/// The names of types, which stand for themselves.
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// A condition on a JSON body, such as `body.status == "ok" && body.workers.all(w, w.alive)`.
#[derive(Clone)]
pub struct CelProgram {
    source: Arc<str>,
    program: Arc<Program>,
}

/// Why a text is not a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CelError {
    /// Not the language.
    #[error("{0}")]
    Syntax(String),
    /// Something else than the body is asked about.
    #[error("undeclared reference to `{0}`: there is only `body`")]
    Undeclared(String),
}

impl CelProgram {
    /// Reads an expression, whose only variable is `body`.
    pub fn compile(source: &str) -> Result<Self, CelError> {
        let program = Program::compile(source).map_err(|errors| {
            let texts: Vec<String> = errors.errors.iter().map(ToString::to_string).collect();
            CelError::Syntax(texts.join("; "))
        })?;
        let mut free = BTreeSet::new();
        free_variables(program.expression(), &mut vec![BODY], &mut free);
        if let Some(name) = free.iter().find(|name| !TYPES.contains(name)) {
            return Err(CelError::Undeclared((*name).to_owned()));
        }
        Ok(Self { source: source.into(), program: Arc::new(program) })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the condition holds for `body`; an explanation if that cannot be said.
    pub(super) fn holds(&self, body: &JsonBody) -> Result<bool, String> {
        static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));
        let mut context = Context::with_env(LIBRARY.clone());
        context.add_variable_from_value(BODY, body.value());
        match self.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("gives a {}, not a bool", other.type_of())),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl fmt::Debug for CelProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CelProgram").field(&self.source).finish()
    }
}

/// Adds the variables in `expression` that are not among `bound`.
fn free_variables<'a>(expression: &'a IdedExpr, bound: &mut Vec<&'a str>, free: &mut BTreeSet<&'a str>) {
    let entries = |entries: &'a [IdedEntryExpr], bound: &mut Vec<&'a str>, free: &mut BTreeSet<&'a str>| {
        for entry in entries {
            match &entry.expr {
                EntryExpr::StructField(field) => free_variables(&field.value, bound, free),
                EntryExpr::MapEntry(pair) => {
                    free_variables(&pair.key, bound, free);
                    free_variables(&pair.value, bound, free);
                }
            }
        }
    };
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => {}
        Expr::Ident(name) => {
            if !bound.contains(&name.as_str()) {
                free.insert(name);
            }
        }
        Expr::Call(call) => {
            for part in call.target.as_deref().into_iter().chain(&call.args) {
                free_variables(part, bound, free);
            }
        }
        Expr::List(list) => {
            for element in &list.elements {
                free_variables(element, bound, free);
            }
        }
        Expr::Select(select) => free_variables(&select.operand, bound, free),
        Expr::Map(map) => entries(&map.entries, bound, free),
        Expr::Struct(literal) => entries(&literal.entries, bound, free),
        Expr::Comprehension(over) => {
            free_variables(&over.iter_range, bound, free);
            free_variables(&over.accu_init, bound, free);
            let outside = bound.len();
            bound.extend([over.iter_var.as_str(), over.accu_var.as_str()]);
            bound.extend(over.iter_var2.as_deref());
            for part in [&over.loop_cond, &over.loop_step, &over.result] {
                free_variables(part, bound, free);
            }
            bound.truncate(outside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_asked_of_the_body() {
        let check = |source: &str, body: &str, expected: Result<bool, &str>| {
            let program = CelProgram::compile(source).unwrap();
            let body = JsonBody::parse(body.as_bytes()).unwrap();
            let found = program.holds(&body);
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected), "{source}"),
                Err(part) => {
                    let text = found.expect_err(source);
                    assert!(text.contains(part), "{source}: {text}");
                }
            }
        };
        let body = r#"{"foo": {"bar": "baz"}, "n": 3, "list": [1, 2.5], "on": true, "none": null}"#;
        check("body.foo.bar == 'baz'", body, Ok(true));
        check("body.foo.bar.startsWith('ba') && body.on", body, Ok(true));
        check("body.n == 3", body, Ok(true));
        check("body.n > 2 && body.n < 3.5", body, Ok(true));
        check("body.n + 1.0 == 4.0", body, Ok(true));
        check("body.list.all(x, x > 0)", body, Ok(true));
        check("body.list.exists(x, x > 2)", body, Ok(true));
        check("size(body.list) == 2", body, Ok(true));
        check("body.none == null", body, Ok(true));
        check("type(body.foo.bar) == string", body, Ok(true));
        check("has(body.missing)", body, Ok(false));
        check("has(body.foo.bar)", body, Ok(true));
        check("'bar' in body.foo", body, Ok(true));
        check("body.foo.bar.matches('^b.z$')", body, Ok(true));
        check("body[0] == 'a'", r#"["a"]"#, Ok(true));
        check("body.missing == 1", body, Err("missing"));
        check("body.n", body, Err("gives a float, not a bool"));
    }

    #[test]
    fn a_text_that_is_no_condition_is_refused() {
        let check = |source: &str, part: &str| {
            let text = CelProgram::compile(source).expect_err(source).to_string();
            assert!(text.contains(part), "{source}: {text}");
        };
        check("body.foo ==", "Syntax error");
        check("", "Syntax error");
        check("foo == 1", "undeclared reference to `foo`");
        check("body.all(x, x > 0) && x > 0", "undeclared reference to `x`");
        check("[{'a': body.b, 'c': d}].size() == 1", "undeclared reference to `d`");
    }
}
