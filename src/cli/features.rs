//! The option that switches experimental parts on.

use clap::builder::PossibleValuesParser;

use crate::promql::Features;

/// Which experimental parts of PromQL are accepted.
#[derive(Debug, Default, clap::Args)]
pub(super) struct EnabledFeatures {
    /// Accept an experimental part of PromQL; may be repeated, or list several with commas.
    #[arg(
        long = "enable-feature",
        value_delimiter = ',',
        value_name = "FEATURE",
        value_parser = PossibleValuesParser::new(Features::NAMES)
    )]
    enable_feature: Vec<String>,
}

impl EnabledFeatures {
    pub(super) fn features(&self) -> Features {
        let mut features = Features::default();
        for name in &self.enable_feature {
            // The parser of the arguments lets only names of features through.
            let _ = features.enable(name);
        }
        features
    }
}
