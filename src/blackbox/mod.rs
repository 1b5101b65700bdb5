//! Probes by module and target, as blackbox exporter has them: its configuration file as it is, `/probe`
//! for whoever asks, and a policy that says who may ask for what.

mod builtin;
mod metrics;
mod module;
mod pattern;
mod policy;
mod read;
mod service;
mod target;
mod timeout;
mod view;

pub use builtin::builtin;
pub use module::{Module, ModuleError, Modules, TargetFault};
pub use pattern::{HostPattern, PatternError, TargetPattern};
pub use policy::{Allowance, ModuleName, Policy};
pub use read::{Surroundings, read_file, read_modules};
pub use service::{Blackbox, ProbeRequest, Refusal, Settings};
pub use target::{ModuleTarget, ScheduledTarget};
pub use timeout::{SCRAPE_TIMEOUT_HEADER, TimeoutError};
pub use view::View;
