//! Calls of every function, with arguments for which there is something to compute.

use valmis::promql::functions;
use valmis::promql::{ValueType, functions::Function};

use super::super::data::Kind;
use super::leaf::quoted_if_needed;
use super::{Generator, Vector};

impl Generator {
    pub(super) fn function(&mut self, name: &'static str, depth: usize) -> Vector {
        let inner = depth - 1;
        match name {
            "absent" => {
                let vector = self.vector(inner);
                // What is there is not absent: the query is about nothing, as it mostly should be.
                let vector = if self.random.chance(50) { vector } else { self.nothing() };
                Vector::new(format!("absent({})", vector.text), &[])
            }
            "absent_over_time" => {
                let length = self.length();
                let selector = if self.random.chance(60) { self.nothing() } else { self.selector() };
                let series = selector.text.split([' ', '\n']).next().unwrap_or_default().to_owned();
                let series = if super::is_primary(&series) { series } else { "absent_metric".to_owned() };
                Vector::new(format!("absent_over_time({series}[{length}])"), &[])
            }
            "acos" | "asin" | "atanh" => {
                let vector = if self.random.chance(70) {
                    self.selector_of_kind(Kind::Ratio)
                } else {
                    self.vector(inner)
                };
                vector.map(|text| format!("{name}({text})"))
            }
            "clamp" => {
                let (vector, low, high) = (self.vector(inner), self.scalar(inner), self.scalar(inner));
                vector.map(|text| format!("clamp({text}, {low}, {high})"))
            }
            "double_exponential_smoothing" => {
                let range = self.range_of(inner, |metric| !metric.counts());
                let factors = ["0.1", "0.3", "0.5", "0.9"];
                let (smoothing, trend) = (self.random.pick(&factors), self.random.pick(&factors));
                range.map(|text| format!("{name}({text}, {smoothing}, {trend})"))
            }
            "histogram_quantile" => {
                let (share, buckets) = (self.share(), self.buckets());
                without_le(buckets.map(|text| format!("{name}({share}, {text})")))
            }
            "histogram_fraction" => {
                let bounds = ["-Inf", "0", "0.05", "0.1", "0.3", "1", "2", "3", "+Inf"];
                let (lower, upper) = (self.random.pick(&bounds), self.random.pick(&bounds));
                let buckets = self.buckets();
                without_le(buckets.map(|text| format!("{name}({lower}, {upper}, {text})")))
            }
            "info" => self.info(inner),
            "label_join" => self.label_join(inner),
            "label_replace" => self.label_replace(inner),
            "sort_by_label" | "sort_by_label_desc" => {
                let vector = self.vector(inner);
                let mut labels = self.random.some_of(&vector.labels.clone());
                labels.push(self.random.pick(&["instance", "code", "absent"]));
                let labels: Vec<_> = labels.into_iter().map(|label| format!(", \"{label}\"")).collect();
                vector.map(|text| format!("{name}({text}{})", labels.concat()))
            }
            "predict_linear" => {
                let range = self.range_of(inner, |metric| !metric.counts());
                let ahead = if self.random.chance(70) { "600".to_owned() } else { self.scalar(inner) };
                range.map(|text| format!("{name}({text}, {ahead})"))
            }
            "quantile_over_time" => {
                let share = if self.random.chance(80) { self.share() } else { self.scalar(inner) };
                self.any_range(inner).map(|text| format!("{name}({share}, {text})"))
            }
            "rate" | "increase" | "irate" | "resets" => {
                let counters = self.random.chance(85);
                let range = self.range_of(inner, |metric| metric.counts() == counters);
                range.map(|text| format!("{name}({text})"))
            }
            "scalar" | "time" | "pi" => {
                let text = if name == "scalar" {
                    format!("scalar({})", self.aggregation_to_one(inner))
                } else {
                    format!("{name}()")
                };
                // Alone it is a scalar, which is no vector; the root of a query may be one.
                Vector::new(text, &[])
            }
            "vector" => {
                let scalar = self.scalar(inner);
                Vector::new(format!("vector({scalar})"), &[])
            }
            "round" => {
                let vector = self.vector(inner);
                let nearest = if self.random.chance(50) {
                    format!(", {}", self.random.pick(&["5", "0.1", "0.25", "1e-3", "-2", "0"]))
                } else {
                    String::new()
                };
                vector.map(|text| format!("round({text}{nearest})"))
            }
            other => self.plain(functions::lookup(other).expect("the name is that of a function"), depth),
        }
    }

