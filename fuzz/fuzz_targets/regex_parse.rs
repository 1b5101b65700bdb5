//! Any text is a pattern or an error, and a matcher with it decides as the pattern itself does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valmis::model::{GoRegex, MatchOp, Matcher};

fuzz_target!(|input: (&str, &str)| {
    let (pattern, text) = input;
    let Ok(matcher) = Matcher::new(MatchOp::Regex, "label", pattern) else { return };
    let Ok(regex) = GoRegex::anchored(pattern) else { return };
    assert_eq!(matcher.matches(text), regex.is_match(text));
    if let Some(values) = matcher.set_matches() {
        assert!(values.iter().all(|value| regex.is_match(value)));
    }
});