    /// A function that is told all by the types of its arguments.
    fn plain(&mut self, function: &Function, depth: usize) -> Vector {
        let name = function.name;
        if function.arity() == (0, Some(1)) {
            // Parts of a date.
            return match self.random.below(10) {
                0..2 => Vector::new(format!("{name}()"), &[]),
                2..7 => self.selector_of_kind(Kind::Epoch).map(|text| format!("{name}({text})")),
                // What is no number of seconds becomes a date that depends on the processor.
                _ => self.vector(depth - 1).map(|text| format!("{name}(({text}) > -1e11 < 1e11)")),
            };
        }
        let mut labels = Vec::new();
        let arguments: Vec<String> = function
            .args
            .iter()
            .map(|kind| match kind {
                ValueType::Vector => {
                    let vector = self.vector(depth - 1);
                    labels = vector.labels;
                    vector.text
                }
                ValueType::Matrix => {
                    let range = self.range_of(depth - 1, |_| true);
                    labels = range.labels;
                    range.text
                }
                ValueType::Scalar => self.scalar(depth - 1),
                ValueType::String => self.text(),
            })
            .collect();
        Vector::new(format!("{name}({})", arguments.join(", ")), &labels)
    }

    /// A selector that finds nothing.
    fn nothing(&mut self) -> Vector {
        let text = self.random.pick(&[
            "absent_metric",
            r#"absent_metric{job="api",instance="a:9100"}"#,
            r#"target_up{job="none"}"#,
            r#"target_up{job="none",instance=~".+"}"#,
            r#"{"no.metric",job="x",job="y",zone="z"}"#,
            r#"target_up{job="none"}==1"#,
        ]);
        Vector::new(text.to_owned(), &[])
    }

    fn info(&mut self, depth: usize) -> Vector {
        let vector = self.vector(depth);
        let selector = self.random.pick(&[
            "",
            ", {version=~\".+\"}",
            ", {region=\"eu\"}",
            ", {__name__=\"build_info\"}",
            ", {__name__=~\".+_info\", revision!=\"\"}",
            ", {region=~\"eu|\"}",
        ]);
        let labels = [&vector.labels[..], &["version", "region"]].concat();
        Vector::new(format!("info({}{selector})", vector.text), &labels)
    }

    fn label_join(&mut self, depth: usize) -> Vector {
        let vector = self.vector(depth);
        let target = self.random.pick(&["joined", "job", "absent", "__name__"]);
        let separator = self.random.pick(&["-", "", "/"]);
        let mut sources = self.random.some_of(&vector.labels.clone());
        if sources.is_empty() || self.random.chance(20) {
            sources.push("__name__");
        }
        let sources: Vec<_> = sources.into_iter().map(|label| format!(", \"{label}\"")).collect();
        let labels =
            if target == "joined" { [&vector.labels[..], &["joined"]].concat() } else { vector.labels };
        let text = format!("label_join({}, \"{target}\", \"{separator}\"{})", vector.text, sources.concat());
        Vector::new(text, &labels)
    }

    fn label_replace(&mut self, depth: usize) -> Vector {
        let vector = self.vector(depth);
        let mut known = vector.labels.clone();
        known.extend(["__name__", "absent"]);
        let source = self.random.pick(&known);
        let (pattern, replacement) = self.random.pick(&[
            ("(.*)", "$1-x"),
            ("(.).*", "${1}"),
            ("([a-z]+)(:?)(.*)", "$3$1"),
            ("(?P<first>.+)", "<${first}>"),
            ("no such value", "never"),
            (".*", ""),
            ("", "empty"),
            ("(", "broken"),
        ]);
        let target = self.random.pick(&["copied", "job", "instance", "__name__", source]);
        let labels =
            if target == "copied" { [&vector.labels[..], &["copied"]].concat() } else { vector.labels };
        let text = format!(
            "label_replace({}, {:?}, {replacement:?}, {:?}, {pattern:?})",
            vector.text, target, source
        );
        Vector::new(text, &labels)
    }
}

/// What is computed from buckets has no bucket.
fn without_le(mut vector: Vector) -> Vector {
    vector.labels.retain(|label| *label != "le");
    vector
}

/// Names with commas, those in quotes that need them.
pub(super) fn label_list(labels: &[&'static str]) -> String {
    labels.iter().map(|label| quoted_if_needed(label)).collect::<Vec<_>>().join(", ")
}
